# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which process did it: an identity that survives reuse of process numbers, and an end for what it left behind."""

from __future__ import annotations

import functools
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class _Stat:
    """The fields of /proc/PID/stat that matter here (proc_pid_stat(5): 3, 4, 6 and 22)."""

    pid: int
    state: str
    parent: int
    session: int
    started: str

    @property
    def ended(self) -> bool:
        # A zombie does nothing any more; it only waits for its parent to look.
        return self.state in "ZXx"


@dataclass(frozen=True)
class ProcessIdentity:
    """One process on one boot of one host.

    :param host: the host's name.
    :param boot_id: the kernel's boot id and the process-number namespace, because containers share the former.
    :param pid: the process number.
    :param started: its start in clock ticks since the boot, as the kernel says it.
    """

    host: str
    boot_id: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The identity of a running process.

        :raises ProcessLookupError: there is no such process.
        """
        stat = _read_stat(pid)
        if stat is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(socket.gethostname(), _boot_id(), pid, stat.started)

    @classmethod
    def current(cls) -> ProcessIdentity:
        return cls.of(os.getpid())

    @classmethod
    def parent(cls) -> ProcessIdentity:
        return cls.of(os.getppid())

    def is_alive(self) -> bool | None:
        """Whether it still runs; None when that cannot be seen from here."""
        if self.host != socket.gethostname():
            return None
        here_boot, _colon, here_namespace = _boot_id().partition(":")
        its_boot, _colon, its_namespace = self.boot_id.partition(":")
        if its_boot != here_boot:
            return False
        if its_namespace != here_namespace:
            return None
        stat = _read_stat(self.pid)
        return stat is not None and stat.started == self.started and not stat.ended

    def descendants(self) -> list[ProcessIdentity]:
        """What it started, and everything in the sessions led by it or by those.

        An ansible worker leads a session of its own, so the tree alone would miss what a dead worker started.
        Only processes of this user on this host are found; this process and its ancestors never are.
        """
        if self.is_alive() is None:
            return []
        running = _own_processes()
        found = {self.pid}
        while True:
            more = {
                stat.pid
                for stat in running.values()
                if stat.pid not in found
                and int(stat.started) >= int(self.started)
                and (stat.parent in found or stat.session in found)
            }
            if not more:
                break
            found |= more
        if not self.is_alive():
            # The number of a session's dead leader is not given out again while the session has members.
            recycled = running.get(self.pid)
            if recycled is not None and recycled.started != self.started:
                return []
        spared = _self_and_ancestors() | {self.pid}
        return [
            ProcessIdentity(self.host, self.boot_id, pid, running[pid].started)
            for pid in sorted(found - spared)
            if not running[pid].ended
        ]


def end_process_tree(identity: ProcessIdentity, wait_seconds: float) -> list[ProcessIdentity]:
    """End a process, its descendants and the members of their sessions.

    All get SIGTERM; what is left after half of the time gets SIGKILL.

    :param wait_seconds: the most that this takes.
    :returns: what still runs afterwards; empty means that all have ended. A tree that this process is part of is
        left alone.
    """
    deadline = time.monotonic() + wait_seconds
    if identity.is_alive() and identity.pid in _self_and_ancestors():
        return [identity]
    targets = dict.fromkeys(identity.descendants())
    if identity.is_alive():
        targets[identity] = None
    for number, until in ((signal.SIGTERM, deadline - wait_seconds / 2), (signal.SIGKILL, deadline)):
        for target in list(targets):
            targets.update(dict.fromkeys(target.descendants()))
        for target in targets:
            _send(target, number)
        while any(target.is_alive() for target in targets) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
    return [target for target in targets if target.is_alive()]


def _send(target: ProcessIdentity, number: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return
    try:
        # The handle pins the process: checked after opening, the signal cannot reach a later one of that number.
        if target.is_alive():
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


@functools.lru_cache(maxsize=4)
def _kernel_boot_id(_pid: int) -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{os.stat(_PROC / 'self/ns/pid').st_ino}"  # noqa: PTH116 - follows the link of the namespace


def _boot_id() -> str:
    return _kernel_boot_id(os.getpid())


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return _Stat(pid, fields[0], int(fields[1]), int(fields[3]), fields[19])


def _own_processes() -> dict[int, _Stat]:
    found: dict[int, _Stat] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != os.geteuid():
                continue
        except (FileNotFoundError, ProcessLookupError):
            continue
        stat = _read_stat(int(entry.name))
        if stat is not None:
            found[stat.pid] = stat
    return found


def _self_and_ancestors() -> set[int]:
    chain: set[int] = {0, 1}
    pid = os.getpid()
    while pid not in chain:
        chain.add(pid)
        stat = _read_stat(pid)
        if stat is None:
            break
        pid = stat.parent
    return chain
