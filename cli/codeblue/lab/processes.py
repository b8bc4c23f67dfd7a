"""The lab's own processes: found by what they are, ended without ever hitting a recycled process id."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the environment of supervisord and so of everything that it starts; the value is the lab's directory.
MARKER = "CODEBLUE_LAB_PROCESS_OF"

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from a later one with the same id by its start time.

    :param start_ticks: clock ticks since boot (field 22 of /proc/<pid>/stat).
    """

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class ProcessFacts:
    """What /proc says of a process at one moment."""

    identity: ProcessIdentity
    parent: int
    state: str


def facts(pid: int) -> ProcessFacts | None:
    """None when there is no such process (a zombie counts as none: it cannot act any more)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold blanks and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    return ProcessFacts(ProcessIdentity(pid, int(fields[19])), int(fields[1]), fields[0])


def identity(pid: int) -> ProcessIdentity | None:
    found = facts(pid)
    return found.identity if found else None


def is_running(process: ProcessIdentity) -> bool:
    return identity(process.pid) == process


def send(process: ProcessIdentity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process.

    The pidfd pins the process before its start time is compared, so a recycled id is never hit.
    :returns: False when the process was gone already.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if identity(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(processes: Iterable[ProcessIdentity], seconds: float) -> list[ProcessIdentity]:
    """Wait until all have ended; returns those that are still there after `seconds`."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while True:
        left = [process for process in left if is_running(process)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.01)


def descendants(pid: int) -> list[ProcessIdentity]:
    """All processes below `pid`, children before grandchildren."""
    children: dict[int, list[ProcessFacts]] = {}
    for found in _all_facts():
        children.setdefault(found.parent, []).append(found)
    below: list[ProcessIdentity] = []
    queue = [pid]
    while queue:
        for child in children.get(queue.pop(0), []):
            below.append(child.identity)
            queue.append(child.identity.pid)
    return below


def processes_of(directory: Path) -> list[ProcessIdentity]:
    """Every process of the lab in `directory`, also after a crash of supervisord or of the lab itself.

    Ours is what carries the lab's marker in its environment. PostgreSQL overwrites its environment with its
    title, so a `postgres` binary that works inside the lab's machines is ours too; a person's shell in the lab's
    directory is neither.
    """
    marker = f"{MARKER}={directory}".encode()
    machines = directory / "machines"
    own = os.getpid()
    return [
        found.identity
        for found in _all_facts()
        if found.identity.pid != own and (_has_marker(found.identity.pid, marker) or _is_postgres_in(found, machines))
    ]


def postgres_processes(data_dir: Path) -> list[ProcessIdentity]:
    """The postmaster of this data directory and all its children, also those that it left behind."""
    return [found.identity for found in _all_facts() if _is_postgres_in(found, data_dir)]


def end(processes: Sequence[ProcessIdentity], number: signal.Signals, seconds: float) -> list[ProcessIdentity]:
    """Signal each, wait up to `seconds`, and return those that are left.

    Stopped processes are continued as well, as they would otherwise sleep on any signal but SIGKILL.
    """
    for process in processes:
        send(process, number)
        if number is not signal.SIGKILL:
            send(process, signal.SIGCONT)
    return wait_gone(processes, seconds)


@contextmanager
def interruptions_as_exceptions() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does, so that `finally` runs."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in previous:
            signal.signal(number, interrupt)
    except ValueError:
        # Handlers can be set in the main thread only; in another one the caller has its own way of ending.
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _all_facts() -> list[ProcessFacts]:
    found = (facts(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [each for each in found if each]


def _has_marker(pid: int, marker: bytes) -> bool:
    try:
        return marker in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # Gone meanwhile, or another user's and so not of a lab of ours.
        return False


def _is_postgres_in(found: ProcessFacts, directory: Path) -> bool:
    entry = _PROC / str(found.identity.pid)
    try:
        if (entry / "exe").readlink().name.removesuffix(" (deleted)") != "postgres":
            return False
        working_directory = Path(str((entry / "cwd").readlink()).removesuffix(" (deleted)"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return working_directory.is_relative_to(directory)
