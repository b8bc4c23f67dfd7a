# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps a database from being written to, without stopping it."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sessions import wait_until_gone
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, identifier, literal

_SETTING = "default_transaction_read_only"
# A backend needs a few milliseconds from its start until it is listed.
_QUIET_LOOKS = 2
_LOOK_PAUSE = 0.03


def look_at_database(sql: PsqlSession, database: str) -> t.Dict[str, t.Any]:
    """The database's own setting: V(on), V(off), or None when it has none.

    :raises BadInput: there is no such database.
    """
    if sql.value("count(*) FROM pg_database WHERE datname = %s" % literal(database)) != "1":
        raise BadInput("there is no database %r in this cluster" % database)
    rows = sql.rows(
        "SELECT split_part(c, '=', 2) AS value FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase,"
        " unnest(s.setconfig) c WHERE s.setrole = 0 AND d.datname = %s AND split_part(c, '=', 1) = %s"
        % (literal(database), literal(_SETTING))
    )
    return {_SETTING: rows[0]["value"] if rows else None}


def overriding_roles(sql: PsqlSession, database: str) -> t.List[str]:
    """Roles whose own setting wins over that of the database and lets them write."""
    rows = sql.rows(
        "SELECT DISTINCT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,"
        " unnest(s.setconfig) c"
        " WHERE r.rolcanlogin AND split_part(c, '=', 1) = %s AND split_part(c, '=', 2) IN ('off', 'false', 'no', '0')"
        " AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = %s)) ORDER BY 1"
        % (literal(_SETTING), literal(database))
    )
    return [row["rolname"] for row in rows]


def set_read_only(sql: PsqlSession, database: str, value: t.Optional[str]) -> None:
    """Write the database's own setting, or take it away with None. New sessions follow it."""
    if value is None:
        sql.execute("ALTER DATABASE %s RESET %s" % (identifier(database), _SETTING))
    else:
        sql.execute("ALTER DATABASE %s SET %s = %s" % (identifier(database), _SETTING, literal(value)))


def end_client_sessions(sql: PsqlSession, database: str, deadline: Deadline) -> int:
    """End the client sessions in the database, which keep the setting that they began with; how many.

    A session that was being opened while the setting was written shows up a moment later: it is looked for again,
    until none is left that began before now.

    :raises CodeblueError: one of them does not end.
    """
    began = sql.value("clock_timestamp()::text")
    ended, quiet = 0, 0
    while quiet < _QUIET_LOOKS:
        found = sql.rows(
            "SELECT pid, backend_start::text AS started, pg_terminate_backend(pid) AS ended FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            " AND backend_start <= %s::timestamptz" % (literal(database), literal(began))
        )
        if found and not wait_until_gone(sql, found, deadline):
            raise CodeblueError(
                "%d sessions of %s do not end and may still write" % (len(found), database),
                "end them on the machine: see pg_stat_activity",
            )
        ended += len(found)
        quiet = 0 if found else quiet + 1
        time.sleep(_LOOK_PAUSE)
    return ended
