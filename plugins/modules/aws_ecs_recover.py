#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_ecs_recover
short_description: Bring a service of ECS back, whatever is wrong with it
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Looks at a service of Amazon ECS again and treats what is wrong, until nothing is. A bad release is rolled back as
    by M(codeblue.recovery.aws_ecs_rollback), missing tasks come back as by M(codeblue.recovery.aws_ecs_scale), tasks
    that run and serve nobody are made anew by a new deployment of the same task definition.
  - Waits first until everything works that the service depends on. Tasks that began while that was away say nothing
    about their version, so they are made anew before anything is rolled back.
  - Fails with the next step for a person where nothing of that helps, as where there is no capacity.
  - How each treatment is undone is said by its own module; making tasks anew needs no undo.
options:
  most:
    description: At most so many treatments.
    type: int
    default: 4
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
    details: Only reads from AWS. Says the first treatment; what follows depends on whether that helps.
  diff_mode:
    support: full
    details: That of each treatment.
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.kubernetes_recover
"""

EXAMPLES = r"""
- name: Bring the service back
  codeblue.recovery.aws_ecs_recover:
    rollout_within: 300
"""

RETURN = r"""
treated:
  description: What was wrong and what was done, in this order.
  returned: success
  type: list
  elements: dict
  sample:
    - cause: scaled_to_zero
      treatment: scale
      evidence: records is scaled to no tasks; it had 3
      deployment: ecs-svc/1234567890123456789
      summary: scaled ECS service records of cluster clinic from 0 to 3 tasks …
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that AWS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: workload
    target: records
    summary: scaled ECS service records of cluster clinic from 0 to 3 tasks …
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "most": {"type": "int", "default": 4},
            "rollout_within": {"type": "float", "default": 600.0},
            "healthy_within": {"type": "float"},
        }
    )


if __name__ == "__main__":
    main()
