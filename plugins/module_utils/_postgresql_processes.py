# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The processes of one data directory, so that never a process of another server is touched."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_connection import marked_connection
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import (
    STOPPED,
    ZOMBIE,
    ProcessInfo,
    list_processes,
    read_process,
    working_directory,
)

# The names under which servers of the common distributions run.
_SERVER_NAMES = frozenset(("postgres", "postmaster", "edb-postgres"))
# The pid file holds whole seconds, written a moment after the start; /proc is as exact as the clock ticks. A wall
# clock that was set meanwhile moves them apart, so a difference alone proves nothing: the working directory does.
_START_TOLERANCE_SECONDS = 5.0


@dataclass(frozen=True)
class PostmasterFile:
    """postmaster.pid in the data directory, which outlives a crash.

    :param started_at: Unix seconds, by the clock of that time.
    """

    pid: int
    data_dir: str
    started_at: int


def read_postmaster_file(data_dir: str) -> t.Optional[PostmasterFile]:
    """The file, or None when it is missing or cut short.

    :raises OSError: it is there and cannot be read.
    """
    try:
        with open(os.path.join(data_dir, "postmaster.pid"), encoding="utf-8", errors="replace") as stream:
            lines = stream.read(4096).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < 3 or not lines[0].strip().lstrip("-").isdigit() or not lines[2].strip().isdigit():
        return None
    # A negative number is a standalone backend.
    return PostmasterFile(pid=abs(int(lines[0])), data_dir=lines[1].strip(), started_at=int(lines[2]))


def server_processes(data_dir: str) -> t.List[ProcessInfo]:
    """Every process of the server in this data directory, the postmaster first.

    A server works in its data directory, and so do its children; that holds also when postmaster.pid is lost,
    when the directory was removed under it, and when the postmaster died before its children.
    """
    places = {os.path.realpath(data_dir), data_dir}
    places |= {place + " (deleted)" for place in places}
    found = [
        process
        for process in list_processes()
        if process.name in _SERVER_NAMES and process.state != ZOMBIE and working_directory(process.pid) in places
    ]
    pids = {process.pid for process in found}
    return sorted(found, key=lambda process: (process.ppid in pids, process.pid))


def postmaster(data_dir: str) -> t.Optional[ProcessInfo]:
    """The living postmaster of the data directory, or None."""
    running = server_processes(data_dir)
    if not running:
        return None
    pids = {process.pid for process in running}
    named = read_postmaster_file(data_dir)
    for process in running:
        if named is not None and process.pid == named.pid:
            return process
    first = running[0]
    # Children that outlived their postmaster are no server.
    has_children = any(process.ppid == first.pid for process in running)
    return first if has_children and first.ppid not in pids else None


def describe_postmaster(data_dir: str) -> t.Dict[str, t.Any]:
    """What the pid file and the kernel say, for results."""
    try:
        named = read_postmaster_file(data_dir)
    except OSError as error:
        return {"alive": None, "pid": None, "state": None, "pid_file": "unreadable: %s" % error.strerror}
    living = postmaster(data_dir)
    if living is None:
        entry = read_process(named.pid) if named is not None else None
        return {
            "alive": False,
            "pid": named.pid if named else None,
            "state": ZOMBIE if entry is not None and entry.state == ZOMBIE else None,
            "pid_file": "stale" if named else "missing",
        }
    agrees = named is not None and named.pid == living.pid
    exact = agrees and named is not None and abs(living.started_at - named.started_at) <= _START_TOLERANCE_SECONDS
    return {
        "alive": True,
        "pid": living.pid,
        "state": living.state,
        "stopped_by_signal": living.state in STOPPED,
        "started_at": round(living.started_at, 2),
        "pid_file": "agrees" if exact else "agrees, but the clock was set" if agrees else "names another process",
    }


def port_accepts(address: str, port: int, deadline: Deadline) -> bool:
    """A TCP connection is taken, by whichever process listens."""
    try:
        # A server in quarantine is seen to work, too.
        with marked_connection(address, port, max(0.01, deadline.remaining())):
            return True
    except OSError:
        return False
