# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fencing: an old primary that can take no write now, and does not come back as a primary later."""

from __future__ import annotations

import json
import os
import signal
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import (
    lacks_standby_signal,
    place_standby_signal,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import (
    port_accepts,
    postmaster,
    server_processes,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import STOPPED
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    RESTARTING,
    RUNNING,
    STARTING,
    ProcessUnit,
)

State = t.Dict[str, t.Any]
Evidence = t.List[State]

_KILL_SECONDS = 2.0
_MANAGER_SECONDS = 2.0


@dataclass(frozen=True)
class FenceRecord:
    """What fencing changed for good, kept in a file so that releasing undoes exactly that.

    :param signal_file_made: standby.signal was not there before.
    :param start_at_boot_taken: the unit was enabled before.
    """

    data_dir: str
    signal_file_made: bool
    start_at_boot_taken: bool

    @staticmethod
    def path(lock_dir: str, target: str, port: int) -> str:
        """Beside the receipts; one for each member of a target on this machine."""
        return os.path.join(lock_dir, "%s.%d.fence.json" % (target, port))

    @classmethod
    def read(cls, path: str) -> t.Optional[FenceRecord]:
        """The record, or None when this member is not fenced.

        :raises CodeblueError: it is damaged.
        """
        try:
            with open(path, encoding="utf-8") as stream:
                return cls(**json.loads(stream.read(65536)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise CodeblueError(
                "%s is damaged: %s" % (path, error), "compare the unit and standby.signal by hand"
            ) from error

    def write(self, path: str) -> None:
        """Keep it on disk."""
        write_file(path, json.dumps(vars(self), sort_keys=True).encode() + b"\n")


def look_at_fence(member: Member, unit: ProcessUnit, deadline: Deadline) -> State:
    """What would let this member take a write, now or after a restart of the machine."""
    processes = server_processes(member.data_dir)
    try:
        status = unit.status(deadline.within(_MANAGER_SECONDS))
        process: State = {"state": status.state, "starts_at_boot": status.starts_at_boot}
    except CodeblueError as error:
        process = {"state": "unknown", "starts_at_boot": None, "error": error.message}
    return {
        "processes": len(processes),
        "port_open": port_accepts(member.address, member.port, deadline.within(0.5)),
        "process": process,
        "data_dir_readable": os.access(member.path("PG_VERSION"), os.R_OK),
        "standby_signal": os.path.exists(member.path("standby.signal")),
    }


def look_at_log(member: Member, deadline: Deadline) -> State:
    """How the stopped server ended and where its log does, or why that cannot be told.

    :returns: clean (it was shut down in order), timeline, end_lsn and error.
    """
    # Not at the top: an emergency fences without reading the log, and waits for every import.
    from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_commands import (
        read_control_data,
        read_wal_end,
    )

    try:
        control = read_control_data(member, deadline)
        end = read_wal_end(member, control, deadline)
    except CodeblueError as error:
        return {"clean": None, "timeline": None, "end_lsn": None, "error": error.message}
    return {"clean": control.clean, "timeline": control.timeline, "end_lsn": end.lsn, "error": None}


def settle_after_rejoin(unit: ProcessUnit, record_path: str, deadline: Deadline) -> None:
    """A member that follows the new primary starts at boot again, and its standby.signal is its own now."""
    record = FenceRecord.read(record_path)
    if record is None:
        return
    if record.start_at_boot_taken:
        unit.set_start_at_boot(True, deadline)
    os.unlink(record_path)
    sync_directory(os.path.dirname(record_path))


def judge(seen: State) -> Evidence:
    """The conditions of a fence, each with what was seen. All that are decisive must hold.

    Nothing is decisive about the process manager by itself: a dead supervisord keeps no server alive, and the
    processes are counted by the kernel.
    """
    process = seen["process"]
    comes_back = process["state"] in (RUNNING, STARTING, RESTARTING)
    return [
        {"check": "processes_gone", "holds": seen["processes"] == 0, "decisive": True, "seen": seen["processes"]},
        {"check": "port_closed", "holds": not seen["port_open"], "decisive": True, "seen": seen["port_open"]},
        {"check": "unit_stopped", "holds": not comes_back, "decisive": True, "seen": process["state"]},
        {
            # A directory that cannot be read cannot be started from either, until somebody mounts it again.
            "check": "starts_as_standby_only",
            "holds": seen["standby_signal"] or not seen["data_dir_readable"],
            "decisive": True,
            "seen": "standby.signal" if seen["standby_signal"] else "no standby.signal",
        },
        {
            "check": "not_started_at_boot",
            "holds": process["starts_at_boot"] is False,
            "decisive": False,
            "seen": process["starts_at_boot"],
        },
    ]


def is_fenced(evidence: Evidence) -> bool:
    """Every decisive condition holds."""
    return all(item["holds"] for item in evidence if item["decisive"])


def fence(
    member: Member,
    unit: ProcessUnit,
    record_path: str,
    grace_seconds: float,
    deadline: Deadline,
) -> None:
    """Do it. The order leaves no moment at which a restart would bring a primary back.

    :param grace_seconds: how long the server may take to stop in order; a stopped process gets none.
    :raises CodeblueError: the signal file cannot be written in a directory that can be read.
    """
    record = FenceRecord.read(record_path) or FenceRecord(member.data_dir, False, False)
    # The record comes before what it tells of: a fence that was cut off can be released as well.
    record = replace(record, signal_file_made=record.signal_file_made or lacks_standby_signal(member))
    record.write(record_path)
    place_standby_signal(member)
    _stop_by_manager(unit, record, record_path, deadline)
    _end_processes(member, grace_seconds, deadline)
    _wait_for_manager(unit, deadline)


def release(member: Member, unit: ProcessUnit, record_path: str, deadline: Deadline) -> None:
    """Take back what fencing changed for good. The server is not started."""
    record = FenceRecord.read(record_path)
    if record is None:
        return
    if server_processes(member.data_dir):
        raise Refused(
            "the server in %s runs again" % member.data_dir, "a member that was rejoined needs no release of its fence"
        )
    if record.data_dir != member.data_dir:
        raise CodeblueError("%s is about %s, not %s" % (record_path, record.data_dir, member.data_dir))
    if record.signal_file_made and os.path.exists(member.path("standby.signal")):
        os.unlink(member.path("standby.signal"))
        sync_directory(member.data_dir)
    if record.start_at_boot_taken:
        unit.set_start_at_boot(True, deadline)
    os.unlink(record_path)
    sync_directory(os.path.dirname(record_path))


def _stop_by_manager(unit: ProcessUnit, record: FenceRecord, record_path: str, deadline: Deadline) -> None:
    """Ask the manager to stop the unit, to leave it so and not to start it at boot.

    A manager that is dead brings nothing back, so its silence is no reason to stop here: `judge` tells it.
    """
    try:
        status = unit.status(deadline.within(_MANAGER_SECONDS))
        unit.request_stop(deadline.within(_MANAGER_SECONDS))
        if status.starts_at_boot:
            replace(record, start_at_boot_taken=True).write(record_path)
            unit.set_start_at_boot(False, deadline.within(_MANAGER_SECONDS))
    except CodeblueError:
        return


def _wait_for_manager(unit: ProcessUnit, deadline: Deadline) -> None:
    def settled() -> bool:
        try:
            return unit.status(deadline.within(_MANAGER_SECONDS)).state not in (
                RUNNING,
                STARTING,
                RESTARTING,
                "stopping",
            )
        except CodeblueError:
            return True  # it is silent; `look_at_fence` says so

    deadline.within(_MANAGER_SECONDS).wait_until(settled)


def _end_processes(member: Member, grace_seconds: float, deadline: Deadline) -> None:
    def gone() -> bool:
        return not server_processes(member.data_dir)

    first = postmaster(member.data_dir)
    hung = first is not None and first.state in STOPPED
    if first is not None and not hung:
        # Fast shutdown: sessions are ended, the last checkpoint is written, standbys get the rest of the log.
        first.kill(signal.SIGINT)
        if deadline.within(grace_seconds).wait_until(gone):
            return
        first.kill(signal.SIGQUIT)
        if deadline.within(min(1.0, grace_seconds)).wait_until(gone):
            return
    # The postmaster first, so that it starts no child anew. SIGKILL works on stopped processes; waking one with
    # SIGCONT might let it answer a client.
    for _round in range(3):
        for process in server_processes(member.data_dir):
            process.kill(signal.SIGKILL)
        if deadline.within(_KILL_SECONDS).wait_until(gone):
            return
