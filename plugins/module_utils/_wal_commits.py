# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commits in the archived log: where each lies, and which of them can have changed given tables.

Read by pg_waldump as a stream; a commit takes 13 bytes here, so that a day's log fits into memory.
"""

from __future__ import annotations

import bisect
import os
import re
import select
import typing as t
from array import array
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import format_lsn, parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import end_process_group, start_process

_HEAD = re.compile(r"tx:\s*(\d+), lsn: ([0-9A-F]+/[0-9A-F]+),.* desc: (.*)$")
_SUBTRANSACTIONS = re.compile(r"subxacts: ([\d ]+)")
_COMMITTED_AT = re.compile(r"COMMIT(?:_PREPARED \d+:)? (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) UTC")
# Such a commit dropped, truncated, rewrote or altered something: which table does not stand in its blocks.
_STRUCTURAL = (" rels:", "; rels", "inval msgs")
_MOST_COMMITS = 20_000_000
_READ_BYTES = 1024 * 1024
_STUMBLED_AT = re.compile(r" (?:at|after) ([0-9A-F]{1,8}/[0-9A-F]{1,8})\b")
_HISTORY_LINE = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)


@dataclass(frozen=True)
class Stretch:
    """A part of the log on one timeline."""

    timeline: int
    from_lsn: int
    until_lsn: int


@dataclass
class Commits:
    """Commits in the order of the log.

    :param positions: where the record of each begins.
    :param xids: the transaction of each.
    :param structural: 1 where it changed what tables there are.
    :param parents: subtransaction to its transaction.
    """

    positions: t.MutableSequence[int] = field(default_factory=lambda: array("Q"))
    xids: t.MutableSequence[int] = field(default_factory=lambda: array("L"))
    structural: bytearray = field(default_factory=bytearray)
    parents: t.Dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positions)

    def of_transactions(self, xids: t.AbstractSet[int]) -> t.List[int]:
        """Positions of the commits of these transactions, and of all that are structural."""
        wanted = {self.parents.get(xid, xid) for xid in xids}
        return [
            position
            for number, position in enumerate(self.positions)
            if self.structural[number] or self.xids[number] in wanted
        ]

    def between(self, low: int, high: int) -> t.List[int]:
        """Positions of all commits from `low` up to but without `high`."""
        return [position for position in self.positions if low <= position < high]

    def xid_at(self, position: int) -> t.Optional[int]:
        """The transaction whose commit lies exactly there."""
        number = bisect.bisect_left(self.positions, position)
        found = number < len(self.positions) and self.positions[number] == position
        return self.xids[number] if found else None

    def with_subtransactions(self, xid: int) -> t.List[int]:
        """The transaction and all its subtransactions."""
        return [xid, *(child for child, parent in self.parents.items() if parent == xid)]


def stretches(archive_dir: str, timeline: int, from_timeline: int, from_lsn: int, until_lsn: int) -> t.List[Stretch]:
    """The way from a backup to the present, over changes of the timeline.

    :param timeline: the present one.
    :param from_timeline: that of the backup.
    :raises CodeblueError: the history in the archive does not lead from the one to the other.
    """
    if timeline == from_timeline:
        return [Stretch(timeline, from_lsn, until_lsn)]
    path = os.path.join(archive_dir, "%08X.history" % timeline)
    try:
        with open(path, encoding="utf-8") as stream:
            entries = [(int(parent), parse_lsn(lsn)) for parent, lsn in _HISTORY_LINE.findall(stream.read(1024 * 1024))]
    except OSError as error:
        raise CodeblueError("%s: %s" % (path, error.strerror), "the archive must keep the history files") from error
    found, begin = [], from_lsn
    for parent, switched_at in entries:
        if parent < from_timeline:
            continue
        found.append(Stretch(parent, begin, switched_at))
        begin = switched_at
    if not found or found[0].timeline != from_timeline:
        raise CodeblueError("%s does not lead to timeline %d of the backup" % (path, from_timeline))
    return [*found, Stretch(timeline, begin, until_lsn)]


def list_commits(login: Login, archive_dir: str, way: t.Sequence[Stretch], deadline: Deadline) -> Commits:
    """All commits on the way.

    :raises CodeblueError: the log cannot be read, or holds more of them than can be looked through.
    """
    commits = Commits()
    for line in _records(login, archive_dir, way, ["--rmgr=Transaction"], deadline):
        match = _HEAD.search(line)
        if match is None or not match.group(3).startswith("COMMIT"):
            continue
        xid, description = int(match.group(1)), match.group(3)
        commits.positions.append(parse_lsn(match.group(2)))
        commits.xids.append(xid)
        # Who prepared a transaction stands elsewhere in the log: such a commit is always looked at.
        special = description.startswith("COMMIT_PREPARED") or any(sign in description for sign in _STRUCTURAL)
        commits.structural.append(1 if special else 0)
        children = _SUBTRANSACTIONS.search(description)
        if children is not None:
            commits.parents.update({int(child): xid for child in children.group(1).split()})
        if len(commits) > _MOST_COMMITS:
            raise CodeblueError("the archived log holds more than %d commits" % _MOST_COMMITS, "take backups oftener")
    return commits


def transactions_at(
    login: Login, archive_dir: str, way: t.Sequence[Stretch], relations: t.Iterable[str], deadline: Deadline
) -> t.Set[int]:
    """The transactions that changed a page of one of these files.

    :param relations: as pg_waldump takes them: `tablespace/database/filenode`.
    """
    found: t.Set[int] = set()
    for relation in sorted(set(relations)):
        for line in _records(login, archive_dir, way, ["--relation=" + relation], deadline):
            match = _HEAD.search(line)
            if match is not None:
                found.add(int(match.group(1)))
    return found


def committed_at(
    login: Login, archive_dir: str, way: t.Sequence[Stretch], position: int, deadline: Deadline
) -> t.Optional[str]:
    """When the transaction whose commit lies there was committed: RFC 3339, UTC."""
    for stretch in way:
        if stretch.from_lsn <= position < stretch.until_lsn:
            only = [Stretch(stretch.timeline, position, stretch.until_lsn)]
            for line in _records(login, archive_dir, only, ["--rmgr=Transaction", "--limit=1"], deadline):
                match = _COMMITTED_AT.search(line)
                if match is not None:
                    return "%sT%sZ" % match.groups()
    return None


def _records(
    login: Login, archive_dir: str, way: t.Sequence[Stretch], filters: t.Sequence[str], deadline: Deadline
) -> t.Iterator[str]:
    for stretch in way:
        arguments = [
            login.tool("pg_waldump"),
            *("--path", archive_dir),
            *("--timeline", str(stretch.timeline)),
            *("--start", format_lsn(stretch.from_lsn)),
            *("--end", format_lsn(stretch.until_lsn)),
            *filters,
        ]
        yield from _lines(arguments, login.os_user, stretch.until_lsn, deadline)


def _lines(arguments: t.Sequence[str], os_user: t.Optional[str], until_lsn: int, deadline: Deadline) -> t.Iterator[str]:
    """What a tool prints, line by line, without keeping it."""
    process = start_process(arguments, os_user)
    ended = False
    try:
        if process.stdout is None or process.stderr is None:
            raise CodeblueError("pg_waldump was started without an output")
        rest, complaint, open_streams = b"", bytearray(), [process.stdout, process.stderr]
        while open_streams:
            ready = select.select(open_streams, [], [], deadline.remaining())[0]
            if not ready:
                raise CodeblueError("pg_waldump did not get through the log within %.0f s" % deadline.elapsed())
            for stream in ready:
                data = os.read(stream.fileno(), _READ_BYTES)
                if not data:
                    open_streams.remove(stream)
                elif stream is process.stderr:
                    complaint += data[: max(0, 65536 - len(complaint))]
                else:
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        yield line.decode(errors="replace")
        ended = True
        if process.wait() != 0 and not _at_the_end(complaint.decode(errors="replace"), until_lsn):
            said = complaint.decode(errors="replace").strip().splitlines()
            raise CodeblueError(
                "the archived log cannot be read: %s" % (said[-1][:300] if said else "pg_waldump failed"),
                "see whether a segment is missing in the archive",
            )
    finally:
        if not ended:
            end_process_group(process)
        for each in (process.stdout, process.stderr):
            if each is not None:
                each.close()


def _at_the_end(complaint: str, until_lsn: int) -> bool:
    """Whether it stumbled only where the log ends.

    At a page that holds nothing before the end but its header, pg_waldump looks at what it has read there before.
    """
    positions = _STUMBLED_AT.findall(complaint)
    return bool(positions) and parse_lsn(positions[-1]) >= until_lsn
