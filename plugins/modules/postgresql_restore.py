#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore
short_description: Restore a PostgreSQL database of which no member is left
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Takes the newest snapshot in the catalog whose base backup lies on a machine that answers, and restores it in place
    with the archived log. A damaged one is found before anything is touched, and the one before it is taken.
  - Leads the gateway to the restored server and ends when the checks of the database pass.
  - Refuses when more than the RPO may be lost and nobody accepted C(data_loss).
  - When there is nothing to restore it fails with exit code 5 and says what a person has to do. Data directories are
    never removed, so that something may still be read from them.
  - The other members come back as standbys by M(codeblue.recovery.postgresql_rejoin_member).
options:
  diagnosis:
    description: What RV(codeblue.recovery.diagnose#module:targets) says about this target.
    type: dict
    required: true
  accept:
    description: What is accepted explicitly. Counts in check mode only, a run has its own record of it.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for the restore of one snapshot.
    type: float
    default: 3600.0
  usable_within:
    description: Seconds until the checks of the database have to pass afterwards.
    type: float
    default: 30.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. A new run diagnoses first, and finds a primary.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.postgresql_restore_in_place
  - module: codeblue.recovery.postgresql_failover
  - module: codeblue.recovery.snapshot_create
"""

EXAMPLES = r"""
- name: Restore what no member has any more
  codeblue.recovery.postgresql_restore:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
"""

RETURN = r"""
path:
  description: Always V(restore).
  returned: success
  type: str
  sample: restore
primary:
  description: The member that is the primary now.
  returned: success
  type: str
  sample: db1
snapshot_id:
  description: The snapshot that was restored.
  returned: success
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
damaged:
  description: Snapshots that could not be restored, with the reason.
  returned: success
  type: list
  elements: str
  sample: []
restored_to:
  description: When the last commit was made that is there.
  returned: success
  type: str
  sample: "2026-01-31T14:04:59.998112Z"
lost_kept_in:
  description: Where the lost data directory is kept.
  returned: success
  type: str
  sample: /var/lib/postgresql/18/main.lost-01K9Z5V6A8T7Q2N4M3R1C0X9YB
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: restore
    target: patient_db
    summary: restored snapshot 01K9Z5V6A8T7Q2N4M3R1C0X9YB on db1
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "accept": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 3600.0},
            "usable_within": {"type": "float", "default": 30.0},
        }
    )


if __name__ == "__main__":
    main()
