"""PostgreSQL members of the lab: their configuration, making a primary, making a standby, asking how they are."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.files import make_directory, write_text
from codeblue.lab.layout import DATABASE_MEMBERS, Layout, postgres_unit
from codeblue.lab.processes import MARKER
from codeblue.lab.secrets import read_secret
from codeblue.lab.state import LabState
from codeblue.lab.supervisor import Program
from codeblue.lab.sysv import remove_leftover_segment

if TYPE_CHECKING:
    import psycopg

DATABASE = "clinic"
PORT_NAMES = {member: f"postgres_{member}" for member in DATABASE_MEMBERS}

# Never overwrites a segment with another one's content: `ln` is atomic and fails when the name is taken.
_ARCHIVE_TOOL = """#!/bin/sh
# archive_wal SEGMENT NAME: keeps one finished WAL segment.
set -eu
archive='{archive}'
if [ -e "$archive/$2" ]; then
    cmp -s "$1" "$archive/$2"
    exit
fi
temporary="$archive/.$2.$$"
trap 'rm -f "$temporary"' EXIT
cp "$1" "$temporary"
sync "$temporary"
ln "$temporary" "$archive/$2"
sync "$archive"
"""

_RESTORE_TOOL = """#!/bin/sh
# restore_wal NAME TARGET: brings one segment back; a missing one is a normal answer.
set -eu
[ -e '{archive}'/"$1" ] && cp '{archive}'/"$1" "$2"
"""

# What both members share. What differs (port, directories) is on the command line, because a base backup or
# pg_rewind copies this file from one member to the other.
_CONFIGURATION = """\
listen_addresses = '127.0.0.1'
max_connections = 40
superuser_reserved_connections = 3
password_encryption = 'scram-sha-256'
shared_buffers = '32MB'
dynamic_shared_memory_type = 'mmap'     # in the data directory, so that a killed server leaves nothing in /dev/shm

fsync = on
wal_level = 'replica'
wal_log_hints = on
summarize_wal = on
max_wal_size = '256MB'
wal_keep_size = '64MB'
archive_mode = on
archive_command = '"{tools}/archive_wal" "%p" "%f"'
archive_timeout = '300s'
restore_command = '"{tools}/restore_wal" "%f" "%p"'

hot_standby = on
max_wal_senders = 8
max_replication_slots = 8
max_slot_wal_keep_size = '256MB'
wal_retrieve_retry_interval = '200ms'   # at its default, a promotion waits up to 5 s
wal_sender_timeout = '5s'
wal_receiver_timeout = '5s'

logging_collector = on
log_destination = 'jsonlog'
log_filename = 'postgresql-%H.log'      # a day in 24 files that are truncated before they are used again
log_rotation_age = '1h'
log_rotation_size = 0
log_truncate_on_rotation = on
log_file_mode = 0640
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'
"""

_HOST_BASED_AUTHENTICATION = """\
# type  database     user        address       method
local   all          all                       scram-sha-256
local   replication  replicator                scram-sha-256
host    replication  replicator  127.0.0.1/32  scram-sha-256
host    all          all         127.0.0.1/32  scram-sha-256
"""


@dataclass(frozen=True)
class MemberStatus:
    """What a member said of itself.

    :param role: `primary`, `standby` or `unreachable`.
    :param streams_from_peer: a standby that receives WAL right now.
    """

    role: str
    streams_from_peer: bool = False
    problem: str | None = None


def peer_of(member: str) -> str:
    return next(each for each in DATABASE_MEMBERS if each != member)


class PostgreSQL:
    """The two members of one lab."""

    def __init__(self, layout: Layout, state: LabState) -> None:
        self.layout = layout
        self.state = state
        if state.binaries is None:
            raise CodeblueError(f"{layout.state_file} names no programs", "clean up with: codeblue lab down")
        self.bin_dir = Path(state.binaries.postgresql_bin_dir)

    @property
    def owner(self) -> tuple[int, int] | None:
        """Numeric user and group of PostgreSQL's files; None when they are the caller's own."""
        if os.geteuid() != 0:
            return None
        user = pwd.getpwnam(self.state.os_user)
        return user.pw_uid, user.pw_gid

    def port(self, member: str) -> int:
        return self.state.ports[PORT_NAMES[member]]

    def program(self, member: str) -> Program:
        """A database server stays down after a crash: whether it may come back is a decision."""
        settings = {
            "port": str(self.port(member)),
            "cluster_name": member,
            "log_directory": str(self.layout.log_dir(member)),
            "unix_socket_directories": str(self.layout.postgresql_sockets),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name=postgres_unit(member),
            command=[str(self.bin_dir / "postgres"), "-D", str(self.layout.data_dir(member)), *options],
            directory=str(self.layout.machine(member)),
            log_file=str(self.layout.machine(member) / "postgres.stderr.log"),
            user=self.state.os_user if os.geteuid() == 0 else None,
            # With a time to prove itself, supervisord would start one that is killed early again.
            start_seconds=0,
            stop_signal="INT",
            environment={"TZ": "UTC"},
        )

    def prepare_machines(self) -> None:
        """Directories and tools that must be there before the first server."""
        for member in DATABASE_MEMBERS:
            make_directory(self.layout.machine(member), 0o755, self.owner)
            make_directory(self.layout.log_dir(member), 0o750, self.owner)
            make_directory(self.layout.snapshot_dir(member), 0o700, self.owner)
        make_directory(self.layout.archive, 0o750, self.owner)
        make_directory(self.layout.postgresql_sockets, 0o755, self.owner)
        make_directory(self.layout.tools, 0o755)
        for name, text in (("archive_wal", _ARCHIVE_TOOL), ("restore_wal", _RESTORE_TOOL)):
            write_text(self.layout.tools / name, text.format(archive=self.layout.archive), 0o755)

    def initialise(self, member: str) -> None:
        """Make an empty cluster with data checksums; it is flushed to disk once, by the server's own start."""
        write_text(self._initial_password_file(), read_secret(self.layout.secret("postgres")) + "\n", 0o600, self.owner)
        self.run_tool(
            "initdb",
            *(
                "--no-sync",
                "--data-checksums",
                "--wal-segsize=4",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ),
            *("--username=postgres", f"--pwfile={self._initial_password_file()}"),
            f"--pgdata={self.layout.data_dir(member)}",
        )
        self._initial_password_file().unlink()
        self.write_configuration(member)

    def write_configuration(self, member: str) -> None:
        """Write the lab's configuration, whatever was changed in it."""
        data_dir = self.layout.data_dir(member)
        text = _CONFIGURATION.format(tools=self.layout.tools)
        write_text(data_dir / "postgresql.conf", text, 0o600, self.owner)
        write_text(data_dir / "pg_hba.conf", _HOST_BASED_AUTHENTICATION, 0o600, self.owner)

    def make_primary_files(self, member: str) -> None:
        """Let a stopped server start as a primary, with none of the settings of its life as a standby."""
        data_dir = self.layout.data_dir(member)
        for name in ("standby.signal", "recovery.signal"):
            (data_dir / name).unlink(missing_ok=True)
        write_text(data_dir / "postgresql.auto.conf", "", 0o600, self.owner)

    def standby_settings(self, member: str) -> str:
        """The content of postgresql.auto.conf of a standby of its peer."""
        source = (
            f"host=127.0.0.1 port={self.port(peer_of(member))} user=replicator application_name={member} "
            f"passfile={self.layout.admin_passfile} connect_timeout=2 gssencmode=disable"
        )
        # At a promotion PostgreSQL 17 and 18 wait for the WAL summarizer, which may be asleep for 30 s; switched off
        # right before, the startup process can fail over it. So a standby makes no summaries at all.
        return f"primary_conninfo = '{source}'\nprimary_slot_name = '{slot_of(member)}'\nsummarize_wal = 'off'\n"

    def make_standby_files(self, member: str) -> None:
        """Let a stopped server start as the standby of its peer."""
        data_dir = self.layout.data_dir(member)
        write_text(data_dir / "postgresql.auto.conf", self.standby_settings(member), 0o600, self.owner)
        write_text(data_dir / "standby.signal", "", 0o600, self.owner)

    def copy_from_primary(self, member: str) -> None:
        """Make `member` anew from its running peer: pg_basebackup, then the files of a standby."""
        self.ensure_slot_for(member)
        self.remove_data(member)
        self.run_tool(
            "pg_basebackup",
            *("--checkpoint=fast", "--wal-method=stream", "--no-sync", f"--slot={slot_of(member)}"),
            f"--pgdata={self.layout.data_dir(member)}",
            f"--dbname=host=127.0.0.1 port={self.port(peer_of(member))} user=replicator",
        )
        self.make_standby_files(member)

    def copy_stopped(self, source: str, target: str) -> None:
        """Copy a cleanly stopped member's data directory to its stopped peer."""
        self.remove_data(target)
        shutil.copytree(self.layout.data_dir(source), self.layout.data_dir(target), symlinks=True)
        if self.owner is not None:
            for path in (self.layout.data_dir(target), *self.layout.data_dir(target).rglob("*")):
                os.chown(path, *self.owner, follow_symlinks=False)
        # Slots belong to a member, not to its data.
        slots = self.layout.data_dir(target) / "pg_replslot"
        for slot in slots.iterdir():
            shutil.rmtree(slot)

    def remove_data(self, member: str) -> None:
        """Remove a stopped member's data directory, and the shared memory that a killed server left behind."""
        data_dir = self.layout.data_dir(member)
        if data_dir.exists():
            remove_leftover_segment(data_dir)
            shutil.rmtree(data_dir)

    def ensure_slot_for(self, standby: str) -> None:
        with self.connect(peer_of(standby)) as connection:
            name = {"slot": slot_of(standby)}
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = %(slot)s and not active and wal_status = 'lost'",
                name,
            )
            connection.execute(
                "select pg_create_physical_replication_slot(%(slot)s, true)"
                " where not exists (select from pg_replication_slots where slot_name = %(slot)s)",
                name,
            )

    @contextmanager
    def connect(self, member: str, database: str = "postgres", seconds: int = 2) -> Iterator[psycopg.Connection]:
        """A superuser's session in autocommit, over the member's own address.

        :param seconds: for the connection and again for each statement.
        """
        connection = self._open_session(member, database, seconds)
        try:
            yield connection
        finally:
            connection.close()

    def _open_session(self, member: str, database: str, seconds: int) -> psycopg.Connection:
        """Sessions that are about to be refused hold slots for a moment, the superuser's reserved ones too."""
        import psycopg

        deadline = time.monotonic() + seconds
        while True:
            try:
                return psycopg.connect(
                    host="127.0.0.1",
                    port=self.port(member),
                    dbname=database,
                    user="postgres",
                    password=read_secret(self.layout.secret("postgres")),
                    connect_timeout=seconds,
                    application_name="codeblue-lab",
                    options=f"-c statement_timeout={max(seconds, 10) * 1000}",
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                if "too many clients already" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)

    def status(self, member: str) -> MemberStatus:
        import psycopg

        try:
            with self.connect(member) as connection:
                row = connection.execute(
                    "select pg_is_in_recovery(), exists (select from pg_stat_wal_receiver where status = 'streaming')"
                ).fetchone()
        except psycopg.Error as error:
            return MemberStatus("unreachable", problem=str(error).strip().splitlines()[0])
        if row is None:
            raise CodeblueError(f"{member}: no row where one must be", "see its log")
        return MemberStatus("standby" if row[0] else "primary", row[1])

    def wait_for_role(self, member: str, role: str, seconds: float = 10.0) -> None:
        """Wait until `member` answers in this role (a standby: and streams).

        :raises CodeblueError: it did not within `seconds`; names what it was instead.
        """
        deadline = time.monotonic() + seconds
        while True:
            status = self.status(member)
            if status.role == role and (role == "primary" or status.streams_from_peer):
                return
            if time.monotonic() >= deadline:
                raise CodeblueError(
                    f"{member} is {status.role} after {seconds:g} s instead of a {role}"
                    + (f": {status.problem}" if status.problem else ""),
                    f"see {self.layout.log_dir(member)}",
                )
            time.sleep(0.03)

    def wait_in_step(self, standby: str, seconds: float = 10.0) -> None:
        """Wait until the standby has flushed and replayed all that its primary has written by now."""
        deadline = time.monotonic() + seconds
        with self.connect(peer_of(standby)) as primary, self.connect(standby) as follower:
            target = primary.execute("select pg_current_wal_flush_lsn()").fetchone()
            while True:
                row = follower.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", target).fetchone()
                if row is not None and row[0]:
                    return
                if time.monotonic() >= deadline:
                    raise CodeblueError(f"{standby} is not in step after {seconds:g} s", "see its log")
                time.sleep(0.02)

    def run_tool(self, name: str, *arguments: str, seconds: float = 60.0) -> str:
        """Run one of PostgreSQL's programs as its user.

        :raises CodeblueError: it failed; carries the last line that it said.
        """
        user = pwd.getpwnam(self.state.os_user) if os.geteuid() == 0 else None
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PGPASSFILE": str(self.layout.admin_passfile),
            MARKER: str(self.layout.root),
        }
        try:
            finished = subprocess.run(
                [str(self.bin_dir / name), *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                cwd=self.layout.root,
                env=environment,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        except subprocess.TimeoutExpired as error:
            raise CodeblueError(f"{name} did not end within {seconds:g} s", "is the disk slow or full?") from error
        if finished.returncode != 0:
            raise CodeblueError(f"{name}: {_last_line(finished.stderr)}", f"it worked in {self.layout.root}")
        return finished.stdout

    def _initial_password_file(self) -> Path:
        """The superuser's password where PostgreSQL's user can read it; there while initdb runs."""
        return self.layout.machine("db1") / ".initial.password"


def slot_of(standby: str) -> str:
    return f"standby_{standby}"


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip() and "removing" not in line]
    errors = [line for line in lines if "error" in line.lower() or "could not" in line.lower()]
    return (errors or lines or ["failed without a word"])[-1].strip()
