# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the kernel tells about the processes of a service: memory maps, open files, programs, sockets."""

from __future__ import annotations

import itertools
import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._proc import (
    ProcessInfo,
    list_processes,
    working_directory,
)

State = t.Dict[str, t.Any]

_MOST_MAPS = 4000
_MOST_FILES = 4000
_MOST_PROCESSES = 200
TCP_STATES = {"01": "ESTABLISHED", "02": "SYN_SENT", "06": "TIME_WAIT", "08": "CLOSE_WAIT", "0A": "LISTEN"}
_SOCKET = "socket:["


def with_descendants(pids: t.Sequence[int]) -> t.List[ProcessInfo]:
    """These processes and all that came out of them, bounded, the given ones first."""
    everything = list_processes()
    children: t.Dict[int, t.List[ProcessInfo]] = {}
    for process in everything:
        children.setdefault(process.ppid, []).append(process)
    found = [process for process in everything if process.pid in pids]
    for process in found:
        found += children.get(process.pid, [])
        if len(found) >= _MOST_PROCESSES:
            break
    return found[:_MOST_PROCESSES]


def process_state(process: ProcessInfo) -> State:
    """One process: what it runs, what it has open and what is mapped into it. No content of its memory."""
    folder = "/proc/%d/" % process.pid
    return {
        "pid": process.pid,
        "ppid": process.ppid,
        "name": process.name,
        "start_ticks": process.start_ticks,
        "program": _link(folder + "exe"),
        "working_directory": working_directory(process.pid),
        "control_groups": _lines(folder + "cgroup", 50),
        "owner": _owner(folder),
        "open_files": open_files(process.pid),
        "memory_map": _lines(folder + "maps", _MOST_MAPS),
    }


def connections(most: int) -> t.List[State]:
    """All TCP sockets that the kernel shows, each with the processes that hold it where this user may see them."""
    holders = _socket_holders()
    found: t.List[State] = []
    for name in ("tcp", "tcp6"):
        for fields in socket_lines("/proc/net/" + name):
            entry: State = {
                "local": endpoint(fields[1]),
                "remote": endpoint(fields[2]),
                "state": TCP_STATES.get(fields[3], fields[3]),
                "uid": int(fields[7]),
            }
            pids = holders.get(fields[9])
            if pids:
                entry["pids"] = pids
            found.append(entry)
            if len(found) >= most:
                return found
    return found


def socket_lines(path: str) -> t.Iterator[t.List[str]]:
    """The fields of every line of `/proc/net/tcp` or `tcp6`: 1 local, 2 remote, 3 state, 7 user, 9 inode."""
    if not os.path.exists(path):
        return
    with open(path, encoding="ascii") as stream:
        # The first line holds the names.
        stream.readline()
        for line in stream:
            yield line.split()


def _socket_holders() -> t.Dict[str, t.List[int]]:
    """Inode of a socket to the processes that have it open."""
    holders: t.Dict[str, t.List[int]] = {}
    for process in list_processes():
        for target in open_files(process.pid):
            if target.startswith(_SOCKET):
                pids = holders.setdefault(target[len(_SOCKET) : -1], [])
                if process.pid not in pids:
                    pids.append(process.pid)
    return holders


def open_files(pid: int) -> t.List[str]:
    """What a process has open, sockets as `socket:[inode]`; empty when it is gone or may not be looked at."""
    folder = "/proc/%d/fd" % pid
    try:
        names = os.listdir(folder)[:_MOST_FILES]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    targets = (_link("%s/%s" % (folder, name)) for name in sorted(names, key=int))
    return [target for target in targets if target is not None]


def _link(path: str) -> t.Optional[str]:
    try:
        return os.readlink(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _lines(path: str, most: int) -> t.List[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return [line.rstrip("\n") for line in itertools.islice(stream, most)]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _owner(folder: str) -> t.Optional[int]:
    try:
        return os.stat(folder).st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def endpoint(text: str) -> str:
    """`address:port` of /proc/net/tcp: words of 32 bits in the machine's byte order."""
    host, port = text.split(":")
    raw = b"".join(bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8))
    if len(raw) == 4:
        address = ".".join(str(byte) for byte in raw)
    else:
        address = "[%s]" % ":".join("%x" % int.from_bytes(raw[at : at + 2], "big") for at in range(0, 16, 2))
    return "%s:%d" % (address, int(port, 16))
