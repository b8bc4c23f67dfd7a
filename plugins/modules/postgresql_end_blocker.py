#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends the one PostgreSQL session that makes others wait."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_end_blocker
short_description: End the session that makes others wait, and bound how long its role may hold a transaction open
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Ends exactly the session that O(pid) and O(backend_start) name. Both are compared in the statement that ends it, so
    that a number that was given to another session is never hit. A session that is gone is what was wanted.
  - Refuses to end sessions of superusers, of replication and base backups, and of O(service_roles).
  - With O(guard) sets C(idle_in_transaction_session_timeout) for the session's role first, unless it has one already.
    RV(undo) holds what O(state=released) needs to take it away again.
options:
  state:
    description:
      - V(ended) ends the session and sets the guard.
      - V(released) sets the guards of O(guards) again.
    type: str
    choices: [ended, released]
    default: ended
  pid:
    description: Process id of the session's backend.
    type: int
  backend_start:
    description: When the session began, as C(pg_stat_activity.backend_start) has it.
    type: str
  user:
    description: Role of the session, which gets the guard.
    type: str
  guard:
    description: How long sessions of the role may idle in a transaction from now on, such as V(60s). None without it.
    type: str
  guards:
    description: For O(state=released) role and the value from before, V(null) for none.
    type: dict
    default: {}
  service_roles:
    description: Roles of the service itself, whose sessions are never ended.
    type: list
    elements: str
    default: []
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
- name: See whether the session is still there
  codeblue.recovery.postgresql_end_blocker:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    database: clinic
    pid: 4711
    backend_start: "2026-01-02 09:00:00.123456+00"
    user: billing
    guard: 60s
    service_roles: [records_app, auth_app]
  check_mode: true
"""

RETURN = r"""
before:
  description: The session as C(postgresql_activity) describes it, V(null) when it was gone, and the role's guard.
  returned: success
  type: dict
  sample: {session: {pid: 4711, user: billing, state: idle in transaction}, guard: null}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {session: null, guard: 60s}
undo:
  description: Value for O(guards) that takes the guard away again; empty when it was set before.
  returned: success
  type: dict
  sample: {billing: null}
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
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_activity import (
    end_session,
    guard_of,
    session_now,
    set_guard,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    session_when_there_is_room,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """End or release."""
    deadline = Deadline(params["timeout"])
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        if params["state"] == "released":
            return _release(sql, params["guards"], context)
        return _end(sql, params, context, deadline)


def _end(sql: PsqlSession, params: t.Dict[str, t.Any], context: StepContext, deadline: Deadline) -> StepOutcome:
    pid, started, role = params["pid"], params["backend_start"], params["user"]

    def look() -> t.Dict[str, t.Any]:
        return {
            "session": session_now(sql, pid, started, params["service_roles"]),
            "guard": guard_of(sql, role),
        }

    before = look()
    session = before["session"]
    if session is not None:
        _refuse_protected(session, role)
    wanted = params["guard"] if params["guard"] and before["guard"] is None else None
    earlier = context.before_first_attempt or before
    undo = {role: None} if earlier["guard"] is None and params["guard"] else {}
    if session is None and wanted is None:
        return StepOutcome(False, before, before, {"undo": undo})
    if context.check_mode:
        return StepOutcome(True, before, {"session": None, "guard": wanted or before["guard"]}, {"undo": undo})
    context.accept(before)
    if wanted is not None:
        # The guard comes first: a job that is thrown out may be back before anybody looks.
        set_guard(sql, role, wanted)
    if session is not None:
        end_session(sql, pid, started, params["service_roles"])
        if not deadline.wait_until(lambda: session_now(sql, pid, started, params["service_roles"]) is None, 0.02):
            raise CodeblueError(
                "session %d does not end within %.1f s" % (pid, params["timeout"]),
                "its backend waits for a disk or the network; see pg_stat_activity.wait_event",
            )
    return StepOutcome(True, before, look(), {"undo": undo})


def _refuse_protected(session: t.Dict[str, t.Any], role: str) -> None:
    """The statement that ends it would not match; here it is said why.

    :raises Refused: the session is not to be ended by anybody but a person.
    """
    if session["user"] != role:
        raise Refused("session %d belongs to %s, not to %s" % (session["pid"], session["user"], role))
    for key, what in (
        ("superuser", "a superuser"),
        ("replication", "replication or a backup"),
        ("service_role", "the service itself"),
    ):
        if session[key]:
            raise Refused(
                "session %d of %s belongs to %s and is not ended" % (session["pid"], role, what),
                "a person decides, see the runbook",
            )
    if session["backend_type"] != "client backend":
        raise Refused("process %d is a %s of the server itself" % (session["pid"], session["backend_type"]))


def _release(sql: PsqlSession, guards: t.Mapping[str, t.Optional[str]], context: StepContext) -> StepOutcome:
    wanted = {role: str(value) if value else None for role, value in guards.items()}
    before = {"guards": {role: guard_of(sql, role) for role in wanted}}
    changes = {role: value for role, value in wanted.items() if before["guards"][role] != value}
    if changes and not context.check_mode:
        context.accept(before)
        for role, value in sorted(changes.items()):
            set_guard(sql, role, value)
    return StepOutcome(bool(changes), before, {"guards": wanted}, {"undo": before["guards"]})


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "state": {"type": "str", "default": "ended", "choices": ["ended", "released"]},
            "pid": {"type": "int"},
            "backend_start": {"type": "str"},
            "user": {"type": "str"},
            "guard": {"type": "str"},
            "guards": {"type": "dict", "default": {}},
            "service_roles": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        required_if=[("state", "ended", ["pid", "backend_start", "user"])],
    )


if __name__ == "__main__":
    main()
