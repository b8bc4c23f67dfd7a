#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_verify
short_description: Read a snapshot back, every byte of it, and write down whether it is whole
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads the snapshot in the store whole, and the base backup on its machine by
    M(codeblue.recovery.postgresql_verify_backup).
  - Sets the state in the catalog to C(verified) or C(corrupt). A damaged snapshot fails the task, named with what is
    damaged in it; it is not restored any more, and stays C(corrupt) even when a later look finds it whole.
options:
  snapshot_id:
    description: The snapshot. By default the newest of the service that is not known to be damaged.
    type: str
  identity:
    description:
      - Path of the age identity file on the controller. It belongs outside of the machines, and is needed here only
        while the task runs.
      - Without it the encrypted form is compared, which finds decay and not a forgery.
    type: path
  timeout:
    description: Seconds for everything together on the machine.
    type: float
    default: 3600.0
attributes:
  check_mode:
    support: full
    details: Says which snapshot would be read.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It may be read as often as wanted.
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.attributes.controller
seealso:
  - module: codeblue.recovery.snapshot_create
  - module: codeblue.recovery.snapshot_prove
  - module: codeblue.recovery.postgresql_verify_backup
"""

EXAMPLES = r"""
- name: Verify the newest snapshot
  codeblue.recovery.snapshot_verify:
    identity: /media/safe/recovery.agekey
"""

RETURN = r"""
snapshot_id:
  description: The snapshot that was read.
  returned: success, not in check mode
  type: str
  sample: 01K9Z5V6A8T7Q2N4M3R1C0X9YB
state:
  description: Its state in the catalog.
  returned: success, not in check mode
  type: str
  sample: verified
archive:
  description: How far the log archive reaches from a base backup; see M(codeblue.recovery.postgresql_verify_backup).
  returned: success, not in check mode
  type: dict
  sample: {complete: true, until_lsn: 0/7000000, gaps: [], age_seconds: 41.5}
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
    summary: "01K9Z5V6A8T7Q2N4M3R1C0X9YB is whole: 975 files on db1"
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
            "timeout": {"type": "float", "default": 3600.0},
        }
    )


if __name__ == "__main__":
    main()
