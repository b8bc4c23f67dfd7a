#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_standby_raise
short_description: Give a service on AWS its tasks in the region that traffic is to move to
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Raises the desired count of the ECS service in the other region before traffic moves there, and waits until that
    many tasks run, nothing of it is being replaced, and every target of the named target groups there is healthy.
  - As many as O(desired), else as the inventory says, else as the other region has when it answers. Never fewer than
    there are.
  - The command that goes back to the count from before is in the record.
options:
  side:
    description: The side that traffic is to move to.
    type: str
    choices: [standby, primary]
    default: standby
  desired:
    description: How many tasks there are to be; what the inventory says when it is left out.
    type: int
  running_within:
    description: Seconds until they have to run and be healthy.
    type: float
    default: 600.0
  reason:
    description: Why, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: full
    details: Shows both counts.
  idempotent:
    support: full
    details: Leaves a service alone that has enough tasks.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_standby_check
  - module: codeblue.recovery.aws_traffic_shift
"""

EXAMPLES = r"""
- name: Give the service its tasks in the standby region
  codeblue.recovery.aws_standby_raise:
    running_within: 900
"""

RETURN = r"""
region:
  description: Where.
  returned: success
  type: str
  sample: us-west-2
before:
  description: C(desired) and C(running) from before; empty for a service without tasks.
  returned: success
  type: dict
  sample: {desired: 0, running: 0}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {desired: 3, running: 3}
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
    stage: standby
    target: records
    summary: ECS service records of cluster clinic in us-west-2 raised from 0 to 3 tasks, all of them run (84 s)
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "side": {"type": "str", "choices": ["standby", "primary"], "default": "standby"},
            "desired": {"type": "int"},
            "running_within": {"type": "float", "default": 600.0},
            "reason": {"type": "str", "default": ""},
        }
    )


if __name__ == "__main__":
    main()
