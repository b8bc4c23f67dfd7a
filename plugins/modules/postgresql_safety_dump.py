#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes an emergency copy of a database before its schema is changed back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_safety_dump
short_description: Take an emergency copy of a database, or of some of its tables, within seconds
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets a named restore point in the log, and copies with C(pg_dump) as much as O(most_bytes) allows - the whole
    database, else O(tables) and the schema, else the schema alone.
  - Refuses when the rows cannot be copied and the log is not archived, because nothing would lead back then.
  - The copy lies on the machine, for O(os_user) alone, as base backups do. C(pg_restore) reads it.
options:
  destination:
    description: Directory on the machine. Made for O(os_user) alone when it is missing; the one above it has to exist.
    type: path
    required: true
  name:
    description: Of the copy and of the restore point; the latter takes the first 63 characters of it.
    type: str
    required: true
  tables:
    description: Tables that are about to change. Nobody knows which when it is left out; none are when it is empty.
    type: list
    elements: str
  most_bytes:
    description: Data beyond this are not copied.
    type: int
    default: 1073741824
  keep:
    description: So many copies stay, the newest ones.
    type: int
    default: 5
  timeout:
    description: Seconds for everything together.
    type: float
    default: 60.0
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
- name: See how much of a database an emergency copy would hold
  codeblue.recovery.postgresql_safety_dump:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    destination: /var/lib/codeblue-snapshots/patient_db.dumps
    name: before-0042
    tables: [records]
  check_mode: true
"""

RETURN = r"""
before:
  description: What is to be copied, and whether the log is archived.
  returned: success
  type: dict
  sample: {covers: tables, tables: [records], data_bytes: 81920, archiving: true}
after:
  description: The files, their digests, and the restore point with its place in the log. Planned ones in check mode.
  returned: success
  type: dict
  sample:
    files:
      - {path: /var/lib/snapshots/patient_db.dumps/before-0042.tables.dump, covers: tables, bytes: 9120, sha256: 9f86d0}
    restore_point: before-0042
    lsn: 0/3000148
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

import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import login_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import session_when_there_is_room
from ansible_collections.codeblue.recovery.plugins.module_utils._safety_dump import DumpRequest, plan_dump, take_dump

_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Take it."""
    if not _NAME.match(params["name"]):
        raise BadInput("name: %r cannot be a file name" % params["name"], "use letters, digits, . _ + -")
    if params["keep"] < 1:
        raise BadInput("keep: %d is less than 1" % params["keep"])
    deadline = Deadline(params["timeout"])
    request = DumpRequest(
        login=Login.from_params(params),
        destination=params["destination"],
        name=params["name"],
        tables=params["tables"],
        most_bytes=params["most_bytes"],
        keep=params["keep"],
    )
    with session_when_there_is_room(request.login, deadline) as sql:
        plan = plan_dump(request, sql)
        if context.check_mode:
            return StepOutcome(True, plan.as_dict(), {"files": [], "restore_point": params["name"], "lsn": None})
        context.accept(plan.as_dict())
        taken = take_dump(request, plan, sql, deadline, context.lock_descriptors)
    return StepOutcome(True, plan.as_dict(), taken)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "destination": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "tables": {"type": "list", "elements": "str"},
            "most_bytes": {"type": "int", "default": 1073741824},
            "keep": {"type": "int", "default": 5},
            "timeout": {"type": "float", "default": 60.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
