#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps a PostgreSQL database from being written to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_read_only
short_description: Make transactions of a database read only, and take it back
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Sets C(default_transaction_read_only) of one database and ends its client sessions, which would keep the setting
    that they began with.
  - Refuses while a role has a setting of its own that lets it write.
  - Stops services that do not ask for a writing transaction. A client that sets the parameter itself can still write;
    against an attacker revoke its rights or fence the server.
options:
  name:
    description: The database.
    type: str
    required: true
  state:
    description:
      - V(read_only) makes transactions read only by default.
      - V(restored) sets what O(previous) says.
    type: str
    choices: [read_only, restored]
    required: true
  previous:
    description: The database's own setting before, from RV(undo). V(none) takes the setting away.
    type: str
    choices: ["none", "on", "off"]
    default: "none"
  end_sessions:
    description: End the client sessions in the database, for both states.
    type: bool
    default: true
  timeout:
    description: Seconds for everything together.
    type: float
    default: 10.0
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
- name: See whether the database would be changed
  codeblue.recovery.postgresql_read_only:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    name: clinic
    state: read_only
  check_mode: true
"""

RETURN = r"""
before:
  description: The database's own setting before, V(null) for none.
  returned: success
  type: dict
  sample: {default_transaction_read_only: null}
after:
  description: The setting afterwards.
  returned: success
  type: dict
  sample: {default_transaction_read_only: "on"}
sessions_ended:
  description: How many sessions were ended.
  returned: success
  type: int
undo:
  description: Value for O(previous) that restores what was found.
  returned: success
  type: str
  sample: none
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
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_read_only import (
    end_client_sessions,
    look_at_database,
    overriding_roles,
    set_read_only,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import session_when_there_is_room

_SETTING = "default_transaction_read_only"


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Set it unless it is so."""
    deadline = Deadline(params["timeout"])
    previous = None if params["previous"] == "none" else params["previous"]
    wanted = "on" if params["state"] == "read_only" else previous
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        before = look_at_database(sql, params["name"])
        overriding = overriding_roles(sql, params["name"]) if wanted == "on" else []
        if overriding:
            raise CodeblueError(
                "%s may write all the same: the setting of the role wins over that of the database"
                % ", ".join(overriding),
                "ALTER ROLE %s RESET %s, then try again" % (overriding[0], _SETTING),
            )
        found = (context.before_first_attempt or before)[_SETTING]
        extra: t.Dict[str, t.Any] = {"sessions_ended": 0, "undo": found or "none"}
        if before[_SETTING] == wanted and context.before_first_attempt is None:
            return StepOutcome(False, before, before, extra)
        if context.check_mode:
            return StepOutcome(True, before, {_SETTING: wanted}, extra)
        context.accept(before)
        set_read_only(sql, params["name"], wanted)
        if params["end_sessions"]:
            extra["sessions_ended"] = end_client_sessions(sql, params["name"], deadline)
        return StepOutcome(True, before, look_at_database(sql, params["name"]), extra)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["read_only", "restored"]},
            "previous": {"type": "str", "default": "none", "choices": ["none", "on", "off"]},
            "end_sessions": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
    )


if __name__ == "__main__":
    main()
