#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_restore
short_description: Restore a database in RDS beside itself
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Restores the instance or Aurora cluster of C(codeblue_aws.database) under another name, from a snapshot or to a
    point in time. The original is not touched.
  - A moment to which RDS cannot restore is refused with exit code 2 before anything is asked for, and the first and the
    last one are named.
  - The restored one gets the class, subnets, security groups, parameter group and the other settings of the original;
    they are compared afterwards, and what differs is changed. A cluster gets an instance like its writer. An original
    whose writes are stopped is restored with its writes stopped.
  - The name comes from the run. A run that is resumed finds what it has restored, and restores nothing twice.
options:
  to_time:
    description: The moment, in RFC 3339 with a time zone. The last that RDS has when it and O(snapshot) are left out.
    type: str
    default: ''
  snapshot:
    description: Name of a snapshot in the region of the database.
    type: str
    default: ''
  latest_is_good:
    description: Whether the last moment that RDS has may be restored. Not where the data were damaged some time ago.
    type: bool
    default: true
  name:
    description: Of the restored one. Made from the original's and from the run when it is left out.
    type: str
    default: ''
  reason:
    description: Why, for the record.
    type: str
    default: ''
  timeout:
    description: Seconds that RDS gets for each of the steps.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
    details: Looks up what can be restored, and says it.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_database_swap
"""

EXAMPLES = r"""
- name: Restore the database beside itself, to before the damage
  codeblue.recovery.aws_database_restore:
    to_time: 2026-01-15T10:00:00Z
"""

RETURN = r"""
identifier:
  description: The name of the restored one.
  returned: success
  type: str
  sample: clinic-prod-restored-4m3r1c0x9y
from:
  description: What was restored, for people.
  returned: success
  type: str
  sample: "2026-01-15T10:00:00Z"
at:
  description: The moment whose state it has, in RFC 3339.
  returned: success
  type: str
address:
  description: At which it is reached; empty in check mode.
  returned: success
  type: str
port:
  description: Its port; 0 in check mode.
  returned: success
  type: int
  sample: 5432
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
    stage: restore
    target: patient_db
    summary: "restored 2026-01-15T10:00:00Z as clinic-prod-restored-4m3r1c0x9y beside instance clinic-prod in us-east-1"
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "to_time": {"type": "str", "default": ""},
            "snapshot": {"type": "str", "default": ""},
            "latest_is_good": {"type": "bool", "default": True},
            "name": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 3600.0},
        }
    )


if __name__ == "__main__":
    main()
