#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_ecs_rollback
short_description: Bring a service of ECS back to its last steady task definition
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Brings a service of Amazon ECS back to the last task definition with which it was steady. One whose tasks serve now
    goes first, then what an earlier run saw working, then the last deployment that ECS calls successful, then the one
    that was the newest when ECS last said that all was steady. It is never simply the one before, and where nothing
    attests one, nothing is changed.
  - Marks the task definition that it leaves as bad, for every later run as well, so that rolling back twice never lands
    there. One that was registered again with the same content under another number is the same.
  - Where the circuit breaker of ECS is on its way back already, that is waited for.
  - Refuses, with exit code 3, where CodeDeploy or an external controller carries out the deployments.
  - Waits until the deployment is completed with that task definition, so many of its tasks run as are wanted, so many
    targets are healthy, and the deep checks of the service pass. A version that does not prove itself is marked too,
    and the one before it is tried.
  - A task definition that somebody deploys meanwhile is not overwritten.
  - Deploying the task definition that it left, after its mark was cleared, undoes it.
options:
  reason:
    description: Why the version is bad, for the mark and the record.
    type: str
    default: ""
  leave:
    description:
      - The task definition to leave, as V(records:7). Nothing is done when another one is deployed.
      - When it is left out, the current one is left, unless an earlier run went back to it and it works.
    type: str
  to:
    description:
      - The task definition to go to first, as V(records:6), where somebody knows it. One that is marked bad is refused.
    type: str
  most:
    description: At most so many versions are left.
    type: int
    default: 3
  rollout_within:
    description: Seconds that the tasks of one version get. It ends earlier when they cannot come up.
    type: float
    default: 600.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
attributes:
  check_mode:
    support: full
    details: Only reads from AWS. Says what would be done first; what follows depends on whether that helps.
  diff_mode:
    support: full
    details: Shows the task definition; environment, commands, labels and options only as digests of this one diff.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_rollback
"""

EXAMPLES = r"""
- name: Leave the version that crashes
  codeblue.recovery.aws_ecs_rollback:
    reason: its tasks end with every inference

- name: Go to the version that is known to be good
  codeblue.recovery.aws_ecs_rollback:
    to: records:6
    reason: it refuses every order
    rollout_within: 300
"""

RETURN = r"""
rolled_back:
  description: From which task definition to which, and why to that one, in this order.
  returned: success
  type: list
  elements: dict
  sample: [{from: "records:7", to: "records:6", why: 2 tasks of it serve now, delegated: "False"}]
due:
  description: What somebody has to give back afterwards, as commands.
  returned: success
  type: list
  elements: str
  sample: []
calls:
  description: How often services of AWS were asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: release
    target: records
    summary: rolled ECS service records of cluster clinic back from records:7 to records:6 …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "reason": {"type": "str", "default": ""},
            "leave": {"type": "str"},
            "to": {"type": "str"},
            "most": {"type": "int", "default": 3},
            "rollout_within": {"type": "float", "default": 600.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
