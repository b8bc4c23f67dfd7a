# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends sessions that hold a pool's places for nothing, and keeps their owner from taking them again."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    identifier,
    literal,
    text_array,
)

State = t.Dict[str, t.Any]

IDLE_STATES = ("idle", "idle in transaction", "idle in transaction (aborted)")


@dataclass(frozen=True)
class Offenders:
    """Whose sessions may be ended: those of the users or applications named, and of nobody else.

    :param idle_seconds: only sessions that have been idle for longer.
    :param service_roles: roles whose sessions are never taken for a leak.
    """

    users: t.Tuple[str, ...]
    application_names: t.Tuple[str, ...]
    states: t.Tuple[str, ...]
    idle_seconds: float
    service_roles: t.Tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.users and not self.application_names:
            raise BadInput("neither users nor application_names are given", "name whose sessions are to end")
        protected = sorted(set(self.users) & set(self.service_roles))
        if protected:
            raise BadInput(
                "users: %s belongs to the service itself" % protected[0], "take it out of users or service_roles"
            )

    def condition(self) -> str:
        """For WHERE, over pg_stat_activity as a. Superusers and replication are never among them."""
        return (
            "a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.usename <> current_user"
            " AND a.usename <> ALL (%s)"
            " AND (a.usename = ANY (%s) OR a.application_name = ANY (%s))"
            " AND a.state = ANY (%s) AND a.state_change < clock_timestamp() - %s * interval '1 second'"
            " AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid AND (r.rolsuper OR r.rolreplication))"
            % (
                text_array(self.service_roles),
                text_array(self.users),
                text_array(self.application_names),
                text_array(self.states),
                literal(self.idle_seconds),
            )
        )


def look_at_sessions(sql: PsqlSession, offenders: Offenders) -> State:
    """How many sessions would be ended, by user, and how many places are free for services."""
    groups = sql.rows(
        'SELECT a.usename AS "user", count(*)::int AS count FROM pg_stat_activity a WHERE %s GROUP BY 1 ORDER BY 1'
        % offenders.condition()
    )
    return {"matching": {group["user"]: group["count"] for group in groups}, "free_for_services": free_places(sql)}


def free_places(sql: PsqlSession) -> int:
    """Sessions that roles without privileges could still open; our own counts as free."""
    return int(
        sql.value(
            "greatest(0, current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
            " - coalesce(current_setting('reserved_connections', true)::int, 0)"
            " - (SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()))"
        )
    )


def end_sessions(sql: PsqlSession, offenders: Offenders, deadline: Deadline) -> int:
    """End them and wait until their places are free; how many were ended.

    One statement looks and ends, so that a session which got busy in between is left alone.
    """
    ended = sql.rows(
        "SELECT a.pid, a.backend_start::text AS started, pg_terminate_backend(a.pid) AS ended"
        " FROM pg_stat_activity a WHERE " + offenders.condition()
    )
    wait_until_gone(sql, ended, deadline)
    return sum(1 for session in ended if session["ended"])


def wait_until_gone(sql: PsqlSession, sessions: t.Sequence[State], deadline: Deadline) -> bool:
    """Until none of these sessions is there any more; a number that was given to a new one does not count."""
    if not sessions:
        return True
    listed = ", ".join("(%d, %s::timestamptz)" % (session["pid"], literal(session["started"])) for session in sessions)
    left = "count(*) FROM pg_stat_activity WHERE (pid, backend_start) IN (%s)" % listed
    return deadline.wait_until(lambda: sql.value(left) == "0", 0.02)


def connection_limits(sql: PsqlSession, roles: t.Iterable[str]) -> t.Dict[str, int]:
    """The CONNECTION LIMIT of each role, -1 for none.

    :raises BadInput: there is no such role.
    """
    wanted = list(roles)
    rows = sql.rows(
        "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname = ANY (%s) ORDER BY 1" % text_array(wanted)
    )
    found = {row["rolname"]: int(row["rolconnlimit"]) for row in rows}
    for role in wanted:
        if role not in found:
            raise BadInput("there is no role %r in this cluster" % role)
    return found


def set_connection_limits(sql: PsqlSession, limits: t.Mapping[str, int]) -> None:
    """ALTER ROLE ... CONNECTION LIMIT for each."""
    for role, limit in sorted(limits.items()):
        sql.execute("ALTER ROLE %s CONNECTION LIMIT %d" % (identifier(role), limit))
