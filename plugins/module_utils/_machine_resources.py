# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What takes a machine's processors, memory, disks and connections, read from /proc and nowhere else."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import working_directory

State = t.Dict[str, t.Any]

# A table of connections is read up to this size; beyond it the counts are of its beginning and marked so.
_LARGEST_TABLE = 32 * 1024 * 1024
_ESTABLISHED = "01"
_LONGEST_NAME = 64


@dataclass(frozen=True)
class ProcessUsage:
    """One process at one moment.

    :param group: its process group, by which the workers of one job belong together.
    :param ticks: processor time so far, in clock ticks.
    :param resident: bytes of memory.
    """

    pid: int
    group: int
    name: str
    start_ticks: int
    ticks: int
    resident: int


@dataclass(frozen=True)
class GroupUsage:
    """The processes of one process group between two moments.

    :param leader: the process that gave the group its number, or its oldest one when that is gone.
    :param processors: how many processors it kept busy, 1.0 for one.
    """

    leader: ProcessUsage
    processes: t.Tuple[ProcessUsage, ...]
    processors: float

    def as_dict(self, essential: t.Mapping[int, str]) -> State:
        """For results: no arguments, which may hold secrets and names of patients."""
        protected = sorted({essential[each.pid] for each in self.processes if each.pid in essential})
        return {
            "pid": self.leader.pid,
            "start_ticks": self.leader.start_ticks,
            "group": self.leader.group,
            "name": self.leader.name,
            "processes": len(self.processes),
            "processors": round(self.processors, 3),
            "resident_bytes": sum(each.resident for each in self.processes),
            "essential": protected[0] if protected else None,
        }


def processes_of(below: t.Optional[str]) -> t.Dict[int, ProcessUsage]:
    """All processes, or those that work below a directory.

    :param below: for several machines that share one host; None for all.
    """
    root = os.path.realpath(below) if below else None
    page = os.sysconf("SC_PAGE_SIZE")
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        usage = _usage(int(entry), page)
        if usage is not None and (root is None or _works_below(usage.pid, root)):
            found[usage.pid] = usage
    return found


def busiest_groups(
    before: t.Mapping[int, ProcessUsage], after: t.Mapping[int, ProcessUsage], seconds: float
) -> t.List[GroupUsage]:
    """Process groups by the processor time that they took in between, the busiest first."""
    ticks_per_second = float(os.sysconf("SC_CLK_TCK"))
    members: t.Dict[int, t.List[ProcessUsage]] = {}
    spent: t.Dict[int, int] = {}
    for usage in after.values():
        earlier = before.get(usage.pid)
        known = earlier is not None and earlier.start_ticks == usage.start_ticks
        members.setdefault(usage.group, []).append(usage)
        spent[usage.group] = spent.get(usage.group, 0) + usage.ticks - (earlier.ticks if known and earlier else 0)
    groups = [
        GroupUsage(_leader(group, processes), tuple(processes), spent[group] / ticks_per_second / seconds)
        for group, processes in members.items()
    ]
    return sorted(groups, key=lambda each: (-each.processors, each.leader.pid))


def _leader(group: int, processes: t.Sequence[ProcessUsage]) -> ProcessUsage:
    for process in processes:
        if process.pid == group:
            return process
    return min(processes, key=lambda each: (each.start_ticks, each.pid))


def _usage(pid: int, page: int) -> t.Optional[ProcessUsage]:
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            text = stream.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name stands in parentheses and may itself hold blanks and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessUsage(
        pid=pid,
        group=int(fields[2]),
        name=text[text.index("(") + 1 : text.rindex(")")][:_LONGEST_NAME],
        start_ticks=int(fields[19]),
        ticks=int(fields[11]) + int(fields[12]),
        resident=int(fields[21]) * page,
    )


def _works_below(pid: int, root: str) -> bool:
    directory = working_directory(pid)
    return directory is not None and (directory == root or directory.startswith(root + os.sep))


@dataclass(frozen=True)
class ProcessorTimes:
    """Ticks of each processor since the machine started: all, and idle."""

    total: t.Mapping[int, int]
    idle: t.Mapping[int, int]


def processor_times() -> ProcessorTimes:
    """The processors' counters as they are now."""
    total, idle = {}, {}
    with open("/proc/stat", encoding="ascii") as stream:
        for line in stream:
            words = line.split()
            if words and words[0].startswith("cpu") and words[0] != "cpu":
                # Guest time is counted in user time already.
                counters = [int(word) for word in words[1:9]]
                number = int(words[0][3:])
                total[number] = sum(counters)
                idle[number] = counters[3] + counters[4]
    return ProcessorTimes(total, idle)


def busy_share(before: ProcessorTimes, after: ProcessorTimes, processors: t.Collection[int]) -> float:
    """How much of these processors was busy in between, 1.0 when all were all the time."""
    total = sum(after.total[each] - before.total.get(each, 0) for each in processors if each in after.total)
    idle = sum(after.idle[each] - before.idle.get(each, 0) for each in processors if each in after.idle)
    return min(1.0, max(0.0, 1.0 - idle / float(total))) if total > 0 else 0.0


def allowed_processors(pids: t.Iterable[int]) -> t.Set[int]:
    """The processors that at least one of these processes may run on."""
    found: t.Set[int] = set()
    for pid in pids:
        try:
            found |= os.sched_getaffinity(pid)
        except (ProcessLookupError, PermissionError):
            continue  # gone, or not ours to ask: the others tell
    return found


def memory() -> State:
    """Bytes of memory, and the share that programs cannot have any more."""
    values = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            name, _colon, rest = line.partition(":")
            values[name] = int(rest.split()[0]) * 1024
    total, available = values["MemTotal"], values.get("MemAvailable", values["MemFree"])
    return {
        "total_bytes": total,
        "available_bytes": available,
        "used": round(1.0 - available / float(total), 4),
        "swap_used_bytes": values.get("SwapTotal", 0) - values.get("SwapFree", 0),
    }


def disk(path: str) -> State:
    """How full the file system of a path is, as `df` has it: blocks kept for root count as used up."""
    try:
        found = os.statvfs(path)
    except FileNotFoundError:
        raise BadInput("disks: there is no %s on this machine" % path, "name a directory of it") from None
    used = found.f_blocks - found.f_bfree
    usable = used + found.f_bavail
    return {
        "path": path,
        "total_bytes": found.f_blocks * found.f_frsize,
        "available_bytes": found.f_bavail * found.f_frsize,
        "used": round(used / float(usable), 4) if usable else 0.0,
    }


def load() -> t.List[float]:
    """Load of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def connections_to(ports: t.Collection[int], most_sources: int) -> State:
    """Established connections to local ports, by the address that they come from.

    Those that wait to be accepted are among them: in a storm that is where people wait.
    """
    counts: t.Dict[int, t.Dict[str, int]] = {port: {} for port in ports}
    for path, decode in (("/proc/net/tcp", _ipv4), ("/proc/net/tcp6", _ipv6)):
        for local, remote, state in _table(path):
            port = int(local.rpartition(":")[2], 16)
            if state == _ESTABLISHED and port in counts:
                source = decode(remote.partition(":")[0])
                counts[port][source] = counts[port].get(source, 0) + 1
    return {
        str(port): {
            "total": sum(sources.values()),
            "sources": dict(sorted(sources.items(), key=lambda each: (-each[1], each[0]))[:most_sources]),
        }
        for port, sources in counts.items()
    }


def _table(path: str) -> t.Iterator[t.Tuple[str, str, str]]:
    try:
        with open(path, encoding="ascii") as stream:
            text = stream.read(_LARGEST_TABLE)
    except FileNotFoundError:
        return  # a kernel without IPv6
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3:
            yield words[1], words[2], words[3]


def _ipv4(text: str) -> str:
    # The kernel prints the address as a number of the machine's own byte order.
    return socket.inet_ntop(socket.AF_INET, struct.pack("=I", int(text, 16)))


def _ipv6(text: str) -> str:
    packed = b"".join(struct.pack("=I", int(text[start : start + 8], 16)) for start in range(0, 32, 8))
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def sample(
    below: t.Optional[str], seconds: float
) -> t.Tuple[t.List[GroupUsage], float, t.Set[int], t.Dict[int, ProcessUsage]]:
    """Watch for a while: busiest groups, busy share of the processors that count, those, and the processes."""
    first, times = processes_of(below), processor_times()
    started = time.monotonic()
    time.sleep(seconds)
    second, later = processes_of(below), processor_times()
    took = time.monotonic() - started
    processors = allowed_processors(second) if below else set(later.total)
    return busiest_groups(first, second, took), busy_share(times, later, processors), processors, second
