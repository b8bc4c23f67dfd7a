# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who makes others wait in a PostgreSQL server, and who keeps it busy."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    identifier,
    literal,
    text_array,
)

State = t.Dict[str, t.Any]

GUARD = "idle_in_transaction_session_timeout"

# Who waits for whom, followed to the sessions that wait for nobody themselves: ending one in the middle of the
# chain would help nobody.
_ROOTS = """
WITH RECURSIVE edge AS (
    SELECT a.pid AS waiter, unnest(pg_blocking_pids(a.pid)) AS blocker
    FROM pg_stat_activity a WHERE a.wait_event_type = 'Lock' AND a.pid <> pg_backend_pid()
), chain (waiter, blocker) AS (
    SELECT waiter, blocker FROM edge
    UNION
    SELECT c.waiter, e.blocker FROM chain c JOIN edge e ON e.waiter = c.blocker
)
SELECT c.blocker AS pid, count(DISTINCT c.waiter)::int AS waiting,
    array_agg(DISTINCT w.usename::text) AS waiting_roles,
    extract(epoch FROM max(clock_timestamp() - w.query_start))::float AS longest_wait_seconds
FROM chain c JOIN pg_stat_activity w ON w.pid = c.waiter
WHERE c.blocker NOT IN (SELECT waiter FROM edge)
GROUP BY 1 ORDER BY 2 DESC LIMIT 20
"""

# Locks that keep ordinary reads or writes of a table waiting; those that every statement takes are left out.
_STRONG = "('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"

_SESSION = """
SELECT a.pid, a.backend_start::text AS backend_start, coalesce(a.usename::text, '') AS "user",
    coalesce(a.application_name, '') AS application_name, coalesce(host(a.client_addr), 'local') AS client,
    coalesce(a.state, '') AS state, a.backend_type,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float AS transaction_seconds,
    extract(epoch FROM clock_timestamp() - a.state_change)::float AS state_seconds,
    coalesce(r.rolsuper, false) AS superuser, coalesce(r.rolreplication, false) AS replication,
    coalesce(a.usename::text = ANY (%(service_roles)s), false) AS service_role,
    ARRAY(
        SELECT DISTINCT l.relation::regclass::text || ' ' || l.mode FROM pg_locks l
        WHERE l.pid = a.pid AND l.granted AND l.relation IS NOT NULL AND l.mode IN %(strong)s
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1 LIMIT 10
    ) AS locks
FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
WHERE %(condition)s ORDER BY a.xact_start NULLS LAST LIMIT 20
"""

_GROUPS = """
SELECT coalesce(usename::text, '') AS "user", coalesce(application_name, '') AS application_name,
    coalesce(host(client_addr), 'local') AS client, coalesce(state, '') AS state, count(*)::int AS count,
    (count(*) FILTER (WHERE backend_start > clock_timestamp() - interval '1 second'))::int AS younger_than_1s,
    (count(*) FILTER (WHERE wait_event_type = 'Lock'))::int AS waiting
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 50
"""


def look_at_activity(
    sql: PsqlSession, service_roles: t.Sequence[str], watch: float, idle_seconds: float, deadline: Deadline
) -> State:
    """Blockers, idle holders of locks, sessions, and how many come each second.

    Waiting comes in bursts, so it is looked at again and again until somebody is seen waiting or the time is over.

    :param watch: seconds.
    :param idle_seconds: a transaction that has been idle for longer, with a strong lock, is named also when nobody is
        seen waiting for it.
    """
    sessions_before = _sessions_so_far(sql)
    watched = deadline.within(watch)
    roots: t.Dict[int, State] = {}

    def somebody_waits() -> bool:
        for root in sql.rows(_ROOTS):
            roots[root["pid"]] = root
        return bool(roots)

    watched.wait_until(somebody_waits, 0.05)
    elapsed = max(0.05, watched.elapsed())
    opened = _sessions_so_far(sql) - sessions_before
    blockers = [
        {**session, **{key: roots[session["pid"]][key] for key in _WAITING}}
        for session in _sessions(sql, service_roles, _numbers(roots))
    ]
    holders = [
        session
        for session in _sessions(
            sql,
            service_roles,
            "a.state LIKE 'idle in transaction%%' AND a.state_change < clock_timestamp() - %s * interval '1 second'"
            % literal(idle_seconds),
        )
        if session["locks"] and session["pid"] not in roots
    ]
    return {
        "blockers": sorted(blockers, key=lambda each: -each["waiting"]),
        "idle_holders": holders,
        "sessions": sql.rows(_GROUPS),
        # Transactions that were prepared and never finished block under number 0 and have no session.
        "prepared_blocking": 0 in roots,
        "opened_per_second": round(opened / elapsed, 2),
        "maximum": int(sql.value("current_setting('max_connections')")),
    }


_WAITING = ("waiting", "waiting_roles", "longest_wait_seconds")


def _numbers(roots: t.Mapping[int, State]) -> str:
    return "a.pid IN (%s)" % ", ".join(str(pid) for pid in roots) if roots else "false"


def _sessions(sql: PsqlSession, service_roles: t.Sequence[str], condition: str) -> t.List[State]:
    return sql.rows(_SESSION % {"service_roles": text_array(service_roles), "strong": _STRONG, "condition": condition})


def _sessions_so_far(sql: PsqlSession) -> int:
    """Since the statistics began; the column came with PostgreSQL 14."""
    known = sql.flag(
        "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'pg_stat_database'::regclass AND attname = 'sessions')"
    )
    if not known:
        return 0
    return int(sql.value("coalesce(sum(sessions), 0)::bigint FROM pg_stat_database"))


def end_session(sql: PsqlSession, pid: int, backend_start: str, service_roles: t.Sequence[str]) -> bool:
    """End this very session. One statement looks and ends, so that a number that was given to another is never hit."""
    rows = sql.rows(
        "SELECT pg_terminate_backend(a.pid) AS ended FROM pg_stat_activity a WHERE %s"
        % may_be_ended(pid, backend_start, service_roles)
    )
    return bool(rows) and bool(rows[0]["ended"])


def may_be_ended(pid: int, backend_start: str, service_roles: t.Sequence[str]) -> str:
    """For WHERE: this session, unless it is of a superuser, of replication or backup, or of the service itself."""
    return (
        "a.pid = %d AND a.backend_start = %s::timestamptz AND a.backend_type = 'client backend'"
        " AND a.pid <> pg_backend_pid() AND a.usename::text <> ALL (%s)"
        " AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid AND (r.rolsuper OR r.rolreplication))"
        % (pid, literal(backend_start), text_array(service_roles))
    )


def session_now(sql: PsqlSession, pid: int, backend_start: str, service_roles: t.Sequence[str]) -> t.Optional[State]:
    """The session as it is now, None when it is gone."""
    condition = "a.pid = %d AND a.backend_start = %s::timestamptz" % (pid, literal(backend_start))
    rows = _sessions(sql, service_roles, condition)
    return rows[0] if rows else None


def guard_of(sql: PsqlSession, role: str) -> t.Optional[str]:
    """What is set for the role in all databases, None when nothing is."""
    rows = sql.rows(
        "SELECT split_part(setting, '=', 2) AS value FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,"
        " unnest(s.setconfig) AS setting WHERE s.setdatabase = 0 AND r.rolname = %s"
        " AND split_part(setting, '=', 1) = %s" % (literal(role), literal(GUARD))
    )
    return str(rows[0]["value"]) if rows else None


def set_guard(sql: PsqlSession, role: str, value: t.Optional[str]) -> None:
    """For sessions of the role that begin from now on; None takes it away."""
    if value is None:
        sql.execute("ALTER ROLE %s RESET %s" % (identifier(role), GUARD))
    else:
        sql.execute("ALTER ROLE %s SET %s = %s" % (identifier(role), GUARD, literal(value)))
