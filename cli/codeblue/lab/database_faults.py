"""Faults of the database."""

from __future__ import annotations

import signal
import time
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.database import set_password
from codeblue.lab.faults import Fault, Injection
from codeblue.lab.files import write_text
from codeblue.lab.gateway import DATABASE_BACKEND
from codeblue.lab.layout import LEAKY_CLIENT_UNIT, postgres_unit
from codeblue.lab.parts import Parts
from codeblue.lab.postgresql import DATABASE, peer_of
from codeblue.lab.processes import (
    ProcessIdentity,
    end,
    facts,
    identity,
    is_running,
    postgres_processes,
    send,
    wait_gone,
)
from codeblue.lab.secrets import new_password, read_secret

# 30 ms apart: a standby replays what is whole within milliseconds.
_UNMOVED_LOOKS = 10
_EVERYTHING = ("patient_db", "auth", "records")


class PrimaryCrashed(Fault):
    name: ClassVar[str] = "primary_crashed"
    summary: ClassVar[str] = "the primary's processes are killed; its data is intact, it stays down"
    hits: ClassVar[tuple[str, ...]] = _EVERYTHING
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        injection = self.strike(primary=primary)
        kill_member(parts, primary)
        return _with_standby_position(parts, injection, peer_of(primary))


class PrimaryDead(Fault):
    name: ClassVar[str] = "primary_dead"
    summary: ClassVar[str] = "the primary's processes are killed and its data is damaged: it cannot be started again"
    hits: ClassVar[tuple[str, ...]] = _EVERYTHING
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        injection = self.strike(primary=primary)
        kill_member(parts, primary)
        control = parts.layout.data_dir(primary) / "global" / "pg_control"
        # As after a bad block: without a valid control file PostgreSQL refuses to start, and pg_rewind to work.
        with open(control, "r+b") as stream:
            stream.write(b"\0" * control.stat().st_size)
        return _with_standby_position(parts, injection, peer_of(primary))


class PrimaryHung(Fault):
    name: ClassVar[str] = "primary_hung"
    summary: ClassVar[str] = "the primary's processes are stopped (SIGSTOP): connections are accepted, nothing answers"
    hits: ClassVar[tuple[str, ...]] = _EVERYTHING
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        postmaster = _postmaster(parts, primary)
        injection = self.strike(primary=primary)
        # The postmaster first, so that it starts no more children.
        send(postmaster, signal.SIGSTOP)
        for process in postgres_processes(parts.layout.data_dir(primary)):
            send(process, signal.SIGSTOP)
        _wait_stopped(parts, primary)
        return _with_standby_position(parts, injection, peer_of(primary))


class ReplicationStopped(Fault):
    name: ClassVar[str] = "replication_stopped"
    summary: ClassVar[str] = (
        "the standby is cut off from its primary and the archive; writes go on and are acknowledged"
    )
    hits: ClassVar[tuple[str, ...]] = ()

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        standby = peer_of(primary)
        postgresql = parts.postgresql
        injection = self.strike(primary=primary)
        with postgresql.connect(standby) as connection:
            # The archive too: at a promotion the standby would else still fetch finished segments from it.
            connection.execute("alter system set restore_command = 'false'")
            connection.execute("select pg_reload_conf()")
        rules = parts.layout.data_dir(primary) / "pg_hba.conf"
        text = rules.read_text(encoding="utf-8")
        write_text(
            rules,
            "host all replicator all reject\nhost replication replicator all reject\n" + text,
            0o600,
            postgresql.owner,
        )
        with postgresql.connect(primary) as connection:
            connection.execute("select pg_reload_conf()")
            _wait_replication_refused(parts, primary)
            connection.execute("select pg_terminate_backend(pid, 2000) from pg_stat_replication")
        _wait_receiver_gone(parts, standby)
        return _with_standby_position(parts, injection, standby)


class PoolExhausted(Fault):
    name: ClassVar[str] = "pool_exhausted"
    summary: ClassVar[str] = "a leaking client holds every connection that the server grants; it comes back when ended"
    hits: ClassVar[tuple[str, ...]] = _EVERYTHING
    rto_target: ClassVar[float | None] = 10.0

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        injection = self.strike(primary=primary)
        parts.supervisor.start(LEAKY_CLIENT_UNIT)
        _end_service_sessions_until_refused(parts, primary)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(LEAKY_CLIENT_UNIT)


class CredentialsRefused(Fault):
    name: ClassVar[str] = "credentials_refused"
    summary: ClassVar[str] = "the passwords of records_app and auth_app change in the database only; sessions are ended"
    hits: ClassVar[tuple[str, ...]] = ("auth", "records")
    rto_target: ClassVar[float | None] = 30.0
    roles: ClassVar[tuple[str, ...]] = ("records_app", "auth_app")

    def inject(self, parts: Parts) -> Injection:
        primary = parts.current_primary()
        with parts.postgresql.connect(primary) as connection:
            injection = self.strike(primary=primary, roles=list(self.roles))
            for role in self.roles:
                # Known to nobody, as after a rotation that was never handed out.
                set_password(connection, role, new_password())
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = any(%s)",
                (list(self.roles),),
            )
        return injection


class RecordsCredentialsRefused(CredentialsRefused):
    name: ClassVar[str] = "records_credentials_refused"
    summary: ClassVar[str] = "the same for records_app alone: people can log in, records cannot be read or written"
    hits: ClassVar[tuple[str, ...]] = ("records",)
    rto_target: ClassVar[float | None] = 30.0
    roles: ClassVar[tuple[str, ...]] = ("records_app",)


DATABASE_FAULTS: tuple[type[Fault], ...] = (
    PrimaryDead,
    PrimaryCrashed,
    PrimaryHung,
    ReplicationStopped,
    PoolExhausted,
    CredentialsRefused,
    RecordsCredentialsRefused,
)


def kill_member(parts: Parts, member: str) -> None:
    """kill -9 of the postmaster and all its children; returns when supervisord has noticed.

    The postmaster first: it would take the death of a child for a crash and start new ones.
    """
    postmaster = _postmaster(parts, member)
    send(postmaster, signal.SIGKILL)
    children = [process for process in postgres_processes(parts.layout.data_dir(member)) if process != postmaster]
    left = end(children, signal.SIGKILL, 5.0) + wait_gone([postmaster], 5.0)
    if left:
        raise CodeblueError(f"{member}: process {left[0].pid} does not end", "see: ps -ef")
    parts.supervisor.wait_down(postgres_unit(member))


def _postmaster(parts: Parts, member: str) -> ProcessIdentity:
    pid = parts.supervisor.pid(postgres_unit(member))
    found = identity(pid) if pid else None
    if found is None:
        raise CodeblueError(f"{member} is not running", "bring it back with: codeblue lab heal")
    return found


def _wait_stopped(parts: Parts, member: str, seconds: float = 2.0) -> None:
    """A child that was born while signals were sent is stopped as well."""
    deadline = time.monotonic() + seconds
    while True:
        awake = [
            process
            for process in postgres_processes(parts.layout.data_dir(member))
            if (found := facts(process.pid)) and found.state not in "Tt" and is_running(process)
        ]
        if not awake:
            return
        if time.monotonic() >= deadline:
            raise CodeblueError(f"{member}: process {awake[0].pid} cannot be stopped", "see: ps -ef")
        for process in awake:
            send(process, signal.SIGSTOP)
        time.sleep(0.005)


def _with_standby_position(parts: Parts, injection: Injection, standby: str) -> Injection:
    """Add what the standby had when the fault struck: its last flushed position and its last sentinel.

    All that it received is replayed first, so the last sentinel is the last one that it can keep. A record of which
    it received only a part is never replayed; then nothing moves any more.
    """
    deadline = time.monotonic() + 5.0
    previous: Any = None
    unmoved = 0
    with parts.postgresql.connect(standby, DATABASE) as connection:
        while True:
            row = connection.execute(
                "select pg_last_wal_receive_lsn()::text, (select max(n) from codeblue_sentinel),"
                # A standby that received nothing since its start has no position of reception.
                " coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), true)"
            ).fetchone()
            # What a killed primary had sent may still be on its way through the kernel: wait until nothing moves.
            unmoved = unmoved + 1 if row == previous else 0
            if row is not None and unmoved >= (1 if row[2] else _UNMOVED_LOOKS):
                injection.facts.update({"standby": standby, "standby_flushed": row[0], "standby_last_sentinel": row[1]})
                return injection
            if time.monotonic() >= deadline:
                raise CodeblueError(f"{standby} does not replay what it received", "see its log")
            previous = row
            time.sleep(0.03)


def _wait_replication_refused(parts: Parts, primary: str, seconds: float = 3.0) -> None:
    """The postmaster reads its rules when it gets to it; a walreceiver must not slip in before."""
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(
                host="127.0.0.1",
                port=parts.postgresql.port(primary),
                user="replicator",
                password=read_secret(parts.layout.secret("replicator")),
                replication="database",
                dbname=DATABASE,
                connect_timeout=2,
            ):
                pass
        except psycopg.OperationalError as error:
            if "reject" in str(error):
                return
            raise CodeblueError(f"{primary} refuses for another reason: {error}", "see its log") from error
        if time.monotonic() >= deadline:
            raise CodeblueError(f"{primary} does not read its configuration", "see its log")
        time.sleep(0.02)


def _wait_receiver_gone(parts: Parts, standby: str, seconds: float = 5.0) -> None:
    """The walreceiver flushes what it has before it ends; from then on nothing new arrives."""
    deadline = time.monotonic() + seconds
    while parts.postgresql.status(standby).streams_from_peer:
        if time.monotonic() >= deadline:
            raise CodeblueError(f"{standby} still receives WAL", "see its log")
        time.sleep(0.02)


def _end_service_sessions_until_refused(parts: Parts, primary: str, seconds: float = 20.0) -> None:
    """Services recycle their connections every few seconds and then find no free slot; this does not wait for it.

    Each freed slot is a race between the services and the leaking client, so it is repeated until that holds all.
    """
    deadline = time.monotonic() + seconds
    while True:
        _wait_slots_refused(parts, deadline)
        # A slot that is reserved for superusers: the end of this session frees none for others.
        with parts.postgresql.connect(primary) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = any(%s)",
                (["records_app", "auth_app", "sentinel"],),
            ).rowcount
        if ended == 0:
            return


def _wait_slots_refused(parts: Parts, deadline: float) -> None:
    refused_in_a_row = 0
    while refused_in_a_row < 3:
        if time.monotonic() >= deadline:
            raise CodeblueError("the leaking client did not exhaust the server's connections", "see its log")
        time.sleep(0.03)
        refused_in_a_row = refused_in_a_row + 1 if _slot_is_refused(parts) else 0


def _slot_is_refused(parts: Parts) -> bool:
    """Whether the server has no slot for a client of the clinic."""
    import psycopg

    try:
        with psycopg.connect(
            host="127.0.0.1",
            port=parts.gateway.front_port(DATABASE_BACKEND),
            dbname=DATABASE,
            user="sentinel",
            password=read_secret(parts.layout.secret("sentinel")),
            connect_timeout=2,
        ):
            return False
    except psycopg.OperationalError as error:
        # Before a session exists psycopg knows no SQLSTATE, only the server's text ("lc_messages" is C).
        if "slots" in str(error) or "too many" in str(error):
            return True
        raise CodeblueError(f"the database refuses for another reason: {error}", "see its log") from error
