# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What PostgreSQL's own tools say about a data directory whose server may be dead."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import (
    end_of_record,
    format_lsn,
    parse_lsn,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command

CLEAN_STATES = frozenset(("shut down", "shut down in recovery"))

_RECORD = re.compile(
    r"^rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]+/[0-9A-F]+), .*?desc: (.*)$"
)
_SEGMENT = re.compile(r"\A[0-9A-F]{24}\Z")
# What pg_waldump says when the log ends at the position that it was given.
_NOTHING_AFTER = "could not find a valid record after"
_STOPPED_AT = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")


@dataclass(frozen=True)
class ControlData:
    """The control file of a data directory, by pg_controldata.

    :param state: as PostgreSQL words it: in production, shut down, in archive recovery and so on.
    """

    system_identifier: str
    state: str
    checkpoint_lsn: str
    redo_lsn: str
    timeline: int
    block_size: int
    segment_size: int
    data_checksums: bool
    wal_log_hints: bool

    @property
    def clean(self) -> bool:
        """The server was shut down; no recovery is due."""
        return self.state in CLEAN_STATES

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {
            "system_identifier": self.system_identifier,
            "state": self.state,
            "clean": self.clean,
            "checkpoint_lsn": self.checkpoint_lsn,
            "redo_lsn": self.redo_lsn,
            "timeline": self.timeline,
            "data_checksums": self.data_checksums,
        }


@dataclass(frozen=True)
class WalEnd:
    """The end of the log that lies on disk.

    :param lsn: where the next record would have begun; everything before it is complete.
    :param commits_after: transactions committed after the given position, or None when none was given.
    """

    lsn: str
    last_record_lsn: str
    commits_after: t.Optional[int] = None


def postgresql_tool(member: Member, tool: str, *arguments: str, deadline: Deadline, **options: t.Any) -> CommandResult:
    """Run a tool of the member's version as its user; see `run_command` for the options.

    :raises CodeblueError: the tool is not there.
    """
    return run_command([member.login.tool(tool), *arguments], deadline, user=member.os_user, **options)


def read_control_data(member: Member, deadline: Deadline) -> ControlData:
    """Read the control file.

    :raises CodeblueError: the data directory is unreadable, or is none.
    """
    answer = postgresql_tool(member, "pg_controldata", "-D", member.data_dir, deadline=deadline)
    if not answer.ok:
        raise CodeblueError("%s: %s" % (member.data_dir, answer.complaint()), "look at the disk and the permissions")
    if "CRC checksum does not match" in answer.stderr + answer.stdout:
        # The tool prints what it found all the same.
        raise CodeblueError("%s: the control file is damaged" % member.data_dir, "restore this member from another one")
    fields = {}
    for line in answer.stdout.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields[name.strip()] = value.strip()
    try:
        return ControlData(
            system_identifier=fields["Database system identifier"],
            state=fields["Database cluster state"],
            checkpoint_lsn=fields["Latest checkpoint location"],
            redo_lsn=fields["Latest checkpoint's REDO location"],
            timeline=int(fields["Latest checkpoint's TimeLineID"]),
            block_size=int(fields["WAL block size"]),
            segment_size=int(fields["Bytes per WAL segment"]),
            data_checksums=fields.get("Data page checksum version", "0") != "0",
            wal_log_hints=fields.get("wal_log_hints setting", "off") == "on",
        )
    except (KeyError, ValueError) as error:
        raise CodeblueError("%s: pg_controldata left out %s" % (member.data_dir, error)) from error


def read_wal_end(
    member: Member, control: ControlData, deadline: Deadline, count_after: t.Optional[str] = None
) -> WalEnd:
    """Find the end of the log on disk, from the last checkpoint on.

    :param count_after: a position; commits that begin at or after it are counted.
    :raises CodeblueError: the log cannot be read, or the deadline is over.
    """
    last = _last_record_start(member, control, deadline)
    end = _record_end(member, control, last, deadline)
    counted = None if count_after is None else _count_commits(member, control, parse_lsn(count_after), end, deadline)
    return WalEnd(lsn=format_lsn(end), last_record_lsn=last, commits_after=counted)


def read_wal_after(member: Member, position: str, deadline: Deadline) -> WalEnd:
    """The log on disk after a position, without the control file: a damaged one does not damage the log.

    :param position: up to which a standby has the log.
    :raises CodeblueError: the segment with that position is not there, or the log cannot be read.
    """
    control = _control_of_log(member, position)
    bounds = ("-s", position, "-e", format_lsn(_log_on_disk(member, control)[1]))
    answer = _waldump(member, control, "--quiet", *bounds, deadline=deadline, limit=65536)
    if _NOTHING_AFTER in answer.stderr:
        return WalEnd(lsn=position, last_record_lsn=position, commits_after=0)
    return read_wal_end(member, control, deadline, position)


def _control_of_log(member: Member, position: str) -> ControlData:
    """What reading the log needs of a control file, taken from the segments themselves."""
    directory = member.path("pg_wal")
    try:
        names = sorted(name for name in os.listdir(directory) if _SEGMENT.match(name))
        size = os.path.getsize(os.path.join(directory, names[-1])) if names else 0
    except OSError as error:
        raise CodeblueError("%s: %s" % (directory, error.strerror)) from error
    if size < 1024 * 1024 or size & (size - 1):
        raise CodeblueError("%s holds no complete segment of the log" % directory)
    number, per_file = parse_lsn(position) // size, (1 << 32) // size
    suffix = "%08X%08X" % divmod(number, per_file)
    timelines = [int(name[:8], 16) for name in names if name[8:] == suffix]
    if not timelines:
        raise CodeblueError("%s lacks the segment of %s" % (directory, position))
    return ControlData("", "unknown", position, position, max(timelines), 8192, size, False, False)


def _waldump(member: Member, control: ControlData, *arguments: str, deadline: Deadline, limit: int) -> CommandResult:
    return postgresql_tool(
        member,
        "pg_waldump",
        *("-p", member.path("pg_wal")),
        *("-t", str(control.timeline)),
        *arguments,
        deadline=deadline,
        output_limit=limit,
        keep="tail",
    )


def _last_record_start(member: Member, control: ControlData, deadline: Deadline) -> str:
    # Without an end the tool waits five seconds for a segment that does not exist.
    _first, end = _log_on_disk(member, control)
    bounds = ("-s", control.redo_lsn, "-e", format_lsn(end))
    # Quietly, because printing the records of a gigabyte of log takes ten times as long as reading them.
    answer = _waldump(member, control, "--quiet", *bounds, deadline=deadline, limit=65536)
    stopped = _STOPPED_AT.search(answer.stderr)
    if stopped is not None:
        return stopped.group(1)
    if not answer.ok:
        raise CodeblueError("%s: %s" % (member.path("pg_wal"), answer.complaint()))
    # The log fills its last segment to the end, and its last record is printed only when it is not quiet.
    start = max(parse_lsn(control.redo_lsn), end - control.segment_size)
    answer = _waldump(
        member, control, "-s", format_lsn(start), "-e", format_lsn(end), deadline=deadline, limit=1024 * 1024
    )
    records = [match for match in map(_RECORD.match, answer.stdout.splitlines()) if match]
    if not records:
        raise CodeblueError("%s: %s" % (member.path("pg_wal"), answer.complaint()))
    return records[-1].group(3)


def _record_end(member: Member, control: ControlData, start: str, deadline: Deadline) -> int:
    answer = _waldump(member, control, "-s", start, "-n", "1", deadline=deadline, limit=1024 * 1024)
    record = next(filter(None, map(_RECORD.match, answer.stdout.splitlines())), None)
    if record is None:
        raise CodeblueError("%s: %s" % (member.path("pg_wal"), answer.complaint()))
    end = end_of_record(parse_lsn(record.group(3)), int(record.group(2)), control.segment_size, control.block_size)
    if record.group(1) == "XLOG" and record.group(4).startswith("SWITCH"):
        # The rest of the segment is void.
        end += -end % control.segment_size
    return end


def _count_commits(member: Member, control: ControlData, after: int, end: int, deadline: Deadline) -> int:
    if after >= end:
        return 0
    oldest, _end = _log_on_disk(member, control)
    if after < oldest:
        raise CodeblueError(
            "the commits after %s cannot be counted: the log on disk begins at %s"
            % (format_lsn(after), format_lsn(oldest))
        )
    start = format_lsn(after)
    answer = _waldump(
        member,
        control,
        "-s",
        start,
        "-e",
        format_lsn(end),
        "-r",
        "Transaction",
        deadline=deadline,
        limit=64 * 1024 * 1024,
    )
    if answer.returncode is None or answer.truncated or (not answer.ok and not _STOPPED_AT.search(answer.stderr)):
        raise CodeblueError("the commits after %s cannot be counted: %s" % (format_lsn(after), answer.complaint()))
    records = filter(None, map(_RECORD.match, answer.stdout.splitlines()))
    return sum(1 for record in records if record.group(4).startswith("COMMIT") and parse_lsn(record.group(3)) >= after)


def _log_on_disk(member: Member, control: ControlData) -> t.Tuple[int, int]:
    """Where the oldest segment of the timeline begins, and where the unbroken row from the checkpoint on ends."""
    pattern = re.compile(r"\A%08X([0-9A-F]{8})([0-9A-F]{8})\Z" % control.timeline)
    per_file = (1 << 32) // control.segment_size
    matches = [match for match in map(pattern.match, os.listdir(member.path("pg_wal"))) if match]
    numbers = {int(match.group(1), 16) * per_file + int(match.group(2), 16) for match in matches}
    last = parse_lsn(control.redo_lsn) // control.segment_size
    if last not in numbers:
        raise CodeblueError(
            "%s lacks the log from its last checkpoint at %s on" % (member.path("pg_wal"), control.redo_lsn)
        )
    while last + 1 in numbers:
        last += 1
    return min(numbers) * control.segment_size, (last + 1) * control.segment_size


def read_setting(member: Member, name: str, deadline: Deadline) -> str:
    """A setting as the configuration files give it, without a running server.

    :raises CodeblueError: the configuration cannot be read.
    """
    arguments = ["-D", member.data_dir, "-C", name]
    if member.config_file:
        arguments += ["-c", "config_file=" + member.config_file]
    answer = postgresql_tool(member, "postgres", *arguments, deadline=deadline)
    if not answer.ok:
        raise CodeblueError("the setting %s cannot be read: %s" % (name, answer.complaint()))
    return answer.stdout.rstrip("\n")
