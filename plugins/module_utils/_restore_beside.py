# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores a cluster to a point in time beside the real one, which goes on untouched.

The copy lives in a directory of its own and is reached through a private unix socket. It reads the archive and
never writes there, it knows no upstream, it listens at no address.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import (
    FIRST_VERSION_WITH_INCREMENTAL,
    account_of,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, SqlUnavailable
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import (
    HBA,
    RecoveryTarget,
    render_configuration,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_server import (
    BesidePlace,
    last_complaint,
    make_place,
    mark_ready,
    read_place,
    remove_place,
    running_server,
    start_server,
    stop_and_remove,
    stop_server,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    BackupRecord,
    backup_chain,
    data_directory,
    first_error,
    newest_before,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._verify_backup import verify_backup
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_archive import WalArchive

_SPARE_BYTES = 512 * 1024 * 1024  # beyond the files: log that replay leaves, and what it rewrites
_END_SECONDS = 3.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5.0  # psql's own wait for one answer of a server that has just opened its door


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, and where.

    :param login: tools, user of the operating system, role and database; its address is not used.
    :param destination: where the base backups are.
    :param backup_id: None takes the newest one from which the target can be reached.
    :param directory: for the copy; must not exist.
    :param archive_dir: the log archive; None restores the backup as it was when it ended.
    :param expected_digest: of the backup's record, as the catalog has it.
    :param settings: further settings of the copy.
    :param pass_fds: kept open by the tool that copies (the lock of the step).
    """

    login: Login
    destination: str
    directory: str
    target: RecoveryTarget
    backup_id: t.Optional[str] = None
    archive_dir: t.Optional[str] = None
    port: t.Optional[int] = None
    verify: bool = True
    expected_digest: t.Optional[str] = None
    settings: t.Mapping[str, str] = field(default_factory=dict)
    pass_fds: t.Tuple[int, ...] = ()


@dataclass(frozen=True)
class Beside:
    """A running copy.

    :param in_recovery: it is paused at its target and read-only; False once promoted.
    :param replayed_lsn: how far the log was replayed.
    :param last_transaction_at: commit time of the last replayed transaction, or None when there was none.
    :param seconds: by phase: verify, copy, recover.
    """

    place: BesidePlace
    login: Login
    in_recovery: bool
    timeline: int
    replayed_lsn: str
    last_transaction_at: t.Optional[str]
    seconds: t.Mapping[str, float]

    @property
    def port(self) -> int:
        """The number in the socket's name."""
        return self.place.port

    @property
    def data_dir(self) -> str:
        """The data directory of the copy."""
        return self.place.data_dir

    def stop(self) -> None:
        """Stop the copy and remove it from disk."""
        stop_server(self.place)
        remove_place(self.place)

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "directory": self.place.directory,
            "data_dir": self.place.data_dir,
            "socket_dir": self.place.socket_dir,
            "port": self.place.port,
            "backups": list(self.place.backups),
            "in_recovery": self.in_recovery,
            "timeline": self.timeline,
            "replayed_lsn": self.replayed_lsn,
            "last_transaction_at": self.last_transaction_at,
            "seconds": dict(self.seconds),
        }


def plan_restore(request: RestoreRequest) -> t.List[BackupRecord]:
    """The backups that would be used, the full one first; changes nothing.

    :raises BadInput: the target cannot be reached from any backup.
    """
    target = request.target
    backup_id = request.backup_id
    if backup_id is None:
        lsn = str(target.value) if target.kind == "lsn" else ""
        backup_id = newest_before(request.destination, target.utc, lsn).backup_id
    chain = backup_chain(request.destination, backup_id)
    newest = chain[-1]
    if target.kind == "time" and target.utc < newest.finished_at:
        raise BadInput(
            "the target %s lies before the end of backup %s (%s)" % (target.utc, backup_id, newest.finished_at),
            "choose an earlier backup, or leave backup_id out",
        )
    if target.kind not in ("latest", "immediate") and request.archive_dir is None:
        raise BadInput("a target %s needs the log archive" % target.kind, "give archive_dir")
    return chain


def restore_beside(request: RestoreRequest, deadline: Deadline) -> Beside:
    """Restore, start, and wait until the target is reached. When it fails, nothing stays behind.

    :raises BadInput: the target, the directory or a setting cannot be used.
    :raises CodeblueError: the backup is damaged (nothing was touched), or the target was not reached.
    """
    chain = plan_restore(request)
    seconds: t.Dict[str, float] = {}
    started = deadline.elapsed()
    if request.verify:
        verify_backup(
            request.login, request.destination, chain[-1].backup_id, deadline, request.expected_digest
        ).raise_if_damaged()
    seconds["verify"] = round(deadline.elapsed() - started, 3)
    _check_space(request, chain)
    backups = [record.backup_id for record in chain]
    place = make_place(request.directory, backups, request.port, request.login.os_user, request.target.as_dict())
    try:
        started = deadline.elapsed()
        _copy(request, chain, place, deadline)
        _configure(request, place, deadline)
        seconds["copy"] = round(deadline.elapsed() - started, 3)
        started = deadline.elapsed()
        state = recover(request, place, deadline)
        seconds["recover"] = round(deadline.elapsed() - started, 3)
    except BaseException:
        stop_server(place)
        remove_place(place)
        raise
    return describe(mark_ready(place), request.login, state, seconds)


def running_copy(request: RestoreRequest, deadline: Deadline) -> t.Optional[Beside]:
    """The copy that lives in the directory already, when it is the one that is asked for.

    What a restore that was cut off left there does not count; `discard_unfinished` removes it.

    :raises BadInput: there is a copy of something else, or no copy at all but other files.
    """
    place = read_place(request.directory)
    if place is None or not place.ready or running_server(place) is None:
        return None
    if place.target != request.target.as_dict() or request.backup_id not in (None, place.backups[-1]):
        raise BadInput(
            "%s holds a copy of another backup or target" % request.directory, "remove it first: state=absent"
        )
    return describe(place, request.login, _look(place.login(request.login), deadline), {})


def discard_unfinished(directory: str) -> bool:
    """Remove what a restore that was cut off, or a machine that went down, left in the directory.

    :return: False when there is nothing of the kind.
    :raises BadInput: there are other files.
    """
    place = read_place(directory)
    if place is None or (place.ready and running_server(place) is not None):
        return False
    return stop_beside(directory)


def ask_copy(beside: Beside, queries: t.Mapping[str, str], deadline: Deadline) -> t.Dict[str, str]:
    """Answers of the copy, such as counts of sentinels; rows in lines, columns divided by `|`.

    :raises CodeblueError: a query fails, or would write.
    """
    answers = {}
    with PsqlSession(beside.login, deadline) as session:
        session.execute("SET default_transaction_read_only = on")
        for name, query in queries.items():
            answers[name] = session.query(query).rstrip("\n")
    return answers


def stop_beside(directory: str) -> bool:
    """Stop and remove the copy that lives in a directory.

    :return: False when there is none.
    :raises BadInput: the directory holds something else; it was not touched.
    """
    place = read_place(directory)
    if place is None:
        return False
    stop_and_remove(place)
    return True


def describe(place: BesidePlace, login: Login, state: t.Mapping[str, t.Any], seconds: t.Mapping[str, float]) -> Beside:
    """A copy from what it said of itself."""
    return Beside(
        place=place,
        login=place.login(login),
        in_recovery=state["in_recovery"],
        timeline=state["timeline"],
        replayed_lsn=state["replayed_lsn"],
        last_transaction_at=state["last_transaction_at"],
        seconds=seconds,
    )


def _check_space(request: RestoreRequest, chain: t.Sequence[BackupRecord]) -> None:
    above = os.path.dirname(request.directory)
    try:
        free = shutil.disk_usage(above).free
    except OSError as error:
        raise BadInput("%s cannot be used: %s" % (above, error.strerror), "make it first") from error
    # An incremental backup cannot tell the size of the whole; the sum over the chain is enough for sure.
    needed = sum(record.bytes for record in chain) + _SPARE_BYTES
    if free < needed:
        raise CodeblueError(
            "%s has %d MB free, the copy needs %d MB" % (above, free >> 20, needed >> 20),
            "free space there or name another directory; nothing was touched",
        )


def _copy(request: RestoreRequest, chain: t.Sequence[BackupRecord], place: BesidePlace, deadline: Deadline) -> None:
    login, newest = request.login, chain[-1]
    sources = [data_directory(request.destination, record.backup_id) for record in chain]
    if newest.server_version >= FIRST_VERSION_WITH_INCREMENTAL:
        # A copy is thrown away: it need not survive a crash of the machine.
        arguments = [login.tool("pg_combinebackup"), "--no-sync", *sources, "--output=" + place.data_dir]
        for oid, location in sorted(newest.tablespaces.items()):
            copy = os.path.join(place.directory, "tablespaces", oid)
            arguments.append("--tablespace-mapping=%s=%s" % (_escape_mapping(location), _escape_mapping(copy)))
    elif newest.tablespaces:
        raise BadInput(
            "backup %s has tablespaces, which only the tools of 17 and newer can move" % newest.backup_id,
            "restore it by hand: see the manual, 25.3",
        )
    else:
        arguments = ["cp", "-a", "--reflink=auto", "--", sources[0], place.data_dir]
    answer = run_command(arguments, deadline, user=login.os_user, keep="tail", pass_fds=request.pass_fds)
    if not answer.ok:
        raise CodeblueError("the backup cannot be copied beside: %s" % first_error(answer))


def _configure(request: RestoreRequest, place: BesidePlace, deadline: Deadline) -> None:
    owner = account_of(request.login.os_user)
    answer = run_command(
        [request.login.tool("pg_controldata"), "-D", place.data_dir], deadline, user=request.login.os_user
    )
    if not answer.ok:
        raise CodeblueError("%s: %s" % (place.data_dir, answer.complaint()))
    control = {
        name.strip(): value.strip()
        for name, _colon, value in (line.partition(":") for line in answer.stdout.splitlines())
    }
    hba, ident = os.path.join(place.directory, "pg_hba.conf"), os.path.join(place.directory, "pg_ident.conf")
    restore_command = "/bin/false"
    if request.archive_dir is not None:
        segment_bytes = int(control.get("Bytes per WAL segment", "0")) or 16 * 1024 * 1024
        restore_command = WalArchive(request.archive_dir, segment_bytes).restore_command()
    where = {
        "port": str(place.port),
        "unix_socket_directories": place.socket_dir,
        "hba_file": hba,
        "ident_file": ident,
    }
    text = render_configuration(request.target, control, restore_command, where, request.settings)
    write_file(hba, HBA.encode(), 0o600, owner)
    write_file(ident, b"", 0o600, owner)
    write_file(place.config_file, text.encode(), 0o600, owner)
    # ALTER SYSTEM of the production would win over the file above.
    automatic = os.path.join(place.data_dir, "postgresql.auto.conf")
    if os.path.exists(automatic):
        os.replace(automatic, os.path.join(place.directory, "postgresql.auto.conf.production"))
    write_file(automatic, b"", 0o600, owner)
    for name in ("standby.signal", "postmaster.pid"):
        if os.path.lexists(os.path.join(place.data_dir, name)):
            os.unlink(os.path.join(place.data_dir, name))
    write_file(os.path.join(place.data_dir, "recovery.signal"), b"", 0o600, owner)


def recover(request: RestoreRequest, place: BesidePlace, deadline: Deadline) -> t.Dict[str, t.Any]:
    """Start the copy and wait for the target; what it says of itself then."""
    process = start_server(place, request.login)
    login = place.login(request.login)
    # A target that pauses is reached when replay is paused; without one, recovery ends by itself.
    promoted = request.target.kind == "latest" or request.target.action == "promote"
    state: t.Dict[str, t.Any] = {}

    def reached() -> bool:
        if process.poll() is not None:
            raise CodeblueError(
                "the restored copy ended before its target: %s" % last_complaint(place), _recovery_hint(place)
            )
        try:
            state.update(_look(login, deadline))
        except SqlUnavailable as error:
            if error.kind not in ("refused", "starting_up", "shutting_down", "closed", "timeout"):
                _require_end(process, error)
            return False
        return not state["in_recovery"] if promoted else (state["paused"] or not state["in_recovery"])

    try:
        if not deadline.wait_until(reached, _POLL_SECONDS):
            far = " (replayed to %s)" % state["replayed_lsn"] if state else ""
            raise CodeblueError(
                "the restored copy did not reach its target within %.0f s%s" % (deadline.elapsed(), far),
                "give it more time; the server's last word: %s" % last_complaint(place),
            )
    except BaseException:
        stop_server(place)
        if process.poll() is None:
            # It had not come as far as its pid file, so it has no data open either.
            process.kill()
            process.wait()
        raise
    return state


def _require_end(process: "subprocess.Popen[bytes]", error: SqlUnavailable) -> None:
    """A session that is open while the server ends abnormally is told of that, and not of the reason.

    :raises SqlUnavailable: the server goes on, so that it meant what it said.
    """
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise error from None


def _look(login: Login, deadline: Deadline) -> t.Dict[str, t.Any]:
    with PsqlSession(login, deadline.within(_ANSWER_SECONDS)) as session:
        return session.row(
            "SELECT pg_is_in_recovery() AS in_recovery,"
            " CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,"
            " (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,"
            " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
            "   AS replayed_lsn,"
            " to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            "   AS last_transaction_at"
        )


def _recovery_hint(place: BesidePlace) -> str:
    if "recovery ended before configured recovery target" in last_complaint(place):
        return "the archived log does not reach that far or is damaged there; choose an earlier target"
    return "choose another target or backup; the production was not touched"


def _escape_mapping(path: str) -> str:
    return path.replace("\\", "\\\\").replace("=", "\\=")


def beside_state(directory: str) -> t.Dict[str, t.Any]:
    """Whether a copy lives in the directory and runs; for results.

    :raises BadInput: the directory holds something else.
    """
    place = read_place(directory)
    if place is None:
        return {"present": False, "running": False}
    running = running_server(place) is not None
    return {"present": True, "running": running, "ready": place.ready, "backups": list(place.backups)}
