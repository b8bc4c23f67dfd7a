"""Brings a broken clinic back to its normal state, so that every drill starts alike.

This is the lab's own way back, not a recovery to learn from: it may throw a member away and copy it anew.
"""

from __future__ import annotations

import signal
import time

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.database import reset_roles, set_passwords
from codeblue.lab.intrusion_faults import remove_intrusion
from codeblue.lab.keepers import Keepers
from codeblue.lab.layout import (
    DATABASE_MEMBERS,
    FAULT_UNITS,
    GATEWAY_UNIT,
    postgres_unit,
    unit,
)
from codeblue.lab.parts import Parts
from codeblue.lab.patient_records import restore_records
from codeblue.lab.phi_faults import restore_logs
from codeblue.lab.postgresql import DATABASE, peer_of, slot_of
from codeblue.lab.processes import end, facts, postgres_processes
from codeblue.lab.secrets import copy_to_consumers

_FIRST, _SECOND = DATABASE_MEMBERS


def restore_normal_state(parts: Parts) -> None:
    """db1 is primary, db2 follows in step, the gateway, releases, flags and passwords are as after `up`.

    :raises CodeblueError: it cannot be brought back; `down` and `up` make a new one.
    """
    parts.supervisor.stop(*FAULT_UNITS)
    _restore_database(parts)
    copy_to_consumers(parts.layout)
    with parts.postgresql.connect(_FIRST) as connection:
        set_passwords(parts.layout, connection)
        reset_roles(connection)
        connection.execute("alter database clinic reset all")
    with parts.postgresql.connect(_FIRST, DATABASE) as connection:
        parts.migrations.restore_base(connection)
        restore_records(connection)
    parts.services.write_flags()
    stale = {*parts.releases.restore_base(), *parts.configuration.restore_base()}
    parts.supervisor.stop(*(unit(service, machine) for service, machine in stale))
    _start_all_but_the_database(parts)
    remove_intrusion(parts.layout)
    Keepers(parts.layout).forget()
    restore_logs(parts.layout)
    parts.gateway.write_config()
    parts.gateway.restore_normal_state()
    parts.wait_answering()
    parts.postgresql.wait_in_step(_SECOND)


def stop_member(parts: Parts, member: str) -> None:
    """Stop a server cleanly if it can be, and end what a killed postmaster left behind."""
    name = postgres_unit(member)
    leftover = postgres_processes(parts.layout.data_dir(member))
    for process in leftover:
        # A stopped process would wait out its whole deadline.
        if (found := facts(process.pid)) and found.state in "Tt":
            end([process], signal.SIGKILL, 2.0)
    parts.supervisor.stop(name)
    left = end(postgres_processes(parts.layout.data_dir(member)), signal.SIGKILL, 5.0)
    if left:
        raise CodeblueError(f"{member}: process {left[0].pid} does not end", "see: ps -ef")


def _start_all_but_the_database(parts: Parts) -> None:
    databases = {postgres_unit(member) for member in DATABASE_MEMBERS}
    names = [program.name for program in parts.programs()]
    wanted = [name for name in names if name not in databases and name not in FAULT_UNITS]
    states = parts.supervisor.states()
    parts.supervisor.start(*wanted)
    if states[GATEWAY_UNIT] != "RUNNING":
        parts.gateway.wait_up({}, 5.0)


def _restore_database(parts: Parts) -> None:
    _end_frozen_servers(parts)
    source = _running_primary(parts) or _start_best_candidate(parts)
    if source == _FIRST:
        _restore_configuration(parts, _FIRST)
        if not _is_good_standby(parts, _SECOND):
            stop_member(parts, _SECOND)
            parts.postgresql.copy_from_primary(_SECOND)
            parts.supervisor.start(postgres_unit(_SECOND))
    else:
        _switch_back(parts)
    parts.postgresql.ensure_slot_for(_SECOND)
    parts.postgresql.wait_for_role(_SECOND, "standby")
    for member in DATABASE_MEMBERS:
        _drop_foreign_slots(parts, member)
        for record in parts.layout.lock_dir(member).glob("*.fence.json"):
            # It tells how to release a fence; the member was made anew, so there is none.
            record.unlink()


def _drop_foreign_slots(parts: Parts, member: str) -> None:
    """Slots that a recovery made for the other direction would keep WAL for a standby that never comes."""
    with parts.postgresql.connect(member) as connection:
        connection.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active and slot_name <> %s",
            (slot_of(_SECOND) if member == _FIRST else "",),
        )


def _end_frozen_servers(parts: Parts) -> None:
    """A frozen server goes on when nobody took its place; else it is ended before it can."""
    for member in DATABASE_MEMBERS:
        frozen = [
            process
            for process in postgres_processes(parts.layout.data_dir(member))
            if (found := facts(process.pid)) and found.state in "Tt"
        ]
        if not frozen:
            continue
        if parts.postgresql.status(peer_of(member)).role == "primary":
            end(frozen, signal.SIGKILL, 5.0)
        else:
            end(frozen, signal.SIGCONT, 0.0)


def _running_primary(parts: Parts) -> str | None:
    """Of two that both take themselves for primary, the one that was promoted last."""
    primaries = [member for member in DATABASE_MEMBERS if parts.postgresql.status(member).role == "primary"]
    return max(primaries, key=lambda member: _timeline(parts, member), default=None)


def _timeline(parts: Parts, member: str) -> int:
    with parts.postgresql.connect(member) as connection:
        row = connection.execute("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
    return int(row[0], 16) if row else 0


def _start_best_candidate(parts: Parts) -> str:
    """Nobody is primary: start the member that was one, or promote the standby."""
    usable = {member: timeline for member in DATABASE_MEMBERS if (timeline := _stopped_timeline(parts, member))}
    if not usable:
        raise CodeblueError("both members have lost their data", "start anew: codeblue lab down, then codeblue lab up")
    former = [member for member in usable if not (parts.layout.data_dir(member) / "standby.signal").exists()]
    chosen = max(former or usable, key=lambda member: usable[member])
    stop_member(parts, peer_of(chosen))
    parts.postgresql.write_configuration(chosen)
    parts.supervisor.start(postgres_unit(chosen))
    if chosen not in former:
        _wait_any_answer(parts, chosen)
        with parts.postgresql.connect(chosen) as connection:
            connection.execute("select pg_promote(true, 8)")
    parts.postgresql.wait_for_role(chosen, "primary", 15.0)
    return chosen


def _wait_any_answer(parts: Parts, member: str) -> None:
    deadline = time.monotonic() + 10.0
    while (status := parts.postgresql.status(member)).role == "unreachable":
        if time.monotonic() >= deadline:
            raise CodeblueError(f"{member} does not start: {status.problem}", f"see {parts.layout.log_dir(member)}")
        time.sleep(0.05)


def _stopped_timeline(parts: Parts, member: str) -> int | None:
    """The timeline of a data directory that can still be started, else None."""
    try:
        text = parts.postgresql.run_tool("pg_controldata", str(parts.layout.data_dir(member)))
    except CodeblueError:
        # Damaged or gone: no candidate. That is an answer here.
        return None
    if "CRC" in text and "WARNING" in text:
        return None
    line = next((line for line in text.splitlines() if line.startswith("Latest checkpoint's TimeLineID:")), None)
    return int(line.split()[-1]) if line else None


def _restore_configuration(parts: Parts, member: str) -> None:
    parts.postgresql.write_configuration(member)
    with parts.postgresql.connect(member) as connection:
        # Whatever was set by ALTER SYSTEM.
        connection.execute("alter system reset all")
        connection.execute("select pg_reload_conf()")


def _is_good_standby(parts: Parts, member: str) -> bool:
    """It streams, and nothing in its configuration was changed."""
    status = parts.postgresql.status(member)
    if status.role != "standby" or not status.streams_from_peer:
        return False
    settings = parts.layout.data_dir(member) / "postgresql.auto.conf"
    if settings.read_text(encoding="utf-8") != parts.postgresql.standby_settings(member):
        return False
    parts.postgresql.write_configuration(member)
    with parts.postgresql.connect(member) as connection:
        connection.execute("select pg_reload_conf()")
    return True


def _switch_back(parts: Parts) -> None:
    """db2 is the primary: stop it cleanly, copy it to db1 and let db2 follow again. No new timeline is needed."""
    stop_member(parts, _FIRST)
    stop_member(parts, _SECOND)
    postgresql = parts.postgresql
    postgresql.copy_stopped(_SECOND, _FIRST)
    for member in DATABASE_MEMBERS:
        postgresql.write_configuration(member)
    postgresql.make_primary_files(_FIRST)
    postgresql.make_standby_files(_SECOND)
    parts.supervisor.start(postgres_unit(_FIRST))
    postgresql.wait_for_role(_FIRST, "primary", 15.0)
    postgresql.ensure_slot_for(_SECOND)
    parts.supervisor.start(postgres_unit(_SECOND))
