#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends PostgreSQL sessions that hold a pool's places for nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_end_sessions
short_description: End idle sessions of named offenders and cap how many they may open
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - Ends sessions of the users or applications named that have been idle for longer than O(idle_seconds).
  - Never ends sessions of O(service_roles), of superusers, of replication, nor its own.
  - O(connection_limit) caps the users before their sessions are ended, so that they do not come back at once.
    RV(undo) holds what O(state=released) needs to take the cap away.
options:
  state:
    description:
      - V(ended) ends the sessions and sets the cap.
      - V(released) sets the limits of O(limits) again.
    type: str
    choices: [ended, released]
    default: ended
  users:
    description: Roles whose sessions may be ended. None of O(service_roles) may be among them.
    type: list
    elements: str
    default: []
  application_names:
    description: Applications whose sessions may be ended, by the name that they give.
    type: list
    elements: str
    default: []
  states:
    description: Only sessions in one of these states.
    type: list
    elements: str
    choices: [idle, idle in transaction, idle in transaction (aborted)]
    default: [idle, idle in transaction, idle in transaction (aborted)]
  idle_seconds:
    description: Only sessions that have been in that state for longer.
    type: float
    default: 10.0
  service_roles:
    description: Roles of the service itself, whose sessions are never taken for a leak.
    type: list
    elements: str
    default: []
  connection_limit:
    description: Set C(CONNECTION LIMIT) of each of O(users) to this, unless theirs is lower already.
    type: int
  limits:
    description: Role and its earlier C(CONNECTION LIMIT), for O(state=released). V(-1) is no limit.
    type: dict
    default: {}
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
- name: See which sessions would be ended
  codeblue.recovery.postgresql_end_sessions:
    bin_dir: /usr/lib/postgresql/18/bin
    socket_dir: /var/run/postgresql
    users: [report]
    idle_seconds: 30
    connection_limit: 5
    service_roles: [records_app, auth_app]
  check_mode: true
"""

RETURN = r"""
before:
  description: Matching sessions by user, free places for services, and limits of the users.
  returned: success
  type: dict
  sample: {matching: {report: 90}, free_for_services: 0, limits: {report: -1}}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {matching: {}, free_for_services: 90, limits: {report: 5}}
ended:
  description: How many sessions were ended.
  returned: success
  type: int
undo:
  description: Value for O(limits) that takes the cap away again.
  returned: success
  type: dict
  sample: {report: -1}
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
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sessions import (
    IDLE_STATES,
    Offenders,
    connection_limits,
    end_sessions,
    free_places,
    look_at_sessions,
    set_connection_limits,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    session_when_there_is_room,
)


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """End or release."""
    deadline = Deadline(params["timeout"])
    with session_when_there_is_room(Login.from_params(params), deadline) as sql:
        if params["state"] == "released":
            return _release(sql, params, context)
        return _end(sql, params, context, deadline)


def _end(sql: PsqlSession, params: t.Dict[str, t.Any], context: StepContext, deadline: Deadline) -> StepOutcome:
    offenders = Offenders(
        users=tuple(params["users"]),
        application_names=tuple(params["application_names"]),
        states=tuple(params["states"]),
        idle_seconds=params["idle_seconds"],
        service_roles=tuple(params["service_roles"]),
    )
    limits = connection_limits(sql, params["users"])
    before = {**look_at_sessions(sql, offenders), "limits": limits}
    caps = _caps(limits, params["connection_limit"])
    earlier = (context.before_first_attempt or before)["limits"]
    extra: t.Dict[str, t.Any] = {
        "ended": sum(before["matching"].values()),
        "undo": {role: earlier[role] for role in limits if earlier[role] != caps.get(role, limits[role])},
    }
    if not caps and not before["matching"]:
        return StepOutcome(False, before, before, extra)
    if context.check_mode:
        free = before["free_for_services"] + extra["ended"]
        return StepOutcome(
            True, before, {"matching": {}, "free_for_services": free, "limits": {**limits, **caps}}, extra
        )
    context.accept(before)
    # The cap comes first: whoever is thrown out would be back before the services are.
    set_connection_limits(sql, caps)
    extra["ended"] = end_sessions(sql, offenders, deadline)
    after = {**look_at_sessions(sql, offenders), "limits": connection_limits(sql, params["users"])}
    return StepOutcome(True, before, after, extra)


def _caps(limits: t.Dict[str, int], wanted: t.Optional[int]) -> t.Dict[str, int]:
    if wanted is None:
        return {}
    if wanted < 0:
        raise BadInput("connection_limit: %d is negative" % wanted, "leave it out for no cap")
    return {role: wanted for role, limit in limits.items() if limit < 0 or limit > wanted}


def _release(sql: PsqlSession, params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    wanted = {role: _limit(role, value) for role, value in params["limits"].items()}
    limits = connection_limits(sql, wanted)
    before = {"matching": {}, "free_for_services": free_places(sql), "limits": limits}
    changes = {role: limit for role, limit in wanted.items() if limits[role] != limit}
    if changes and not context.check_mode:
        context.accept(before)
        set_connection_limits(sql, changes)
    return StepOutcome(bool(changes), before, {**before, "limits": wanted}, {"ended": 0, "undo": limits})


def _limit(role: str, value: t.Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).lstrip("-").isdigit():
        raise BadInput("limits.%s: %r is no number" % (role, value), "-1 is no limit")
    return int(value)


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **login_arguments(),
            "state": {"type": "str", "default": "ended", "choices": ["ended", "released"]},
            "users": {"type": "list", "elements": "str", "default": []},
            "application_names": {"type": "list", "elements": "str", "default": []},
            "states": {
                "type": "list",
                "elements": "str",
                "choices": list(IDLE_STATES),
                "default": list(IDLE_STATES),
            },
            "idle_seconds": {"type": "float", "default": 10.0},
            "service_roles": {"type": "list", "elements": "str", "default": []},
            "connection_limit": {"type": "int"},
            "limits": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 10.0},
        },
        perform,
        required_if=[("state", "ended", ("users", "application_names"), True)],
    )


if __name__ == "__main__":
    main()
