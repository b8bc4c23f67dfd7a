# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes the processor away from a job that runs wild: for the time being, or for good."""

from __future__ import annotations

import os
import signal
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import STOPPED, ProcessInfo, read_process

# With SCHED_IDLE a process runs when nobody else wants to, whatever its niceness.
_POLICIES = {"other": os.SCHED_OTHER, "batch": os.SCHED_BATCH, "idle": os.SCHED_IDLE}
_NAMES = {value: name for name, value in _POLICIES.items()}


@dataclass(frozen=True)
class Known:
    """One process for good: a number that was given to another one meanwhile is not it."""

    pid: int
    start_ticks: int

    def find(self) -> t.Optional[ProcessInfo]:
        """Itself, None when it is gone."""
        found = read_process(self.pid)
        return found if found is not None and found.start_ticks == self.start_ticks and not found.gone else None


def group_of(leader: Known, essential: t.Mapping[int, str]) -> t.List[ProcessInfo]:
    """The leader's process group as it is now; empty when the leader and all its workers are gone.

    :raises Refused: one of them belongs to a unit that the site needs, or to whoever asks.
    """
    members = [info for pid in _pids() for info in [read_process(pid)] if info is not None and not info.gone]
    groups = {info.pid: _group(info.pid) for info in members}
    if leader.find() is not None:
        wanted = groups.get(leader.pid)
    else:
        # Workers live on in the group of a leader that has ended; its number cannot be given away meanwhile.
        wanted = leader.pid if read_process(leader.pid) is None else None
    found = [info for info in members if wanted is not None and groups[info.pid] == wanted]
    ancestors = _own_ancestors()
    for info in found:
        if info.pid in essential:
            raise Refused(
                "process %d (%s) belongs to %s, which the site needs" % (info.pid, info.name, essential[info.pid]),
                "find out why that service takes the processor; it is not to be slowed down",
            )
        if info.pid in ancestors:
            raise Refused("process %d (%s) is what carries out this step" % (info.pid, info.name))
    return sorted(found, key=lambda info: info.pid)


def describe(info: ProcessInfo) -> t.Dict[str, t.Any]:
    """How a process is scheduled now."""
    try:
        policy, nice = os.sched_getscheduler(info.pid), os.getpriority(os.PRIO_PROCESS, info.pid)
    except ProcessLookupError:
        return {"pid": info.pid, "start_ticks": info.start_ticks, "name": info.name, "policy": "gone", "nice": 0}
    return {
        "pid": info.pid,
        "start_ticks": info.start_ticks,
        "name": info.name,
        "policy": _NAMES.get(policy, str(policy)),
        "nice": nice,
        "stopped": info.state in STOPPED,
    }


def set_policy(info: ProcessInfo, policy: str) -> None:
    """For every thread of it.

    :raises CodeblueError: the kernel refuses.
    """
    for task in _tasks(info):
        try:
            os.sched_setscheduler(task, _POLICIES[policy], os.sched_param(0))
        except ProcessLookupError:
            continue  # a thread that has ended
        except PermissionError as error:
            raise CodeblueError(
                "process %d cannot be set to the policy %s: %s" % (info.pid, policy, error.strerror),
                "run the module as root: ansible_become",
            ) from error


def end(processes: t.Sequence[ProcessInfo], deadline: Deadline) -> t.List[ProcessInfo]:
    """SIGTERM, and SIGKILL for what is left after half of the time; returns what does not end."""
    for info in processes:
        info.kill(signal.SIGTERM)
        info.kill(signal.SIGCONT)

    def gone() -> bool:
        return all(info.gone for info in processes)

    if not deadline.within(deadline.remaining() / 2).wait_until(gone, 0.03):
        for info in processes:
            info.kill(signal.SIGKILL)
        deadline.wait_until(gone, 0.03)
    return [info for info in processes if not info.gone]


def _tasks(info: ProcessInfo) -> t.List[int]:
    try:
        return [int(entry) for entry in os.listdir("/proc/%d/task" % info.pid)]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pids() -> t.Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _group(pid: int) -> t.Optional[int]:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _own_ancestors() -> t.Set[int]:
    found, pid = set(), os.getpid()
    while pid and pid not in found:
        found.add(pid)
        info = read_process(pid)
        pid = info.ppid if info is not None else 0
    return found
