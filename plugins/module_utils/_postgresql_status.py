# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at one PostgreSQL member whole, within a fixed time, whatever state it is in."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import (
    WalEnd,
    read_control_data,
    read_wal_after,
    read_wal_end,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import (
    describe_postmaster,
    port_accepts,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import (
    PsqlSession,
    SqlUnavailable,
    literal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import ProcessUnit
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Machine
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_database import manager_of

State = t.Dict[str, t.Any]

# Shares of the total time that one part may use, so that the parts after it still get an answer.
_MANAGER_SHARE = 0.25
_PORT_SHARE = 0.15
_SQL_SHARE = 0.5

_SERVER = """
  SELECT pg_is_in_recovery() AS in_recovery,
         current_setting('server_version') AS version,
         (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
         -- A standby that was rewound replays a newer timeline than its last restartpoint is on.
         greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                  (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS checkpoint_timeline,
         extract(epoch FROM pg_postmaster_start_time()) AS started_at,
         current_setting('default_transaction_read_only') = 'on' AS default_read_only,
         current_setting('synchronous_standby_names') AS synchronous_standby_names
"""
_PRIMARY_LOG = """
  SELECT pg_current_wal_lsn()::text AS current_lsn,
         pg_current_wal_flush_lsn()::text AS flush_lsn,
         ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline
"""
_STANDBY_LOG = """
  SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text AS received_lsn,
         pg_last_wal_replay_lsn()::text AS replayed_lsn,
         extract(epoch FROM pg_last_xact_replay_timestamp()) AS last_replayed_commit_at,
         extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS last_replayed_commit_age_seconds,
         pg_is_wal_replay_paused() AS replay_paused,
         w.status AS receiver_status, w.sender_host, w.sender_port, w.slot_name, w.received_tli AS timeline
    FROM (SELECT 1) AS one LEFT JOIN pg_stat_wal_receiver AS w ON true
"""
_REPLICATION = """
  SELECT application_name AS name, client_addr::text AS address, state, sync_state, sent_lsn::text, flush_lsn::text,
         replay_lsn::text, extract(epoch FROM replay_lag) AS replay_lag_seconds
    FROM pg_stat_replication ORDER BY application_name LIMIT 50
"""
_SLOTS = """
  SELECT slot_name AS name, slot_type AS type, active, restart_lsn::text, wal_status
    FROM pg_replication_slots ORDER BY slot_name LIMIT 50
"""
_SETTINGS = """
  SELECT name, setting FROM pg_settings WHERE name IN
    ('max_connections', 'superuser_reserved_connections', 'reserved_connections', 'config_file', 'hba_file',
     'ident_file', 'wal_level', 'archive_mode', 'synchronous_commit')
"""
# The largest groups come first: an exhausted pool is one of them.
_SESSIONS = """
  SELECT usename AS "user", application_name, coalesce(state, 'unknown') AS state, count(*)::int AS count,
         max(extract(epoch FROM clock_timestamp() - state_change))::float8 AS longest_seconds_in_state,
         max(extract(epoch FROM clock_timestamp() - xact_start))::float8 AS longest_transaction_seconds
    FROM pg_stat_activity
   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
   GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 100
"""
_BLOCKED = """
  SELECT pid, usename AS "user", application_name, pg_blocking_pids(pid) AS blocked_by,
         extract(epoch FROM clock_timestamp() - state_change)::float8 AS seconds
    FROM pg_stat_activity
   WHERE wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0
   ORDER BY 5 DESC LIMIT 50
"""


def look_at_member(
    member: Member,
    unit: t.Optional[ProcessUnit],
    service_roles: t.Sequence[str],
    total_seconds: float,
    count_commits_after: t.Optional[str] = None,
) -> State:
    """One whole look; parts that cannot be had say why under `error` and never fail the look.

    :param service_roles: roles whose sessions are marked as the service's own.
    :param total_seconds: after so long the rest is left out.
    :param count_commits_after: a position in the log; commits on disk from there on are counted when SQL is silent.
    """
    deadline = Deadline(total_seconds)
    found: State = {
        "data_dir": member.data_dir,
        "address": member.address,
        "port": member.port,
        "process": _look_at_unit(unit, deadline.within(total_seconds * _MANAGER_SHARE)),
        "postmaster": describe_postmaster(member.data_dir),
        "managed_by": managed_by(member),
    }
    found["port_open"] = port_accepts(member.address, member.port, deadline.within(total_seconds * _PORT_SHARE))
    if found["postmaster"].get("stopped_by_signal"):
        # It cannot answer, and the kernel would let us wait for it.
        found["sql"] = {"answers": False, "kind": "stopped", "error": "the postmaster is stopped by a signal"}
    else:
        found["sql"] = _ask(member, service_roles, deadline.within(total_seconds * _SQL_SHARE), found)
    if not found["sql"]["answers"]:
        found.update(_look_at_disk(member, deadline, count_commits_after))
    found["role"] = _role(found)
    found["seconds"] = round(deadline.elapsed(), 3)
    return found


def managed_by(member: Member) -> t.Optional[str]:
    """The cluster manager that decides about this member, or None."""
    found = manager_of(member.data_dir, Machine())
    return None if found is None else found[0]


def _look_at_unit(unit: t.Optional[ProcessUnit], deadline: Deadline) -> t.Optional[State]:
    if unit is None:
        return None
    try:
        return {**unit.status(deadline).as_dict(), "error": None}
    except CodeblueError as error:
        return {"state": "unknown", "error": error.message}


def _ask(member: Member, service_roles: t.Sequence[str], deadline: Deadline, found: State) -> State:
    """Fill in what SQL tells; say whether it answered."""
    try:
        with PsqlSession(member.login, deadline) as sql:
            found.update(_ask_server(sql, service_roles))
    except SqlUnavailable as error:
        return {"answers": False, "kind": error.kind, "error": error.message, "seconds": round(deadline.elapsed(), 3)}
    except CodeblueError as error:
        return {"answers": False, "kind": "other", "error": error.message, "seconds": round(deadline.elapsed(), 3)}
    return {"answers": True, "kind": None, "error": None, "seconds": round(deadline.elapsed(), 3)}


def _ask_server(sql: PsqlSession, service_roles: t.Sequence[str]) -> State:
    server = sql.row(_SERVER)
    log = sql.row(_STANDBY_LOG if server["in_recovery"] else _PRIMARY_LOG)
    timeline = log.pop("timeline") or server.pop("checkpoint_timeline")
    server.pop("checkpoint_timeline", None)
    settings = {row["name"]: row["setting"] for row in sql.rows(_SETTINGS)}
    sessions = sql.rows(_SESSIONS)
    for session in sessions:
        session["service_role"] = session["user"] in service_roles
    reserved = int(settings["superuser_reserved_connections"]) + int(settings.get("reserved_connections", 0))
    used = int(sql.value("count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    return {
        **server,
        "timeline": timeline,
        "wal": log,
        "replication": sql.rows(_REPLICATION),
        "slots": sql.rows(_SLOTS),
        "sessions": sessions,
        "blocked": sql.rows(_BLOCKED),
        "connections": {
            "maximum": int(settings["max_connections"]),
            "reserved": reserved,
            "used": used,
            # Our own session is counted as used and is over when this is read.
            "free_for_services": max(0, int(settings["max_connections"]) - reserved - (used - 1)),
        },
        "archive_mode": settings["archive_mode"],
        "config_files": [settings[name] for name in ("config_file", "hba_file", "ident_file") if settings.get(name)],
        "read_only_databases": [row["name"] for row in sql.rows(_read_only_databases())],
    }


def _read_only_databases() -> str:
    return (
        "SELECT d.datname AS name FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " WHERE s.setrole = 0 AND %s = ANY (s.setconfig)" % literal("default_transaction_read_only=on")
    )


def _look_at_disk(member: Member, deadline: Deadline, count_after: t.Optional[str]) -> State:
    found: State = {"in_recovery": None, "config_files": _config_files(member)}
    try:
        control = read_control_data(member, deadline)
    except CodeblueError as error:
        wal = None if count_after is None else _wal(lambda: read_wal_after(member, count_after, deadline))
        return {**found, "control": {"readable": False, "error": error.message}, "wal_on_disk": wal}
    found["control"] = {"readable": True, "error": None, **control.as_dict()}
    found["system_identifier"] = control.system_identifier
    found["timeline"] = control.timeline
    found["signal_files"] = [
        name for name in ("standby.signal", "recovery.signal") if os.path.exists(member.path(name))
    ]
    found["wal_on_disk"] = _wal(lambda: read_wal_end(member, control, deadline, count_after))
    return found


def _wal(read: t.Callable[[], WalEnd]) -> State:
    try:
        end = read()
    except CodeblueError as error:
        return {"lsn": None, "commits_after": None, "error": error.message}
    return {"lsn": end.lsn, "commits_after": end.commits_after, "error": None}


def _config_files(member: Member) -> t.List[str]:
    main = member.config_file or member.path("postgresql.conf")
    names = [main, os.path.join(os.path.dirname(main), "pg_hba.conf"), member.path("postgresql.auto.conf")]
    return [name for name in names if os.path.exists(name)]


def _role(found: State) -> str:
    """primary, standby or unknown: by SQL, else by what the server would start as."""
    if found["in_recovery"] is not None:
        return "standby" if found["in_recovery"] else "primary"
    if not found["control"]["readable"]:
        return "unknown"
    return "standby" if found["signal_files"] else "primary"
