#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Finds the last clean state of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_clean_point
short_description: Find the last moment at which the data were whole, and restore it beside the real cluster
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Restores the newest usable base backup into O(directory) and replays the archived log in steps. At each step it asks
    O(rules). Only commits that can have changed the damaged tables are looked at, and one copy goes forward through
    several of them, so that few restores are needed.
  - Ends with a promoted copy of the last clean state that runs in O(directory), apart from the production as
    M(codeblue.recovery.postgresql_restore_beside) describes it.
  - Runs on the machine that has the backups. The login reaches the primary, whose log is archived up to the present
    first. Writes should have been stopped before.
  - When no state that can be restored is clean, it fails with C(exit_code=5) and leaves no copy.
options:
  directory:
    description: Where the copy lives. The directory above it has to exist.
    type: path
    required: true
  destination:
    description: Directory on the machine that holds the backups.
    type: path
    required: true
  archive_dir:
    description: The log archive.
    type: path
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
  exclude:
    description: Backups that were taken of the damaged state.
    type: list
    elements: str
    default: []
  in_log:
    description: V(false) when the damage is known to be on disk only. Then the end of the log is taken.
    type: bool
    default: true
  most_restores:
    description: So many copies at most. What is known to be clean by then is taken.
    type: int
    default: 12
  settings:
    description: Further settings of the copy, such as C(shared_buffers).
    type: dict
    default: {}
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
- name: See from which backups the search would begin
  codeblue.recovery.postgresql_clean_point:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    destination: /var/backups/patient_db
    archive_dir: /var/lib/wal-archive
    directory: /var/backups/.clean-patient_db
    rules:
      - {id: records_there, tables: [records], minimum_rows: 1000}
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether a copy lived in the directory and ran.
  returned: success
  type: dict
  sample: {present: false, running: false}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {present: true, running: true, ready: true, backups: [01K9Z5V6A8T7Q2N4M3R1C0X9YB]}
clean_point:
  description: >-
    Where it lies in the log, which transaction did the damage and when (C(culprit_xids), C(culprit_committed_at)),
    whether nothing else lies in between (C(exact)), and what the search took.
  returned: when not in check mode
  type: dict
  sample: {lsn: 0/300E6F0, inclusive: false, exact: true, culprit_xids: [796], restores: 2, starts: 6, seconds: 1.3,
           culprit_committed_at: "2026-01-31T14:05:00.052401Z", backup_id: 01K9Z5V6A8T7Q2N4M3R1C0X9YB}
copy:
  description: How the copy is reached.
  returned: when not in check mode
  type: dict
backups:
  description: The backups that a search would begin with, the newest first.
  returned: in check mode
  type: list
  elements: str
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
from ansible_collections.codeblue.recovery.plugins.module_utils._clean_point import (
    DEFAULT_MOST_RESTORES,
    Assignment,
    find_clean_point,
    usable_backups,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import Rule, rules_argument
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    RestoreRequest,
    beside_state,
    stop_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_end import archive_everything


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Search, and leave the copy."""
    deadline = Deadline(params["timeout"])
    login = Login.from_params(params)
    before = beside_state(params["directory"])
    backups = [each.backup_id for each in usable_backups(params["destination"], frozenset(params["exclude"]))]
    if context.check_mode:
        after = {"present": True, "running": True, "ready": True, "backups": backups[:1]}
        return StepOutcome(True, before, after, {"backups": backups})
    context.accept(before)
    # What a search that was cut off has left, or an earlier one of another damage.
    stop_beside(params["directory"])
    with PsqlSession(login, deadline) as sql:
        end = archive_everything(sql, params["archive_dir"], deadline)
    request = RestoreRequest(
        login=login,
        destination=params["destination"],
        directory=params["directory"],
        target=RecoveryTarget(),
        archive_dir=params["archive_dir"],
        settings={name: str(value) for name, value in params["settings"].items()},
        pass_fds=context.lock_descriptors,
    )
    found = find_clean_point(
        Assignment(
            request=request,
            rules=tuple(Rule.from_params(each) for each in params["rules"]),
            timeline=end.timeline,
            until_lsn=end.until_lsn,
            exclude=frozenset(params["exclude"]),
            in_log=params["in_log"],
            most_restores=params["most_restores"],
        ),
        deadline,
    )
    extra = {"clean_point": found.as_dict(), "copy": found.copy.as_dict()}
    return StepOutcome(True, before, beside_state(params["directory"]), extra)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "directory": {"type": "path", "required": True},
            "destination": {"type": "path", "required": True},
            "archive_dir": {"type": "path", "required": True},
            "rules": rules_argument(),
            "exclude": {"type": "list", "elements": "str", "default": []},
            "in_log": {"type": "bool", "default": True},
            "most_restores": {"type": "int", "default": DEFAULT_MOST_RESTORES},
            "settings": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 900.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
