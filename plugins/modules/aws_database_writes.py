#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_writes
short_description: Stop all writes to a database in RDS, or let them begin again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Makes new transactions read only by a parameter, C(default_transaction_read_only) of PostgreSQL or C(read_only) of
    MySQL and MariaDB, so that everybody can still read. That needs a parameter group which is this database's alone and
    not the default one.
  - Where it has none, the database gets C(codeblue_aws.database.closed_group) in place of its security groups, which
    lets nobody in. Whoever is connected stays so until the connection ends. Without that group it is refused with exit
    code 3.
  - What it was before stands in a tag of the database, which is written first and taken away when writes are resumed.
  - A check of the service that writes has to fail afterwards, or to succeed. Without such a check it says that nothing
    is proven.
options:
  state:
    description: What writes are to be.
    type: str
    choices: [stopped, resumed]
    required: true
  reason:
    description: Why, for the record.
    type: str
    required: true
  applied_within:
    description: Seconds that RDS gets to apply it.
    type: float
    default: 300.0
  proven_within:
    description: Seconds until the checks that write have to fail, or to succeed.
    type: float
    default: 60.0
attributes:
  check_mode:
    support: full
    details: Looks by which way it would be done.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_database_restore
"""

EXAMPLES = r"""
- name: Stop all writes while the damage is looked at
  codeblue.recovery.aws_database_writes:
    state: stopped
    reason: rows are missing
"""

RETURN = r"""
before:
  description: The way, and what it was before, as the tag of the database has it; empty when nothing was stopped.
  returned: success
  type: str
  sample: parameter clinic-postgres16 -
undo:
  description: Always C(none). To resume writes nothing has to be handed on.
  returned: success
  type: str
proof:
  description: How the checks that write ended, or that there is none.
  returned: success
  type: str
calls:
  description: How often services were asked.
  returned: success
  type: int
  sample: 12
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that RDS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: isolate
    target: patient_db
    summary: writes stopped to instance clinic-prod in us-east-1 by parameter group clinic-postgres16
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "state": {"type": "str", "choices": ["stopped", "resumed"], "required": True},
            "reason": {"type": "str", "required": True},
            "applied_within": {"type": "float", "default": 300.0},
            "proven_within": {"type": "float", "default": 60.0},
        }
    )


if __name__ == "__main__":
    main()
