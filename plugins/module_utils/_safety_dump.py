# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An emergency copy of a database, or of some of its tables, right before its schema is changed back.

It has to be had within seconds, so that how much is copied follows from how much there is: the whole database where
that is small, else the tables that are about to change, else the schema alone. A named restore point in the log costs
nothing and is set in any case; with the archive and a base backup it leads back to this very moment.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import account_of, make_private_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, literal
from ansible_collections.codeblue.recovery.plugins.module_utils._release import file_digest
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

#: What a copy holds.
DATABASE, TABLES, SCHEMA = "database", "tables", "schema"
_SUFFIX = ".dump"
_PART = ".part"
_LOCK_WAIT_MS = 2000


@dataclass(frozen=True)
class DumpRequest:
    """What to copy, and where to.

    :param destination: a directory on this machine, made for the database's user alone when it is missing.
    :param name: of the copy and of the restore point.
    :param tables: that are about to change; None when nobody knows, empty when no rows are touched.
    :param most_bytes: data beyond this are not copied.
    :param keep: so many copies stay, the newest ones.
    """

    login: Login
    destination: str
    name: str
    tables: t.Optional[t.Sequence[str]]
    most_bytes: int
    keep: int


@dataclass(frozen=True)
class DumpPlan:
    """What can be had.

    :param covers: `database`, `tables` or `schema`.
    :param tables: those that are there, as the server writes them.
    :param archiving: the log is archived, and the last try did not fail.
    """

    covers: str
    tables: t.Tuple[str, ...]
    bytes: int
    archiving: bool

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "covers": self.covers,
            "tables": list(self.tables),
            "data_bytes": self.bytes,
            "archiving": self.archiving,
        }


def plan_dump(request: DumpRequest, sql: PsqlSession) -> DumpPlan:
    """Look how much there is.

    :raises Refused: neither the rows that are about to change can be copied, nor does the log lead back to them.
    """
    server = sql.row(
        "SELECT pg_database_size(current_database()) AS bytes, current_setting('archive_mode') <> 'off' AND coalesce"
        "(last_failed_time < last_archived_time, last_failed_time IS NULL) AS archiving FROM pg_stat_archiver"
    )
    archiving = bool(server["archiving"])
    if server["bytes"] <= request.most_bytes:
        return DumpPlan(DATABASE, (), int(server["bytes"]), archiving)
    there = sql.rows(
        "SELECT c.oid::regclass::text AS name, pg_total_relation_size(c.oid) AS bytes FROM unnest(ARRAY[%s]::text[]) n"
        " JOIN pg_class c ON c.oid = to_regclass(n)" % ", ".join(literal(name) for name in request.tables or ())
    )
    size = sum(int(row["bytes"]) for row in there)
    if request.tables is not None and size <= request.most_bytes:
        tables = tuple(str(row["name"]) for row in there)
        return DumpPlan(TABLES if tables else SCHEMA, tables, size, archiving)
    if not archiving:
        raise Refused(
            "no emergency copy can be had in time: there is more data than %d bytes, and the log is not archived"
            % request.most_bytes,
            "take a base backup first (codeblue snapshot create), or allow more: backup_most of the migrations",
        )
    return DumpPlan(SCHEMA, (), 0, archiving)


def take_dump(
    request: DumpRequest, plan: DumpPlan, sql: PsqlSession, deadline: Deadline, pass_fds: t.Sequence[int]
) -> t.Dict[str, t.Any]:
    """Set the restore point, copy, and remove copies that are too old; returns what is there now.

    :raises CodeblueError: pg_dump fails. Its words are not repeated: they may hold anything.
    """
    restore_point = sql.value("pg_create_restore_point(%s)" % literal(request.name[:63]))
    owner = account_of(request.login.os_user)
    make_private_directory(request.destination, owner)
    for name in os.listdir(request.destination):
        if name.endswith(_PART):
            # Of an attempt that was cut off: the lock of the step is held, nobody is writing it.
            os.unlink(os.path.join(request.destination, name))
    files = [_dump(request, "schema", ["--schema-only"], deadline, pass_fds)] if plan.covers != DATABASE else []
    if plan.covers == DATABASE:
        files.append(_dump(request, DATABASE, [], deadline, pass_fds))
    elif plan.tables:
        chosen = ["--table=%s" % table for table in plan.tables]
        files.append(_dump(request, TABLES, chosen, deadline, pass_fds))
    _forget_old(request)
    return {"files": files, "restore_point": request.name[:63], "lsn": restore_point}


def _dump(
    request: DumpRequest, covers: str, arguments: t.Sequence[str], deadline: Deadline, pass_fds: t.Sequence[int]
) -> t.Dict[str, t.Any]:
    login = request.login
    path = os.path.join(request.destination, "%s.%s%s" % (request.name, covers, _SUFFIX))
    if not os.path.exists(path):
        done = run_command(
            [
                login.tool("pg_dump"),
                "--format=custom",
                "--compress=1",
                "--no-password",
                "--lock-wait-timeout=%d" % _LOCK_WAIT_MS,
                "--file=" + path + _PART,
                *arguments,
            ],
            deadline,
            user=login.os_user,
            environment=login.environment(),
            pass_fds=pass_fds,
        )
        if not done.ok:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + _PART)
            how = "no answer within %.1f s" % done.seconds if done.returncode is None else "status %s" % done.returncode
            full = "No space left on device" in done.stderr
            raise CodeblueError(
                "the emergency copy could not be taken: pg_dump, %s" % how,
                "free space in %s" % request.destination if full else "see the log of PostgreSQL",
            )
        with open(path + _PART, "rb") as stream:
            os.fsync(stream.fileno())
        os.chmod(path + _PART, 0o600)
        os.rename(path + _PART, path)
        sync_directory(request.destination)
    return {"path": path, "covers": covers, "bytes": os.path.getsize(path), "sha256": file_digest(path)}


def _forget_old(request: DumpRequest) -> None:
    """By copies, not by files: one copy may be two of them."""
    found = [name for name in os.listdir(request.destination) if name.endswith(_SUFFIX)]
    newest: t.Dict[str, float] = {}
    for name in found:
        copy = name[: -len(_SUFFIX)].rpartition(".")[0]
        modified = os.path.getmtime(os.path.join(request.destination, name))
        newest[copy] = max(modified, newest.get(copy, 0.0))
    doomed = sorted(newest, key=lambda copy: newest[copy])[: -request.keep]
    for name in found:
        copy = name[: -len(_SUFFIX)].rpartition(".")[0]
        if copy in doomed and copy != request.name:
            os.unlink(os.path.join(request.destination, name))
