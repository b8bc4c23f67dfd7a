#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_quarantine
short_description: Cut a service on AWS off by a security group, and give it back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes a security group that lets in nothing but from C(codeblue_aws.quarantine.management), and nothing out.
  - An ECS service gets it as its only group, with a deployment that is not rolled back, and its tasks of before are
    stopped. Interfaces of tasks cannot be changed by anybody but ECS. New tasks come up behind the group where they
    need nothing from outside to start.
  - Instances that C(codeblue_aws.quarantine.instances) names get it on their interfaces, and go on running.
  - Security groups are stateful, and connections that are open live on. Those of tasks end with the tasks. Those of
    instances do not, which the summary says. Evidence has to be taken before.
  - What was before stands in tags of the group and of the interfaces, and in the journal.
  - Marks the ECS service with the tag C(codeblue:cut-off), so that no other runbook brings it back.
  - V(absent) gives everything back as it was, waits for tasks and checks, and removes the group. Groups that somebody
    changed meanwhile are refused with exit code 3.
  - A service that CodeDeploy or another controller deploys, and one whose tasks use the network of their instances, is
    refused before anything is changed.
options:
  state:
    description: V(present) for cut off, V(absent) for given back.
    type: str
    choices: [present, absent]
    default: present
  reason:
    description: Why, for the record.
    type: str
    default: ""
  gone_within:
    description: Seconds that the tasks of before get to end, or what still uses the group.
    type: float
    default: 120.0
  rollout_within:
    description: Seconds that the tasks get to run, once it is given back.
    type: float
    default: 600.0
  healthy_within:
    description: Seconds that the checks of the service get then. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only asks what is there.
  diff_mode:
    support: full
    details: Shows the security groups.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_quarantine
  - module: codeblue.recovery.service_quarantine
"""

EXAMPLES = r"""
- name: Cut the service off
  codeblue.recovery.aws_quarantine:
    reason: data leaves it for an unknown address

- name: Give it back
  codeblue.recovery.aws_quarantine:
    state: absent
"""

RETURN = r"""
ended:
  description: The tasks that were stopped.
  returned: success
  type: list
  elements: str
  sample: [1dc5c17a422b4dc496b267563a53eb4f]
interfaces:
  description: The interfaces of instances that were put into the group, or taken out of it.
  returned: success
  type: list
  elements: str
  sample: [eni-0e3a1b2c3d4e5f678]
proof:
  description:
    - V(from_here) when ways to the service from the controller failed afterwards, V(configuration) when AWS says that
      the groups are so and no traffic was seen to end, else V(not_proven).
  returned: success
  type: str
  sample: configuration
due:
  description: What somebody has to do afterwards.
  returned: success
  type: list
  elements: str
calls:
  description: How often AWS was asked.
  returned: success
  type: int
  sample: 20
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: quarantine
    target: ai
    summary: cut ai off by security group codeblue-quarantine-ai, ECS service ai; 2 tasks were ended, …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "reason": {"type": "str", "default": ""},
            "gone_within": {"type": "float", "default": 120.0},
            "rollout_within": {"type": "float", "default": 600.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
