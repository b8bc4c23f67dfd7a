#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_prove
short_description: Prove a snapshot by restoring it beside the service and counting
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Restores a base backup to the end of the archived log with M(codeblue.recovery.postgresql_restore_beside), in a
    place that nobody else can reach, asks O(queries), and removes the copy, after a failure too.
  - Restores the files of any other service into a private temporary directory of the controller, which is removed.
  - Sets the state in the catalog to C(proven). The last proven snapshot of a service is never pruned.
options:
  snapshot_id:
    description: The snapshot. By default the newest of the service that is not known to be damaged.
    type: str
  identity:
    description:
      - Path of the age identity file on the controller. It belongs outside of the machines, and is needed here only
        while the task runs.
      - Required for a service without a database.
    type: path
  queries:
    description: What to ask the copy beside the number of its tables, by name. They run read-only.
    type: dict
    default: {}
  timeout:
    description: Seconds for everything together on the machine.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
    details: Says what would be restored.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Within a run. Each run restores anew.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.snapshot_create
  - module: codeblue.recovery.snapshot_verify
  - module: codeblue.recovery.postgresql_restore_beside
"""

EXAMPLES = r"""
- name: Prove the newest snapshot
  codeblue.recovery.snapshot_prove:
    queries:
      patients: SELECT count(*) FROM patient
"""

RETURN = r"""
snapshot_id:
  description: The snapshot that was restored.
  returned: success, not in check mode
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
state:
  description: Its state in the catalog.
  returned: success, not in check mode
  type: str
  sample: proven
counted:
  description: What was counted in the copy, by name.
  returned: success, not in check mode
  type: dict
  sample: {tables: "5", patients: "4711"}
differences:
  description:
    - How names and rules of nftables on the machines differ now from those in the level C(infrastructure), one line
      each, 200 at most. They are only compared, and nothing of them is put back.
  returned: success, not in check mode
  type: list
  elements: str
  sample: ["app1: db.clinic.example was 10.0.0.11, is 10.0.0.12"]
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: snapshot
    target: patient_db
    summary: "01K9Z5V6A8T7Q2N4M3R1C0X9YB is proven: 5 tables, 4711 patients"
    changed: true
    accepted_at: 1795225858.2
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "snapshot_id": {"type": "str"},
            "identity": {"type": "path"},
            "queries": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 3600.0},
        }
    )


if __name__ == "__main__":
    main()
