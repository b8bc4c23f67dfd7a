#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_ecs_scale
short_description: Give a service of ECS a number of tasks, none for maintenance
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets how many tasks a service of Amazon ECS is to have, and waits until so many of its deployed task definition run,
    so many targets are healthy, and the deep checks of the service pass.
  - Without O(count) it gets the number back with which it worked. That an earlier run saw it work with so many goes
    first, then C(codeblue_aws.ecs.desired), then the least that Application Auto Scaling may set. It is never guessed,
    and never less than it is now.
  - Before a service gets no tasks at all, its number is written down, and Application Auto Scaling is suspended, which
    would give it tasks again. The run that brings it back resumes what was suspended, and nothing else.
  - Refuses, with exit code 3, to set a number beside Application Auto Scaling, which would set it again.
  - A number that somebody sets meanwhile is not overwritten.
  - The number before is written down with the command that sets it again, which undoes it.
options:
  count:
    description: How many tasks. Without it, as many as when it worked.
    type: int
  temporary:
    description:
      - O(count) is for the time being. It is written down as due to be taken back, and taken back when it does not come
        up.
    type: bool
    default: false
  reason:
    description: Why, for the record.
    type: str
    default: ""
  rollout_within:
    description: Seconds that the tasks of one version get. It ends earlier when they cannot come up.
    type: float
    default: 600.0
  healthy_within:
    description: Seconds that the checks of the service get afterwards. 30 of their intervals when it is left out.
    type: float
  when_unhealthy:
    description: What becomes of the step when the service does not work afterwards. V(report) is for who looks again.
    type: str
    choices: [fail, report]
    default: fail
attributes:
  check_mode:
    support: full
    details: Only reads from AWS.
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_scale
"""

EXAMPLES = r"""
- name: Give the service its tasks back
  codeblue.recovery.aws_ecs_scale:
    reason: it was scaled to no tasks

- name: Stop it for maintenance
  codeblue.recovery.aws_ecs_scale:
    count: 0
    reason: its data is being restored
"""

RETURN = r"""
before:
  description: How many tasks it was to have.
  returned: success
  type: int
  sample: 0
after:
  description: How many it is to have.
  returned: success
  type: int
  sample: 3
why:
  description: How that number is known.
  returned: success
  type: str
  sample: an earlier run saw it work with so many
problem:
  description: What does not work all the same; empty when everything does.
  returned: success
  type: str
  sample: ""
due:
  description: What somebody has to give back afterwards, as commands.
  returned: success
  type: list
  elements: str
  sample: [aws ecs update-service --cluster clinic --service records --desired-count 3 (it was scaled to no tasks)]
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
    stage: scale
    target: records
    summary: scaled ECS service records of cluster clinic from 0 to 3 tasks (codeblue_aws.ecs.desired); all of them run
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "count": {"type": "int"},
            "temporary": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "rollout_within": {"type": "float", "default": 600.0},
            "healthy_within": {"type": "float"},
            "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
        }
    )


if __name__ == "__main__":
    main()
