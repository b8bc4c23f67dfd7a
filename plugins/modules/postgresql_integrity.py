#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks whether the data of a database are whole."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_integrity
short_description: Ask whether the data in a PostgreSQL database are whole
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Holds the tables against integrity rules, in a session that cannot write.
  - Says numbers only, never what a row holds.
options:
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
    default: 60.0
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
"""

EXAMPLES = r"""
- name: See whether the records are whole
  codeblue.recovery.postgresql_integrity:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    rules:
      - {id: records_there, tables: [records], minimum_rows: 1000}
      - {id: records_digests, tables: [records, record_digests], violations: SELECT count(*) FROM damaged_records}
"""

RETURN = r"""
whole:
  description: Every rule holds.
  returned: success
  type: bool
findings:
  description: >-
    By rule. C(problem) is V(null), or C(violated), C(missing) (a table or column), C(unreadable) (damaged on disk),
    C(locked) (nobody could look) or C(failed).
  returned: success
  type: list
  elements: dict
  sample: [{rule: records_there, tables: [records], ok: false, problem: violated, violations: 12, sqlstate: null}]
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import run_look_module
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import (
    Rule,
    check_rules,
    rules_argument,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession


def look(params: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """Ask every rule."""
    rules = [Rule.from_params(each) for each in params["rules"]]
    with PsqlSession(Login.from_params(params), Deadline(params["timeout"])) as sql:
        findings = check_rules(sql, rules)
    return {"whole": all(each.ok for each in findings), "findings": [each.as_dict() for each in findings]}


def main() -> None:
    """Entry point."""
    run_look_module(
        {**login_arguments(), "rules": rules_argument(), "timeout": {"type": "float", "default": 60.0}}, look
    )


if __name__ == "__main__":
    main()
