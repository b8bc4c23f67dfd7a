# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes as the kernel shows them under /proc."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

ZOMBIE = "Z"
STOPPED = frozenset("Tt")


@dataclass(frozen=True)
class ProcessInfo:
    """One process.

    :param state: letter of the kernel: R running, S sleeping, D uninterruptible, T stopped, Z zombie.
    :param start_ticks: start in clock ticks since boot; with the pid it names one process for good.
    """

    pid: int
    ppid: int
    name: str
    state: str
    start_ticks: int

    @property
    def started_at(self) -> float:
        """Unix seconds of its start, by today's reading of the wall clock."""
        return boot_time() + self.start_ticks / float(os.sysconf("SC_CLK_TCK"))

    @property
    def gone(self) -> bool:
        """It no longer exists, or is a zombie that holds nothing but its entry."""
        now = read_process(self.pid)
        return now is None or now.start_ticks != self.start_ticks or now.state == ZOMBIE

    @property
    def gone_for_good(self) -> bool:
        """Its parent has reaped it too."""
        now = read_process(self.pid)
        return now is None or now.start_ticks != self.start_ticks

    def kill(self, signal_number: int) -> bool:
        """Send a signal to this very process, not to one that got its number later.

        :return: False when it was gone already.
        """
        if self.gone:
            return False
        try:
            os.kill(self.pid, signal_number)
        except ProcessLookupError:
            return False
        return True


def boot_time() -> float:
    """Unix seconds of the start of the machine."""
    with open("/proc/stat", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("btime "):
                return float(line.split()[1])
    raise OSError("/proc/stat names no btime")


def read_process(pid: int) -> t.Optional[ProcessInfo]:
    """The process with this number, or None."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            text = stream.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold blanks and parentheses.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessInfo(pid=pid, ppid=int(fields[1]), name=name, state=fields[0], start_ticks=int(fields[19]))


def list_processes() -> t.List[ProcessInfo]:
    """All processes that this user may see."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            process = read_process(int(entry))
            if process is not None:
                found.append(process)
    return found


def command_line(pid: int, limit: int = 4096) -> t.List[str]:
    """The arguments of a process; empty when it is gone or belongs to the kernel."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as stream:
            return [part.decode(errors="replace") for part in stream.read(limit).split(b"\0") if part]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def working_directory(pid: int) -> t.Optional[str]:
    """Where a process works; None when it is gone or may not be looked at."""
    try:
        return os.readlink("/proc/%d/cwd" % pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
