#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_prune
short_description: Remove snapshots of a database in RDS that are not kept any longer
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Removes manual snapshots that M(codeblue.recovery.aws_database_snapshot) took of C(codeblue_aws.database), in its
    region and in those of its copies, when they are neither among the newest nor young enough.
  - Those of other services, of other tools, of people, and those that RDS takes by itself, are never touched. The last
    one that a restore has proven stays.
  - At most 100 in one run.
options:
  newest:
    description: How many stay in each region, whatever their age.
    type: int
    default: 10
  days:
    description: Younger ones stay, however many there are.
    type: float
    default: 30.0
  timeout:
    description: Seconds for all calls together.
    type: float
    default: 600.0
attributes:
  check_mode:
    support: full
    details: Names what would be removed.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_database_snapshot
"""

EXAMPLES = r"""
- name: Keep the newest ten, and all of the last 30 days
  codeblue.recovery.aws_database_prune:
    newest: 10
    days: 30
"""

RETURN = r"""
removed:
  description: Which snapshots were removed, with their regions.
  returned: success
  type: list
  elements: str
  sample: [codeblue-clinic-prod-scheduled-01k9z5v6a8t7q2n4m3r1c0x9yb in us-west-2]
calls:
  description: How often services were asked.
  returned: success
  type: int
  sample: 4
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first removal that RDS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: prune
    target: patient_db
    summary: removed 3 snapshots of instance clinic-prod in us-east-1
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "newest": {"type": "int", "default": 10},
            "days": {"type": "float", "default": 30.0},
            "timeout": {"type": "float", "default": 600.0},
        }
    )


if __name__ == "__main__":
    main()
