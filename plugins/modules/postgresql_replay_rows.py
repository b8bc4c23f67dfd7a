#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes kept rows into their tables again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_replay_rows
short_description: Write rows that a restore took out into their tables again
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Inserts rows whose key is free, and changes rows that are still as the restore brought them back. What stands
    against something else is counted as a conflict and left to a person.
  - All rows of one call are one transaction. In check mode it is rolled back, so that the counts are exact.
  - Rows are patient data. They come compressed in O(rows), reach the server by COPY, and appear in no result.
options:
  rows:
    description:
      - Lines of JSON as M(codeblue.recovery.postgresql_compare_tables) kept them, compressed by zlib, in base 64.
    type: str
    required: true
  tables:
    description: The tables that the rows may go to.
    type: list
    elements: str
    required: true
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
- name: See how many rows would be written
  codeblue.recovery.postgresql_replay_rows:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    tables: [records]
    rows: "{{ __kept_rows }}"
  no_log: true
  check_mode: true
"""

RETURN = r"""
before:
  description: Rows that were there already, by table.
  returned: success
  type: dict
  sample: {records: 0}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {records: 2}
counts:
  description: By table, how many rows came, were written, were there already, and stand against something else.
  returned: success
  type: dict
  sample: {records: {rows: 3, written: 2, already: 0, conflicts: 1}}
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

import base64
import binascii
import typing as t
import zlib

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._replay_rows import replay_rows

_LARGEST_ROWS = 64 * 1024 * 1024


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Write what is not there; a second time nothing is."""
    deadline = Deadline(params["timeout"])
    login = Login.from_params(params)
    try:
        unpack = zlib.decompressobj()
        lines = unpack.decompress(base64.b64decode(params["rows"], validate=True), _LARGEST_ROWS)
    except (binascii.Error, zlib.error):
        lines = b""
    if not lines or not unpack.eof:
        raise BadInput("rows: is no compressed text of at most %d MB" % (_LARGEST_ROWS >> 20))
    counts = replay_rows(login, params["tables"], lines, False, deadline)
    before = {table: each["already"] for table, each in counts.items()}
    changed = any(each["written"] for each in counts.values())
    if changed and not context.check_mode:
        context.accept(before)
        counts = replay_rows(login, params["tables"], lines, True, deadline, context.lock_descriptors)
    after = {table: each["already"] + each["written"] for table, each in counts.items()}
    return StepOutcome(changed, before, after, {"counts": counts})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "rows": {"type": "str", "required": True, "no_log": True},
            "tables": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "float", "default": 600.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
