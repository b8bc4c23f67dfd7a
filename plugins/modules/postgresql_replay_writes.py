#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_replay_writes
short_description: Write again what a restore of tables took out and kept as evidence
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Reads the rows that M(codeblue.recovery.postgresql_restore_tables) kept, notes the access in their custody record,
    and writes them by M(codeblue.recovery.postgresql_replay_rows). Rows that stand against something else are counted
    and left to a person.
  - In check mode it says exactly what would be written. The access to the evidence is noted then as well.
options:
  run:
    description: The run that kept them. The latest that kept any when it is left out.
    type: str
  identity:
    description: The age identity file on the controller that reads the evidence.
    type: path
    required: true
  evidence_directory:
    description: Where evidence lies on the controller.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
"""

EXAMPLES = r"""
- name: Write again what was taken out
  codeblue.recovery.postgresql_replay_writes:
    identity: /media/key/identity
"""

RETURN = r"""
counts:
  description: By table, how many rows there were, were written, were there already, and are for a person.
  returned: success
  type: dict
  sample: {records: {rows: 2, written: 2, already: 0, conflicts: 0}}
codeblue:
  description:
    - What the run's views, its record and its exit code are made from. C(summary) is one line for people, C(stage) and
      C(target) say where it belongs, C(accepted_at) is the Unix time of the first change that a machine accepted.
    - A failed step has C(error), C(hint) with the next thing to do, and C(exit_code) of the table of exit codes.
  returned: always
  type: dict
  sample:
    stage: replay
    target: patient_db
    summary: "kept writes of run 01K9Z5V6A8T7Q2N4M3R1C0X9YB: records: 2 written, 0 there already, 0 for a person"
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "run": {"type": "str"},
            "identity": {"type": "path", "required": True},
            "evidence_directory": {"type": "path"},
        }
    )


if __name__ == "__main__":
    main()
