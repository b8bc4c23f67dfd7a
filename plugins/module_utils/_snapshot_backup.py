# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A base backup on disk, what is known about it, and the backups that it is built upon.

<destination>/<backup id>/data/          what pg_basebackup wrote, with its backup_manifest
<destination>/<backup id>/tablespaces/   one directory per tablespace
<destination>/<backup id>/backup.json    written last: a backup without it never became one
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult

FULL = "full"
INCREMENTAL = "incremental"

RECORD_NAME = "backup.json"
INCOMPLETE_NAME = "incomplete"

_FORMAT = 1
_BACKUP_ID = re.compile(r"\A[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")
_LARGEST_RECORD = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024
# pg_verifybackup leaves these to others: it parses pg_wal, and allows the rest to differ.
_NOT_VERIFIED_BY_POSTGRESQL = ("backup_manifest", "postgresql.auto.conf", "recovery.signal", "standby.signal")


@dataclass(frozen=True)
class BackupRecord:
    """One complete base backup.

    :param kind: `full`, or `incremental` on top of `parent`.
    :param start_lsn: where replay begins; the archive must reach back to here.
    :param end_lsn: where the backup is consistent; no recovery target lies before it.
    :param finished_at: RFC 3339, UTC, by the clock of the machine.
    :param unlisted: SHA-256 of the files that pg_verifybackup does not compare, by path inside `data`.
    """

    backup_id: str
    kind: str
    parent: t.Optional[str]
    system_identifier: str
    server_version: int
    timeline: int
    start_lsn: str
    end_lsn: str
    started_at: str
    finished_at: str
    seconds: float
    files: int
    bytes: int
    segment_bytes: int
    tablespaces: t.Dict[str, str] = field(default_factory=dict)
    unlisted: t.Dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 over the canonical form; it binds every file of the backup by way of the manifest."""
        return hashlib.sha256(_canonical(self)).hexdigest()

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results: without the digests of single files."""
        result = asdict(self)
        del result["unlisted"]
        result["digest"] = self.digest()
        return result


def check_backup_id(backup_id: str) -> str:
    """The identifier, when it can be the name of a directory.

    :raises BadInput: it cannot.
    """
    if not _BACKUP_ID.match(backup_id):
        raise BadInput("backup_id: %r is not an identifier" % backup_id, "use up to 64 letters, digits, _ and -")
    return backup_id


def backup_directory(destination: str, backup_id: str) -> str:
    """Where a backup lies."""
    return os.path.join(destination, check_backup_id(backup_id))


def data_directory(destination: str, backup_id: str) -> str:
    """Where the files of the cluster lie, for pg_verifybackup and pg_combinebackup."""
    return os.path.join(backup_directory(destination, backup_id), "data")


def write_record(destination: str, record: BackupRecord, owner: t.Tuple[int, int]) -> None:
    """Make the backup a complete one. The record carries a checksum over itself."""
    content = {"format": _FORMAT, **asdict(record), "checksum": record.digest()}
    path = os.path.join(backup_directory(destination, record.backup_id), RECORD_NAME)
    write_file(path, json.dumps(content, indent=1, sort_keys=True).encode(), 0o600, owner)


def read_record(destination: str, backup_id: str) -> BackupRecord:
    """What is known about a backup.

    :raises BadInput: there is no such backup.
    :raises CodeblueError: its record was altered or damaged.
    """
    path = os.path.join(backup_directory(destination, backup_id), RECORD_NAME)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_LARGEST_RECORD)
    except FileNotFoundError:
        raise BadInput(
            "there is no complete backup %s in %s" % (backup_id, destination), "look which are: ls %s" % destination
        ) from None
    try:
        content = json.loads(text.decode())
        checksum, version = content.pop("checksum"), content.pop("format")
        record = BackupRecord(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CodeblueError("%s is damaged: it is no record of a backup" % path, "use another backup") from error
    if version != _FORMAT or checksum != record.digest() or record.backup_id != backup_id:
        raise CodeblueError("%s is damaged: its checksum does not fit" % path, "use another backup")
    return record


def list_backups(destination: str) -> t.List[BackupRecord]:
    """The complete backups, oldest first.

    :raises CodeblueError: a record was altered or damaged.
    """
    try:
        names = sorted(os.listdir(destination))
    except FileNotFoundError:
        return []
    records = [
        read_record(destination, name)
        for name in names
        if _BACKUP_ID.match(name) and os.path.isfile(os.path.join(destination, name, RECORD_NAME))
    ]
    return sorted(records, key=lambda record: (record.finished_at, record.backup_id))


def backup_chain(destination: str, backup_id: str) -> t.List[BackupRecord]:
    """The backup and all it is built upon, the full one first.

    :raises BadInput: one of them is missing.
    :raises CodeblueError: they do not belong together.
    """
    chain = [read_record(destination, backup_id)]
    seen = {backup_id}
    while chain[0].parent is not None:
        child = chain[0]
        parent_id = t.cast(str, child.parent)
        if parent_id in seen:
            raise CodeblueError("the backups in %s are built in a circle at %s" % (destination, parent_id))
        seen.add(parent_id)
        parent = read_record(destination, parent_id)
        if parent.system_identifier != child.system_identifier:
            raise CodeblueError(
                "backup %s is built upon %s, which is of another cluster" % (child.backup_id, parent.backup_id)
            )
        chain.insert(0, parent)
    return chain


def newest_before(destination: str, finished_before: str = "", end_lsn: str = "") -> BackupRecord:
    """The youngest backup from which a target can be reached.

    :param finished_before: RFC 3339 in UTC; the backup must be complete by then.
    :param end_lsn: the backup must be consistent at this position of the log.
    :raises BadInput: none is old enough.
    """
    for record in reversed(list_backups(destination)):
        if finished_before and record.finished_at > finished_before:
            continue
        if end_lsn and parse_lsn(record.end_lsn) > parse_lsn(end_lsn):
            continue
        return record
    raise BadInput(
        "no backup in %s is older than the target %s" % (destination, finished_before or end_lsn or "(any)"),
        "choose a later target, or take a base backup",
    )


def unlisted_files(data_dir: str) -> t.List[str]:
    """The files that pg_verifybackup does not compare, as paths inside the data directory."""
    found = [name for name in _NOT_VERIFIED_BY_POSTGRESQL if os.path.isfile(os.path.join(data_dir, name))]
    for directory, _names, files in os.walk(os.path.join(data_dir, "pg_wal")):
        found += [os.path.relpath(os.path.join(directory, name), data_dir) for name in files]
    return sorted(found)


def first_error(answer: CommandResult) -> str:
    """The first thing that a tool of PostgreSQL complained about; its last line often tells only of cleaning up."""
    for line in answer.stderr.splitlines():
        if answer.returncode is not None and ("error:" in line or "FATAL:" in line):
            return line.strip()[:500]
    return answer.complaint()


def sha256_of(path: str) -> str:
    """SHA-256 of a file, read in pieces.

    :raises OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            data = stream.read(_READ_BYTES)
            if not data:
                return digest.hexdigest()
            digest.update(data)


def _canonical(record: BackupRecord) -> bytes:
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":")).encode()
