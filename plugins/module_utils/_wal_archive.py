# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The archive of the write-ahead log: what it holds, where it has gaps, and whether it can be replayed."""

from __future__ import annotations

import os
import re
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import format_lsn, parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import first_error

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
# More than these are not listed one by one.
_MOST_GAPS = 20

# Archives compress in different ways; the name in front is always PostgreSQL's.
_SEGMENT = re.compile(r"\A([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.(?:gz|lz4|zst|bz2|xz))?\Z")


@dataclass(frozen=True)
class Segment:
    """One file of the log in the archive.

    :param number: position of the segment in the log, counted in segments.
    """

    name: str
    timeline: int
    number: int
    bytes: int
    archived_at: float


@dataclass(frozen=True)
class Coverage:
    """What can be replayed without a gap.

    :param until_lsn: end of the last segment before the first gap.
    :param gaps: names of missing segments that are followed by existing ones.
    :param age_seconds: since the last segment of the timeline arrived.
    """

    first: t.Optional[str]
    last: t.Optional[str]
    until_lsn: t.Optional[str]
    gaps: t.Tuple[str, ...]
    age_seconds: t.Optional[float]

    @property
    def complete(self) -> bool:
        """There is something, and nothing is missing in between."""
        return self.last is not None and not self.gaps


class WalArchive:
    """A directory that `archive_command` copies to.

    :param segment_bytes: `wal_segment_size` of the cluster.
    """

    def __init__(self, directory: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> None:
        self.directory = directory
        self._segment_bytes = segment_bytes

    def segments(self, timeline: t.Optional[int] = None) -> t.List[Segment]:
        """What has been archived, in the order of the log.

        :raises CodeblueError: the directory cannot be read.
        """
        found = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    match = _SEGMENT.match(entry.name)
                    if match is None:
                        continue
                    number = int(match.group(2), 16) * self._segments_per_file + int(match.group(3), 16)
                    segment_timeline = int(match.group(1), 16)
                    if timeline in (None, segment_timeline):
                        status = entry.stat()
                        found.append(Segment(entry.name, segment_timeline, number, status.st_size, status.st_mtime))
        except OSError as error:
            raise CodeblueError(
                "the archive %s cannot be read: %s" % (self.directory, error.strerror), "see archive_dir"
            ) from error
        return sorted(found, key=lambda segment: (segment.timeline, segment.number))

    def segment_name(self, timeline: int, lsn: str) -> str:
        """The segment that a position of the log lies in."""
        return self._name(timeline, self.segment_number(lsn))

    def segment_number(self, lsn: str) -> int:
        """The same as a number, on whichever timeline."""
        return parse_lsn(lsn) // self._segment_bytes

    def coverage(self, timeline: int, from_lsn: str, now: t.Optional[float] = None) -> Coverage:
        """How far the log can be replayed on one timeline.

        :param from_lsn: where replay begins: `start_lsn` of a backup.
        :param now: Unix seconds; given in tests.
        """
        start = parse_lsn(from_lsn) // self._segment_bytes
        segments = {segment.number: segment for segment in self.segments(timeline) if segment.number >= start}
        if not segments:
            return Coverage(None, None, None, (), None)
        newest = segments[max(segments)]
        end = start
        while end in segments:
            end += 1
        gaps: t.List[str] = []
        for number in range(end, newest.number):
            if number not in segments:
                gaps.append(self._name(timeline, number))
                if len(gaps) == _MOST_GAPS:
                    break
        return Coverage(
            first=segments[min(segments)].name,
            last=newest.name,
            until_lsn=format_lsn(end * self._segment_bytes) if end > start else None,
            gaps=tuple(gaps),
            age_seconds=round((time.time() if now is None else now) - newest.archived_at, 3),
        )

    def truncated(self, timeline: t.Optional[int] = None) -> t.List[str]:
        """Uncompressed segments that are not of full size: copies that were cut short."""
        return [
            segment.name
            for segment in self.segments(timeline)
            if len(segment.name) == 24 and segment.bytes != self._segment_bytes
        ]

    def restore_command(self) -> str:
        """For recovery: copies from the archive and never writes there.

        :raises BadInput: the path cannot be put into a command safely.
        """
        if not os.path.isabs(self.directory) or re.search(r"[\0\n]", self.directory):
            raise BadInput("archive_dir: %r is not an absolute path" % self.directory)
        quoted = "'%s'" % self.directory.replace("'", "'\"'\"'")
        return "cp -- %s/%%f %%p" % quoted.replace("%", "%%")

    @property
    def _segments_per_file(self) -> int:
        return 0x100000000 // self._segment_bytes

    def _name(self, timeline: int, number: int) -> str:
        return "%08X%08X%08X" % (timeline, number // self._segments_per_file, number % self._segments_per_file)


def verify_wal(
    login: Login, archive: WalArchive, timeline: int, from_lsn: str, until_lsn: str, deadline: Deadline
) -> None:
    """Parse a stretch of the archived log; every record carries a checksum.

    :param from_lsn: where a record begins, such as `start_lsn` of a backup.
    :param until_lsn: where to stop, such as `Coverage.until_lsn`.
    :raises CodeblueError: the log breaks off before; names the segment.
    """
    answer = run_command(
        [
            login.tool("pg_waldump"),
            "--quiet",
            *("--path", archive.directory),
            *("--timeline", str(timeline)),
            *("--start", from_lsn),
            *("--end", until_lsn),
        ],
        deadline,
        user=login.os_user,
    )
    if answer.ok:
        return
    position = re.search(r"([0-9A-F]{1,8}/[0-9A-F]{1,8}): ", answer.stderr)
    where = archive.segment_name(timeline, position.group(1)) if position else "a segment from %s on" % from_lsn
    raise CodeblueError(
        "the archived log cannot be replayed past %s: %s" % (where, first_error(answer)),
        "recover to a point before it, or take the segment from the primary's pg_wal",
    )
