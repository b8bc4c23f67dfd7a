#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_database_snapshot
short_description: Take a snapshot of a database in RDS
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Takes a manual snapshot of the instance or Aurora cluster of C(codeblue_aws.database), tagged with the service and
    the run, waits until it can be restored from, and puts it into the catalog.
  - Copies it to the regions of C(codeblue_aws.database.copies). One that is encrypted needs a KMS key in each of them,
    from C(codeblue_aws.database.keys). A key that is missing is said before the snapshot is taken.
  - The name comes from the run. A run that is resumed finds what it has taken, and takes nothing twice.
options:
  kind:
    description:
      - What it is taken for. One for V(emergency) is neither copied nor waited for. RDS goes on with it; it is of the
        moment at which it was begun.
    type: str
    choices: [scheduled, on_demand, pre_deployment, emergency]
    default: on_demand
  timeout:
    description: Seconds that the snapshot gets, and again each copy.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
    details: Only looks.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. Each run takes a snapshot of its own.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.aws_database_restore
"""

EXAMPLES = r"""
- name: Keep the database as it is, before anything is tried
  codeblue.recovery.aws_database_snapshot:
    kind: emergency
"""

RETURN = r"""
identifier:
  description: The name of the snapshot in RDS; its copies have the same.
  returned: success, not in check mode
  type: str
  sample: codeblue-clinic-prod-on-demand-01k9z5v6a8t7q2n4m3r1c0x9yb
arn:
  description: Its ARN in the region of the database.
  returned: success, not in check mode
  type: str
complete:
  description: It can be restored from now.
  returned: success, not in check mode
  type: bool
copies:
  description: Regions that have a copy of it.
  returned: success, not in check mode
  type: list
  elements: str
  sample: [us-west-2]
calls:
  description: How often services were asked.
  returned: success
  type: int
  sample: 9
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that RDS accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: snapshot
    target: patient_db
    summary: snapshot codeblue-clinic-prod-on-demand-01k9z5… of instance clinic-prod in us-east-1, copies in us-west-2
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "kind": {
                "type": "str",
                "choices": ["scheduled", "on_demand", "pre_deployment", "emergency"],
                "default": "on_demand",
            },
            "timeout": {"type": "float", "default": 3600.0},
        }
    )


if __name__ == "__main__":
    main()
