#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings damaged tables back from a clean copy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_swap_tables
short_description: Bring damaged tables back to their clean state in one transaction
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Compares the tables with the clean copy once more and writes what differs, all tables in one transaction, with
    triggers off. Other tables are not touched. A table that is gone, or was altered, is made anew with its indexes,
    triggers, grants and owner, and with views and foreign keys of others that went with it.
  - Rules of the kinds C(violations) and C(minimum_rows) are asked inside of the transaction. When one of them does not
    hold, nothing was changed.
  - What is not in the clean state goes. Keep it before, by M(codeblue.recovery.postgresql_compare_tables).
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
  rules:
    description: The integrity rules. Each has exactly one of O(rules[].violations), O(rules[].minimum_rows),
      O(rules[].constraints) and O(rules[].readable).
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Names the rule.
        type: str
        required: true
      tables:
        description: The tables that it speaks for, as C(schema.table), or C(table) in C(public).
        type: list
        elements: str
        required: true
      violations:
        description: A query that gives one number, 0 when all is well.
        type: str
      minimum_rows:
        description: Each of the tables has at least so many rows.
        type: int
      constraints:
        description: CHECK, NOT NULL and FOREIGN KEY of the tables hold for every row.
        type: bool
        default: false
      readable:
        description:
          - Every row of the tables can be read, which lets PostgreSQL verify the checksums of their pages.
          - Pages that lie in the server's memory are not read from disk.
        type: bool
        default: false
  timeout:
    description: Seconds for everything together.
    type: float
    default: 900.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether there is something to bring back
  codeblue.recovery.postgresql_swap_tables:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    directory: /var/backups/.clean-patient_db
    tables: [records]
    rules:
      - {id: records_there, tables: [records], minimum_rows: 1000}
  check_mode: true
"""

RETURN = r"""
before:
  description: Rows that were missing, changed and added, by table; V(null) where nobody could count.
  returned: success
  type: dict
  sample: {records: {missing: 0, changed: 201, added: 1}}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {records: {missing: 0, changed: 0, added: 0}}
findings:
  description: What the rules say afterwards.
  returned: when not in check mode
  type: list
  elements: dict
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

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import (
    Rule,
    check_rules,
    rules_argument,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import open_bench
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import Comparison, Difference
from ansible_collections.codeblue.recovery.plugins.module_utils._table_swap import swap_tables


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Swap what differs; a second time nothing does."""
    whole = {table: {"missing": 0, "changed": 0, "added": 0} for table in params["tables"]}
    if context.check_mode:
        unknown: t.Dict[str, t.Any] = {table: None for table in params["tables"]}
        return StepOutcome(True, unknown, whole)
    deadline = Deadline(params["timeout"])
    login = Login.from_params(params)
    rules = [Rule.from_params(each) for each in params["rules"]]
    bench = open_bench(login, params["directory"], deadline)
    differences = Comparison(bench, params["tables"], ()).run()
    before = {each.table: _counts(each) for each in differences}
    changed = not all(each.same for each in differences)
    if changed:
        context.accept(before)
        swap_tables(bench, differences, rules, context.lock_descriptors)
    with PsqlSession(login, deadline) as sql:
        findings = [each.as_dict() for each in check_rules(sql, rules)]
    return StepOutcome(changed, before, whole, {"findings": findings})


def _counts(difference: Difference) -> t.Dict[str, t.Any]:
    return {"missing": difference.missing, "changed": difference.changed, "added": difference.added}


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "directory": {"type": "path", "required": True},
            "tables": {"type": "list", "elements": "str", "required": True},
            "rules": rules_argument(),
            "timeout": {"type": "float", "default": 900.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
