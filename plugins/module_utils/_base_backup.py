# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes base backups of a running PostgreSQL: full, or incremental on top of an earlier one (version 17 on)."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import pwd
import shutil
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    FULL,
    INCOMPLETE_NAME,
    INCREMENTAL,
    RECORD_NAME,
    BackupRecord,
    backup_chain,
    backup_directory,
    first_error,
    list_backups,
    sha256_of,
    unlisted_files,
    write_record,
)

AUTO = "auto"

# pg_basebackup --incremental and pg_combinebackup came with 17, the manifest with 13.
FIRST_VERSION_WITH_INCREMENTAL = 170000
_FIRST_VERSION_WITH_MANIFEST = 130000
# Every incremental backup makes a restore slower and one more thing that must be whole.
DEFAULT_LONGEST_CHAIN = 24
_LOCK_NAME = ".lock"
_LOCK_WAIT_SECONDS = 5.0


class _SummariesMissing(CodeblueError):
    """The server cannot tell what changed since the backup to build upon."""


@dataclass(frozen=True)
class BackupRequest:
    """What to back up, and where to.

    :param login: of a role that may run SQL on the server.
    :param destination: directory on this machine; made for the operating system user alone when it is missing.
    :param kind: `full`, `incremental`, or `auto`: incremental where the server and an earlier backup allow it.
    :param parent: the backup to build upon; None takes the newest of the same cluster.
    :param replication_user: the role that pg_basebackup logs in as; None takes that of `login`.
    :param max_rate: kilobytes per second that the server may send; None for no limit.
    :param verify_checksums: fail on a damaged page; False keeps a damaged state as it is, for evidence.
    """

    login: Login
    destination: str
    backup_id: str
    kind: str = AUTO
    parent: t.Optional[str] = None
    replication_user: t.Optional[str] = None
    max_rate: t.Optional[int] = None
    verify_checksums: bool = True
    longest_chain: int = DEFAULT_LONGEST_CHAIN


@dataclass(frozen=True)
class BackupPlan:
    """What would be done, and why it is not incremental when it is not.

    :param tablespaces: location on the server by object identifier.
    """

    kind: str
    parent: t.Optional[BackupRecord]
    reason: str
    server_version: int
    system_identifier: str
    segment_bytes: int
    tablespaces: t.Mapping[str, str]


def plan_backup(request: BackupRequest, deadline: Deadline) -> BackupPlan:
    """Look at the server and the earlier backups; changes nothing.

    :raises BadInput: an incremental backup was asked for and is not possible.
    :raises SqlUnavailable: the server gives no session.
    """
    with PsqlSession(request.login, deadline) as session:
        server = session.row(
            "SELECT current_setting('server_version_num')::int AS version,"
            " current_setting('summarize_wal', true) AS summarize_wal,"
            " (SELECT bytes_per_wal_segment FROM pg_control_init()) AS segment_bytes,"
            " (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier"
        )
        tablespaces = {
            str(row["oid"]): row["location"]
            for row in session.rows(
                "SELECT oid, pg_tablespace_location(oid) AS location FROM pg_tablespace"
                " WHERE pg_tablespace_location(oid) <> ''"
            )
        }
    if server["version"] < _FIRST_VERSION_WITH_MANIFEST:
        raise BadInput("PostgreSQL %d is too old" % (server["version"] // 10000), "base backups need 13 or newer")
    parent, reason = None, "a full backup was asked for"
    if request.kind != FULL:
        parent, reason = _find_parent(request, server)
        if parent is None and request.kind == INCREMENTAL:
            raise BadInput("an incremental backup is not possible: %s" % reason, "take a full one: kind=full")
    return BackupPlan(
        kind=INCREMENTAL if parent else FULL,
        parent=parent,
        reason=reason,
        server_version=server["version"],
        system_identifier=server["system_identifier"],
        segment_bytes=server["segment_bytes"],
        tablespaces=tablespaces,
    )


def base_backup(
    request: BackupRequest, plan: BackupPlan, deadline: Deadline, pass_fds: t.Sequence[int] = ()
) -> BackupRecord:
    """Take the backup. When it fails, nothing of it stays behind.

    :param pass_fds: descriptors that pg_basebackup keeps open (the lock of the step).
    :raises CodeblueError: pg_basebackup failed or the deadline is over.
    :raises Refused: another backup into the same destination is under way.
    """
    owner = account_of(request.login.os_user)
    make_private_directory(request.destination, owner)
    with destination_lock(request.destination, owner) as lock:
        remove_incomplete(request.destination)
        directory = backup_directory(request.destination, request.backup_id)
        if os.path.lexists(directory):
            raise BadInput("%s exists already" % directory, "give every backup an identifier of its own")
        make_private_directory(directory, owner)
        write_file(os.path.join(directory, INCOMPLETE_NAME), b"", 0o600, owner)
        try:
            try:
                record = _take(request, plan, directory, owner, deadline, (*pass_fds, lock))
            except _SummariesMissing as error:
                if request.kind != AUTO:
                    raise
                # Only pg_basebackup itself finds out, such as after a promotion or a long pause.
                _empty(directory, keep=INCOMPLETE_NAME)
                full = replace(plan, kind=FULL, parent=None, reason=error.message)
                record = _take(request, full, directory, owner, deadline, (*pass_fds, lock))
        except BaseException:
            shutil.rmtree(directory)
            raise
        os.unlink(os.path.join(directory, INCOMPLETE_NAME))
        sync_directory(directory)
        sync_directory(request.destination)
    return record


def _find_parent(request: BackupRequest, server: t.Mapping[str, t.Any]) -> t.Tuple[t.Optional[BackupRecord], str]:
    """The backup to build upon, or why there is none."""
    if server["version"] < FIRST_VERSION_WITH_INCREMENTAL:
        return None, "PostgreSQL %d has no incremental backups, 17 does" % (server["version"] // 10000)
    if server["summarize_wal"] != "on":
        return None, "summarize_wal is off on the server"
    if request.parent is not None:
        parent = backup_chain(request.destination, request.parent)[-1]
    else:
        same = [
            record
            for record in list_backups(request.destination)
            if record.system_identifier == server["system_identifier"]
        ]
        if not same:
            return None, "there is no earlier backup of this cluster in %s" % request.destination
        parent = same[-1]
    if parent.system_identifier != server["system_identifier"]:
        return None, "backup %s is of another cluster" % parent.backup_id
    length = len(backup_chain(request.destination, parent.backup_id))
    if length >= request.longest_chain:
        return None, "the chain behind %s has %d backups already" % (parent.backup_id, length)
    return parent, "built upon %s" % parent.backup_id


def _take(
    request: BackupRequest,
    plan: BackupPlan,
    directory: str,
    owner: t.Tuple[int, int],
    deadline: Deadline,
    pass_fds: t.Sequence[int],
) -> BackupRecord:
    data_dir = os.path.join(directory, "data")
    started_at, started = _now(), deadline.elapsed()
    login = request.login
    arguments = [
        login.tool("pg_basebackup"),
        *("--pgdata", data_dir),
        "--format=plain",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--no-password",
        "--label=codeblue %s" % request.backup_id,
    ]
    if not request.verify_checksums:
        arguments.append("--no-verify-checksums")
    if request.max_rate is not None:
        arguments.append("--max-rate=%d" % request.max_rate)
    if plan.parent is not None:
        parent_dir = backup_directory(request.destination, plan.parent.backup_id)
        arguments.append("--incremental=" + os.path.join(parent_dir, "data", "backup_manifest"))
    for oid, location in sorted(plan.tablespaces.items()):
        copy = os.path.join(directory, "tablespaces", oid)
        make_private_directory(os.path.dirname(copy), owner)
        arguments.append("--tablespace-mapping=%s=%s" % (_escape_mapping(location), _escape_mapping(copy)))
    environment = replace(login, user=request.replication_user or login.user).environment()
    answer = run_command(
        arguments, deadline, user=login.os_user, environment=environment, keep="tail", pass_fds=pass_fds
    )
    if not answer.ok:
        failure = _SummariesMissing if plan.parent is not None and "summar" in answer.stderr else CodeblueError
        raise failure(
            "the base backup of %s:%d failed: %s" % (login.host, login.port, first_error(answer)), _hint(answer.stderr)
        )
    seconds = deadline.elapsed() - started
    record = _describe(request, plan, directory, started_at, seconds)
    write_record(request.destination, record, owner)
    return record


def _describe(
    request: BackupRequest, plan: BackupPlan, directory: str, started_at: str, seconds: float
) -> BackupRecord:
    data_dir = os.path.join(directory, "data")
    with open(os.path.join(data_dir, "backup_manifest"), "rb") as stream:
        manifest = json.load(stream)
    ranges = manifest["WAL-Ranges"]
    extra = {path: sha256_of(os.path.join(data_dir, path)) for path in unlisted_files(data_dir)}
    listed = sum(entry["Size"] for entry in manifest["Files"])
    return BackupRecord(
        backup_id=request.backup_id,
        kind=plan.kind,
        parent=plan.parent.backup_id if plan.parent else None,
        system_identifier=plan.system_identifier,
        server_version=plan.server_version,
        timeline=ranges[-1]["Timeline"],
        start_lsn=ranges[0]["Start-LSN"],
        end_lsn=ranges[-1]["End-LSN"],
        started_at=started_at,
        finished_at=_now(),
        seconds=round(seconds, 3),
        files=len(manifest["Files"]) + len(extra),
        bytes=listed + sum(os.path.getsize(os.path.join(data_dir, path)) for path in extra),
        segment_bytes=plan.segment_bytes,
        tablespaces={oid: os.path.join(directory, "tablespaces", oid) for oid in plan.tablespaces},
        unlisted=extra,
    )


def make_private_directory(path: str, owner: t.Tuple[int, int]) -> None:
    """A directory for one user alone; an existing one stays as it is.

    :raises CodeblueError: its parent is missing or not writable.
    """
    if os.path.isdir(path):
        return
    try:
        os.mkdir(path, 0o700)
        if owner != (os.geteuid(), os.getegid()):
            os.chown(path, owner[0], owner[1])
    except OSError as error:
        raise CodeblueError(
            "%s cannot be made: %s" % (path, error.strerror), "make the directory above it first"
        ) from error


def account_of(os_user: t.Optional[str]) -> t.Tuple[int, int]:
    """User and group id that the files of the tools belong to.

    :raises BadInput: there is no such user.
    """
    if os_user is None or os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        account = pwd.getpwnam(os_user)
    except KeyError:
        raise BadInput("os_user: there is no user %r on this machine" % os_user) from None
    return account.pw_uid, account.pw_gid


@contextlib.contextmanager
def destination_lock(destination: str, owner: t.Tuple[int, int]) -> t.Iterator[int]:
    """Held by whoever adds backups to a directory or removes them.

    :raises Refused: somebody else does so, and did not end within some seconds.
    """
    path = os.path.join(destination, _LOCK_NAME)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.geteuid() == 0:
            os.fchown(lock, owner[0], owner[1])

        def taken() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not Deadline(_LOCK_WAIT_SECONDS).wait_until(taken, 0.1):
            raise Refused("another backup into %s is under way" % destination, "wait until it is done")
        yield lock
    finally:
        os.close(lock)


def remove_incomplete(destination: str) -> None:
    """What a killed backup or removal left behind. The lock must be held, so that nobody is writing there."""
    for name in os.listdir(destination):
        directory = os.path.join(destination, name)
        if os.path.lexists(os.path.join(directory, RECORD_NAME)):
            continue
        if os.path.lexists(os.path.join(directory, INCOMPLETE_NAME)):
            shutil.rmtree(directory)


def _empty(directory: str, keep: str) -> None:
    for name in os.listdir(directory):
        if name != keep:
            shutil.rmtree(os.path.join(directory, name))


def _escape_mapping(path: str) -> str:
    return path.replace("\\", "\\\\").replace("=", "\\=")


def _hint(stderr: str) -> t.Optional[str]:
    if "No space left on device" in stderr:
        return "free space at the destination"
    if "summar" in stderr:
        return "see summarize_wal and wal_summary_keep_time; a full backup works: kind=full"
    if "no pg_hba.conf entry for replication" in stderr or "must be superuser or replication role" in stderr:
        return "allow the replication role in pg_hba.conf"
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
