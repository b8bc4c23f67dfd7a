"""Processes of a run, found by a mark in their environment that every child inherits.

Only ansible-playbook and its workers are looked at. What a module started may carry the mark as well, and may be
the very database that was recovered: it is none of ours to end.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_SECONDS = 0.05
RUN_VARIABLE = "CODEBLUE_RUN_ID"
# Workers are forks and keep the command line.
_PROGRAM = b"ansible-playbook"


@dataclass(frozen=True)
class Process:
    """A running process of this user.

    :param started: tells it from a later one with the same number.
    """

    pid: int
    parent: int
    started: str


def start_of(pid: int) -> str:
    """When a process started, in clock ticks since the boot; empty where the system does not say."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def is_running(pid: int, started: str) -> bool:
    """Whether this very process still runs."""
    fields = _stat(pid)
    if fields is None:
        return not _PROC.joinpath("self").exists() and _answers(pid)
    return fields[0] not in "ZX" and (not started or fields[19] == started)


def seconds_since_start() -> float | None:
    """For how long this process has been running, the start of the interpreter included; None if unknown."""
    fields = _stat(os.getpid())
    if fields is None:
        return None
    uptime = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
    return max(0.0, uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def processes_of_run(run_id: str) -> list[Process]:
    """The ansible-playbook of a run and its workers, as far as they belong to this user."""
    return processes_with(RUN_VARIABLE, run_id)


def processes_with(variable: str, prefix: str) -> list[Process]:
    """Processes of ansible-playbook whose environment has the variable with a value that starts so."""
    needle = f"{variable}={prefix}".encode()
    found = []
    if not _PROC.is_dir():
        return []
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (_PROC / entry.name / "environ").read_bytes()
            command = (_PROC / entry.name / "cmdline").read_bytes()
        except OSError:
            # Another user's, or just gone.
            continue
        if _PROGRAM not in command or not any(setting.startswith(needle) for setting in environment.split(b"\0")):
            continue
        fields = _stat(int(entry.name))
        if fields is not None and fields[0] not in "ZX":
            found.append(Process(int(entry.name), int(fields[1]), fields[19]))
    return found


def heads(processes: list[Process]) -> list[Process]:
    """Those whose parent is not among them: the ansible-playbook of a run, or workers that outlived it."""
    pids = {process.pid for process in processes}
    return [process for process in processes if process.parent not in pids]


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal, unless the process has gone."""
    if is_running(process.pid, process.started):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return


def wait_for_end(run_id: str, seconds: float) -> list[Process]:
    """Wait until no process of the run is left.

    :returns: what still runs after that time.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = processes_of_run(run_id)
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(_POLL_SECONDS)


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, …, the 20th is the start (proc_pid_stat(5))."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
