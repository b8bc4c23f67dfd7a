# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the data of a stopped member in line with the new primary, by pg_rewind or by a full copy."""

from __future__ import annotations

import os
import shutil
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import (
    ControlData,
    postgresql_tool,
    read_control_data,
    read_setting,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import (
    conninfo,
    owner_of_server,
    place_standby_signal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_follow import Rejoin
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_rejoin_notes import RejoinNotes

State = t.Dict[str, t.Any]

FOLLOW, REWIND, COPY, NONE = "follow", "rewind", "copy", "none"

_CLEAN_PRIMARY = "shut down"
_STANDBY_STATES = frozenset(("in archive recovery", "shut down in recovery"))
# A full copy needs room for the cluster and for the log that is written meanwhile.
_ROOM_FACTOR = 1.1


class RewindImpossible(CodeblueError):
    """pg_rewind cannot do it; a full copy can."""


def check_cluster(member: Member, source: State, deadline: Deadline) -> t.Optional[ControlData]:
    """The member's control file, or None when it cannot be read.

    :raises Refused: the data directory belongs to another cluster, and nothing may be done to it.
    """
    try:
        control = read_control_data(member, deadline)
    except CodeblueError:
        return None
    if control.system_identifier != source["system_identifier"]:
        raise Refused(
            "%s belongs to cluster %s, the primary to %s"
            % (member.data_dir, control.system_identifier, source["system_identifier"]),
            "check the data directory of the member",
        )
    return control


def may_follow(control: t.Optional[ControlData], source: State, notes: RejoinNotes, member: Member) -> bool:
    """Following is worth a try before anything is overwritten.

    That holds for a standby which merely stopped, for a member that an earlier attempt has rewound, and for a former
    primary that was shut down in order and whose whole log is a part of the new primary's history.
    """
    if control is None:
        return False
    if control.state == _CLEAN_PRIMARY:
        parted = source["switch_points"].get(control.timeline)
        # The checkpoint of the shutdown is the last record of the log.
        return not notes.rewinding and parted is not None and parse_lsn(control.checkpoint_lsn) < parted
    if control.state not in _STANDBY_STATES:
        return False
    return not notes.rewinding or (notes.same_boot and _rewound(member))


def rewind(job: Rejoin, control: t.Optional[ControlData], notes: RejoinNotes, deadline: Deadline) -> RejoinNotes:
    """Bring the stopped member back to the point where its history parted from the new primary's.

    :raises RewindImpossible: it cannot be done this way; the data directory may be spoilt.
    """
    member = job.member
    if control is None:
        raise RewindImpossible("the control file of %s cannot be read" % member.data_dir)
    if notes.rewinding:
        raise RewindImpossible("an earlier pg_rewind of %s was cut off" % member.data_dir)
    if not (control.data_checksums or control.wal_log_hints):
        raise RewindImpossible("the cluster has neither data checksums nor wal_log_hints")
    if not control.clean and control.state in _STANDBY_STATES:
        # A standalone server would end a standby's recovery with a checkpoint of its own on the primary's timeline,
        # and pg_rewind would not see that the histories have parted.
        raise RewindImpossible("the member died as a standby and cannot follow")
    notes = notes.keep_config(member)
    try:
        if not control.clean:
            _finish_crash_recovery(job, deadline)
        # What makes it impossible shows here, while the directory is still whole.
        _run_pg_rewind(job, deadline, "--dry-run")
        notes = notes.mark_rewinding(True)
        _run_pg_rewind(job, deadline)
        notes = notes.mark_rewinding(False)
    finally:
        # Whatever happened, the directory must not start as a primary, nor with the other one's configuration.
        place_standby_signal(member)
        notes = notes.put_config_back(member)
    return notes


def _rewound(member: Member) -> bool:
    """pg_rewind came to its end: it writes this file last but for the control file."""
    try:
        with open(member.path("backup_label"), encoding="utf-8", errors="replace") as stream:
            return "BACKUP METHOD: pg_rewind" in stream.read(4096)
    except FileNotFoundError:
        return False


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


def _run_pg_rewind(job: Rejoin, deadline: Deadline, *options: str) -> None:
    member, source = job.member, job.source
    arguments = [
        *options,
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


def copy(
    job: Rejoin, source: State, notes: RejoinNotes, aside: str, deadline: Deadline
) -> t.Tuple[RejoinNotes, t.Optional[str]]:
    """Take a full copy of the new primary; the old directory is kept under another name.

    :param aside: tells the new directories' names apart from those of other runs.
    :returns: the notes, and where the old data directory is now, None when there was none.
    :raises CodeblueError: there is no room, or the copy failed; the old directory is then still in place.
    """
    member = job.member
    if os.path.isdir(member.path("pg_tblspc")) and os.listdir(member.path("pg_tblspc")):
        raise CodeblueError(
            "%s has tablespaces, which a copy on the same machine would collide with" % member.data_dir,
            "rebuild this member by hand with pg_basebackup --tablespace-mapping",
        )
    fresh = "%s.new-%s" % (member.data_dir, aside)
    _require_room(member, int(source["bytes"]))
    notes = notes.keep_config(member)
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
    # The copy has to bear the signal before it bears the name: it must not start as a second primary.
    place_standby_signal(member, fresh)
    old = _free_name("%s.before-%s" % (member.data_dir, aside)) if os.path.lexists(member.data_dir) else None
    if old is not None:
        os.rename(member.data_dir, old)
    os.rename(fresh, member.data_dir)
    sync_directory(os.path.dirname(member.data_dir))
    return notes.mark_rewinding(False).put_config_back(member), old


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


def _free_name(path: str) -> str:
    """The path, or with a number behind it when an earlier attempt of the step has used it."""
    number, candidate = 1, path
    while os.path.lexists(candidate):
        number += 1
        candidate = "%s-%d" % (path, number)
    return candidate
