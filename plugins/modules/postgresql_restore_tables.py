#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_restore_tables
short_description: Bring damaged tables back to their last clean state, and leave the rest of the database as it is
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Finds the last clean state (M(codeblue.recovery.postgresql_clean_point)), compares the damaged tables with it
    (M(codeblue.recovery.postgresql_compare_tables)), keeps what was written to them later as encrypted evidence, swaps
    them in one transaction (M(codeblue.recovery.postgresql_swap_tables)), asks every integrity rule and removes the
    copy. Writes should have been stopped before.
  - When nothing can be restored it fails with the exit code 5 and says what a person has to do. A copy that was found
    stays when a later step fails.
options:
  diagnosis:
    description: What the role diagnose found for this database; C(tables), C(failed_rules) and C(in_log) are used.
    type: dict
    required: true
  recipients:
    description: To whom later writes are encrypted. Without one they need the acceptance C(data_loss).
    type: list
    elements: str
    default: []
  evidence_directory:
    description: Where evidence lies on the controller.
    type: path
  settings:
    description: Further settings of the copy, such as C(shared_buffers).
    type: dict
    default: {}
  timeout:
    description: Seconds for each of the steps.
    type: float
    default: 900.0
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
- name: Bring the damaged tables back
  codeblue.recovery.postgresql_restore_tables:
    diagnosis: "{{ diagnose_result.targets[inventory_hostname] }}"
    recipients: "{{ codeblue_evidence_recipients }}"
"""

RETURN = r"""
clean_point:
  description: Where the data were clean for the last time, and what the search took.
  returned: when not in check mode
  type: dict
differences:
  description: Counts of what was missing, changed, added and written later, by table.
  returned: when not in check mode
  type: list
  elements: dict
later_writes:
  description: How many rows others wrote to the damaged tables after the damage. They are in the evidence store.
  returned: when not in check mode
  type: int
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
    summary: 3 rows of records brought back
    changed: true
"""

from ansible_collections.codeblue.recovery.plugins.module_utils._action_only import run_action_only_module


def main() -> None:
    """Entry point."""
    run_action_only_module(
        {
            "diagnosis": {"type": "dict", "required": True},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "evidence_directory": {"type": "path"},
            "settings": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 900.0},
        }
    )


if __name__ == "__main__":
    main()
