# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a former primary, or a standby that fell behind, a standby of the new primary."""

from __future__ import annotations

import os
import shutil
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import (
    postgresql_tool,
    read_control_data,
    read_setting,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import (
    Upstream,
    conninfo,
    follow,
    own_config,
    owner_of_server,
    place_standby_signal,
    restore_config,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login, Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import (
    read_postmaster_file,
    server_processes,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_promote import ensure_slots
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, SqlUnavailable
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_start import start_and_wait
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import read_process
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import ProcessUnit

State = t.Dict[str, t.Any]

REWIND, COPY, NONE = "rewind", "copy", "none"

# A full copy needs room for the cluster and for the log that is written meanwhile.
_ROOM_FACTOR = 1.1


class RewindImpossible(CodeblueError):
    """pg_rewind cannot do it; a full copy can."""


@dataclass(frozen=True)
class Rejoin:
    """One rejoin.

    :param source: administrative login at the new primary.
    :param pass_fds: the lock of the step, held by the long tools as well.
    """

    member: Member
    unit: ProcessUnit
    source: Login
    upstream: Upstream
    pass_fds: t.Tuple[int, ...] = ()


def look_at_follower(member: Member, upstream: Upstream, deadline: Deadline) -> State:
    """Whether the member streams from that primary already."""
    state: State = {"running": bool(server_processes(member.data_dir)), "in_recovery": None, "streaming_from": None}
    if not state["running"]:
        return state
    try:
        with PsqlSession(member.login, deadline.within(3.0)) as sql:
            state["in_recovery"] = sql.flag("pg_is_in_recovery()")
            receivers = sql.rows("SELECT status, sender_host, sender_port FROM pg_stat_wal_receiver")
    except SqlUnavailable as error:
        state["sql"] = error.kind
        return state
    if receivers and receivers[0]["status"] == "streaming":
        state["streaming_from"] = "%(sender_host)s:%(sender_port)d" % receivers[0]
    return state


def follows(state: State, upstream: Upstream) -> bool:
    """The member is where it should be."""
    return bool(state["in_recovery"] and state["streaming_from"] == "%s:%d" % (upstream.address, upstream.port))


def prepare_source(job: Rejoin, deadline: Deadline) -> State:
    """Check the new primary, make the slot, and have its control file name the new timeline.

    :returns: system_identifier, timeline and size in bytes.
    :raises Refused: it is no primary.
    """
    with PsqlSession(job.source, deadline) as sql:
        if sql.flag("pg_is_in_recovery()"):
            raise Refused(
                "the server at %s:%d is a standby itself" % (job.upstream.address, job.upstream.port),
                "promote it first, or name the primary",
            )
        ensure_slots(sql, [job.upstream.slot])
        # pg_rewind reads the timeline from the source's control file, which a fresh promotion has not written yet.
        sql.execute("CHECKPOINT")
        return sql.row(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,"
            " (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,"
            " (SELECT sum(pg_database_size(oid))::bigint FROM pg_database) AS bytes"
        )


def require_stopped(member: Member, deadline: Deadline) -> None:
    """No process works on the data directory, and a stale postmaster.pid is out of the way.

    :raises Refused: the server runs.
    :raises CodeblueError: the dead postmaster is not reaped by its parent.
    """
    running = server_processes(member.data_dir)
    if running:
        raise Refused(
            "%s is in use by process %d" % (member.data_dir, running[0].pid), "fence the member with postgresql_fence"
        )
    named = read_postmaster_file(member.data_dir)
    if named is None:
        return
    # PostgreSQL refuses a directory whose pid file names a living process, and a zombie counts as one. The number
    # may also belong to a stranger by now; no server works here, so the file says nothing any more.
    entry = read_process(named.pid)
    if entry is not None and entry.state == "Z" and not deadline.within(5.0).wait_until(lambda: entry.gone_for_good):
        raise CodeblueError(
            "the dead postmaster %d was not reaped by its parent %d" % (named.pid, entry.ppid), "restart that parent"
        )
    os.unlink(member.path("postmaster.pid"))


def rewind(job: Rejoin, source: State, deadline: Deadline) -> None:
    """Bring the stopped member back to the point where its history parted from the new primary's.

    :raises RewindImpossible: it cannot be done this way; the data directory may be spoilt.
    """
    member = job.member
    try:
        control = read_control_data(member, deadline)
    except CodeblueError as error:
        raise RewindImpossible(error.message) from error
    if control.system_identifier != source["system_identifier"]:
        raise Refused(
            "%s belongs to cluster %s, the primary to %s"
            % (member.data_dir, control.system_identifier, source["system_identifier"]),
            "check the data directory of the member",
        )
    if not (control.data_checksums or control.wal_log_hints):
        raise RewindImpossible("the cluster has neither data checksums nor wal_log_hints")
    kept = own_config(member)
    try:
        if not control.clean:
            _finish_crash_recovery(job, deadline)
        _run_pg_rewind(job, deadline)
    finally:
        # Whatever happened, the directory must not start as a primary, nor with the other one's configuration.
        restore_config(member, kept)
        place_standby_signal(member)


def _finish_crash_recovery(job: Rejoin, deadline: Deadline) -> None:
    """Replay the member's own log to its end and shut down.

    pg_rewind could do that by itself; it would stumble over standby.signal, which a standalone server refuses.
    """
    member = job.member
    signal_path = member.path("standby.signal")
    if os.path.exists(signal_path):
        os.unlink(signal_path)
    arguments = ["--single", "-F", "-D", member.data_dir]
    if member.config_file:
        arguments += ["-c", "config_file=" + member.config_file]
    arguments.append("template1")
    answer = postgresql_tool(member, "postgres", *arguments, deadline=deadline, stdin="", pass_fds=job.pass_fds)
    place_standby_signal(member)
    if not answer.ok:
        raise RewindImpossible("the member's own log cannot be replayed: " + answer.complaint())


def _run_pg_rewind(job: Rejoin, deadline: Deadline) -> None:
    member, source = job.member, job.source
    arguments = [
        "--target-pgdata=" + member.data_dir,
        "--source-server="
        + conninfo(host=source.host, port=str(source.port), user=source.user, dbname=source.database),
        "--no-ensure-shutdown",
    ]
    if member.config_file:
        arguments.append("--config-file=" + member.config_file)
    if read_setting(member, "restore_command", deadline.within(10.0)):
        # The log since the histories parted may be in the archive only.
        arguments.append("--restore-target-wal")
    answer = postgresql_tool(
        member, "pg_rewind", *arguments, deadline=deadline, environment=source.environment(), pass_fds=job.pass_fds
    )
    if not answer.ok:
        raise RewindImpossible(answer.complaint())


def copy(job: Rejoin, source: State, aside: str, deadline: Deadline) -> str:
    """Take a full copy of the new primary; the old directory is kept under another name.

    :param aside: tells the new directories' names apart from those of other runs.
    :returns: where the old data directory is now.
    :raises CodeblueError: there is no room, or the copy failed; the old directory is then still in place.
    """
    member = job.member
    if os.path.isdir(member.path("pg_tblspc")) and os.listdir(member.path("pg_tblspc")):
        raise CodeblueError(
            "%s has tablespaces, which a copy on the same machine would collide with" % member.data_dir,
            "rebuild this member by hand with pg_basebackup --tablespace-mapping",
        )
    fresh = "%s.new-%s" % (member.data_dir, aside)
    old = "%s.before-%s" % (member.data_dir, aside)
    _require_room(member, int(source["bytes"]))
    kept = own_config(member) if os.path.isdir(member.data_dir) else {}
    _make_fresh_directory(member, fresh)
    answer = postgresql_tool(
        member,
        "pg_basebackup",
        *("--pgdata=" + fresh, "--wal-method=stream", "--checkpoint=fast", "--no-password"),
        *("--slot=" + job.upstream.slot, "--dbname=" + job.upstream.conninfo()),
        deadline=deadline,
        environment={"PGCONNECT_TIMEOUT": "5"},
        pass_fds=job.pass_fds,
    )
    if not answer.ok:
        shutil.rmtree(fresh)
        raise CodeblueError("the copy from the new primary failed: " + answer.complaint(), "look at its server log")
    if os.path.lexists(member.data_dir):
        os.rename(member.data_dir, old)
    os.rename(fresh, member.data_dir)
    sync_directory(os.path.dirname(member.data_dir))
    restore_config(member, kept)
    place_standby_signal(member)
    return old


def _require_room(member: Member, needed: int) -> None:
    disk = os.statvfs(os.path.dirname(member.data_dir))
    free = disk.f_bavail * disk.f_frsize
    if free < needed * _ROOM_FACTOR:
        raise CodeblueError(
            "%s has %d MB free, a copy needs %d MB" % (os.path.dirname(member.data_dir), free >> 20, needed >> 20),
            "make room; the old data directory is kept until a person removes it",
        )


def _make_fresh_directory(member: Member, path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)  # left by an attempt of this very step that was cut off
    os.mkdir(path, 0o700)
    owner = owner_of_server(member)
    if owner is not None:
        os.chown(path, *owner)


def start_following(job: Rejoin, deadline: Deadline) -> State:
    """Start the member and wait until it streams from the new primary on its timeline.

    :raises CodeblueError: it does not get there in time.
    """
    follow(job.member, job.upstream)
    start_and_wait(job.member, job.unit, deadline)
    seen: t.List[State] = []

    def streaming() -> bool:
        seen.append(look_at_follower(job.member, job.upstream, deadline))
        return follows(seen[-1], job.upstream)

    if not deadline.wait_until(streaming, 0.05):
        raise CodeblueError(
            "the member runs and does not stream from %s:%d" % (job.upstream.address, job.upstream.port),
            "look at its log; the replication login or a missing part of the log are the usual reasons",
        )
    return seen[-1]
