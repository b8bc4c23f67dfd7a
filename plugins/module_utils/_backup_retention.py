# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removes base backups that retention gave up, and the archived log that none of the others needs."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import destination_lock, remove_incomplete
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    INCOMPLETE_NAME,
    RECORD_NAME,
    BackupRecord,
    backup_directory,
    list_backups,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_archive import Segment, WalArchive

_SYNC_EVERY = 256


@dataclass(frozen=True)
class Removal:
    """What goes and what stays of the backups in one directory.

    :param removed: oldest first; those that were asked for and are gone already are not among them.
    """

    removed: t.Tuple[BackupRecord, ...]
    kept: t.Tuple[BackupRecord, ...]


def plan_removal(destination: str, remove: t.Collection[str], others_elsewhere: bool = False) -> Removal:
    """Look which of these backups are there, and whether the others can do without them.

    :param others_elsewhere: backups are kept on other machines, so that this directory may become empty.
    :raises Refused: one that stays is built upon one of them, or none would stay.
    :raises CodeblueError: a record is damaged: what it needs cannot be known.
    """
    records = list_backups(destination)
    removed = tuple(record for record in records if record.backup_id in remove)
    kept = tuple(record for record in records if record.backup_id not in remove)
    if removed and not kept and not others_elsewhere:
        raise Refused("no backup would be left in %s: nothing was removed" % destination, "take a new one first")
    by_id = {record.backup_id: record for record in records}
    gone = {record.backup_id for record in removed}
    for record in kept:
        child = record
        # A circle ends here too: each parent is looked at once.
        seen = {child.backup_id}
        while child.parent is not None and child.parent in by_id and child.parent not in seen:
            if child.parent in gone:
                raise Refused(
                    "backup %s is built upon %s: nothing was removed" % (record.backup_id, child.parent),
                    "keep %s as long as %s" % (child.parent, record.backup_id),
                )
            seen.add(child.parent)
            child = by_id[child.parent]
    return Removal(removed, kept)


def remove_backups(destination: str, remove: t.Collection[str], others_elsewhere: bool = False) -> Removal:
    """Remove these backups and what killed backups and removals left behind.

    A backup stops being one by one rename that is flushed before the first of its files goes, those that build upon
    others first: whenever it is cut off, what still counts as a backup is whole.

    :raises Refused: as `plan_removal`, or somebody takes a backup there.
    """
    status = os.stat(destination)
    with destination_lock(destination, (status.st_uid, status.st_gid)):
        removal = plan_removal(destination, remove, others_elsewhere)
        for record in reversed(removal.removed):
            directory = backup_directory(destination, record.backup_id)
            os.rename(os.path.join(directory, RECORD_NAME), os.path.join(directory, INCOMPLETE_NAME))
            sync_directory(directory)
        for record in removal.removed:
            shutil.rmtree(backup_directory(destination, record.backup_id))
        remove_incomplete(destination)
        sync_directory(destination)
    return removal


def needless_segments(archive: WalArchive, needed_from: str) -> t.List[Segment]:
    """Archived log before the segment of a position, on every timeline; as pg_archivecleanup tells it.

    Files of other names (histories of timelines, labels of backups, halves of segments) are no part of it.

    :param needed_from: the lowest `start_lsn` of all backups that stay, wherever they lie.
    """
    first = archive.segment_number(needed_from)
    return [segment for segment in archive.segments() if segment.number < first]


def remove_segments(archive: WalArchive, segments: t.Sequence[Segment]) -> int:
    """Remove log, the oldest first, so that what is left never has a gap; the bytes that it had.

    :raises CodeblueError: the archive does not let it.
    """
    removed = 0
    try:
        for count, segment in enumerate(sorted(segments, key=lambda each: (each.number, each.timeline)), start=1):
            # A directory that machines share may be pruned from another one meanwhile.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(archive.directory, segment.name))
                removed += segment.bytes
            if count % _SYNC_EVERY == 0:
                sync_directory(archive.directory)
        sync_directory(archive.directory)
    except OSError as error:
        raise CodeblueError(
            "the archive %s cannot be pruned: %s" % (archive.directory, error.strerror),
            "see who owns it; what was removed so far was not needed",
        ) from error
    return removed


def lowest_start(records: t.Iterable[BackupRecord]) -> t.Optional[str]:
    """Where the log has to begin for all of these; None when there are none."""
    return min((record.start_lsn for record in records), key=parse_lsn, default=None)


def free_bytes(directory: str) -> int:
    """What the file system of a directory, or of the nearest one above it that exists, has left for its users."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def allocated_bytes(directory: str) -> int:
    """What the files below a directory take on the disk; those that go meanwhile are not counted."""
    total = 0
    for place, _names, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
