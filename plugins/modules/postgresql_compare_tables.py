#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compares damaged tables with a clean copy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_compare_tables
short_description: Compare damaged tables with their clean state, and keep what was written later
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Loads the damaged tables into the clean copy beside the database and compares them there by key. The database itself
    is only read.
  - Rows that were added or changed by others than O(culprit_xids) are writes that came later. They are written to
    RV(kept_file), which only the server's user and root can read, and which goes with the copy. Encrypt it elsewhere
    before the copy is removed.
  - The result holds counts and keys, never what a row holds.
options:
  directory:
    description: Of the clean copy, as M(codeblue.recovery.postgresql_clean_point) left it.
    type: path
    required: true
  tables:
    description: The damaged tables, as C(schema.table), or C(table) in C(public).
    type: list
    elements: str
    required: true
  culprit_xids:
    description: The transaction that did the damage. Without it every added or changed row counts as written later.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds for everything together.
    type: float
    default: 600.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether the copy is there
  codeblue.recovery.postgresql_compare_tables:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    directory: /var/backups/.clean-patient_db
    tables: [records]
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether the copy lives in the directory and runs.
  returned: success
  type: dict
  sample: {present: true, running: true, ready: true, backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {present: true, running: true, ready: true, backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
differences:
  description: >-
    By table: rows that are missing, changed and added; C(later), how many of them others wrote afterwards, with the
    first of their keys; and the C(way) back, C(rows), C(replace) or C(recreate).
  returned: when not in check mode
  type: list
  elements: dict
  sample: [{table: records, way: rows, exists: true, readable: true, clean_rows: 201, damaged_rows: 202, missing: 0,
            changed: 201, added: 1, later: 1, later_keys: ["202"]}]
kept_file:
  description: The file with what was written later, V(null) when there is nothing.
  returned: when not in check mode
  type: str
kept_bytes:
  description: Its size.
  returned: when not in check mode
  type: int
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import open_bench
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import beside_state
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import Comparison


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Compare, and keep what was written later."""
    before = beside_state(params["directory"])
    if context.check_mode:
        return StepOutcome(False, before, before)
    context.accept(before)
    bench = open_bench(Login.from_params(params), params["directory"], Deadline(params["timeout"]))
    comparison = Comparison(bench, params["tables"], params["culprit_xids"])
    differences = comparison.run()
    kept = comparison.keep_later(differences)
    extra = {
        "differences": [each.as_dict() for each in differences],
        "kept_file": kept,
        "kept_bytes": os.path.getsize(kept) if kept else 0,
    }
    # The copy is what changed; the database was read.
    return StepOutcome(False, before, beside_state(params["directory"]), extra)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "directory": {"type": "path", "required": True},
            "tables": {"type": "list", "elements": "str", "required": True},
            "culprit_xids": {"type": "list", "elements": "int", "default": []},
            "timeout": {"type": "float", "default": 600.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
