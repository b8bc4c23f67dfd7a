# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evidence from a machine before anything changes on it: bounded in time and in size."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import read_tail
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import command_line, list_processes

State = t.Dict[str, t.Any]
Collector = t.Callable[[], t.Any]

# What is returned may be so large, compressed and encoded; the answer travels over the connection of Ansible.
LARGEST_RESULT = 2 * 1024 * 1024
_MOST_PROCESSES = 2000
_MOST_CONNECTIONS = 5000
_HASH_BLOCK = 1 << 20
_TCP_STATES = {"01": "ESTABLISHED", "02": "SYN_SENT", "06": "TIME_WAIT", "08": "CLOSE_WAIT", "0A": "LISTEN"}


class EvidenceCollector:
    """Collects part after part; what does not fit into the time or the size is named, not silently left out.

    :param seconds: for everything.
    :param bytes_per_log: from the end of each log.
    """

    def __init__(self, seconds: float, bytes_per_log: int) -> None:
        self._deadline = Deadline(seconds)
        self._bytes_per_log = bytes_per_log
        self._parts: t.Dict[str, t.Any] = {}
        self.left_out: t.List[str] = []

    def collect(self, log_files: t.Sequence[str], hashed_files: t.Sequence[str], disks: t.Sequence[str]) -> None:
        """Everything, the most fleeting first."""
        self._part("processes", _processes)
        self._part("connections", _connections)
        self._part("load", lambda: _load(disks))
        for path in log_files:
            self._part("log:" + path, lambda path=path: self._log(path))  # type: ignore[misc]
        for path in hashed_files:
            self._part("file:" + path, lambda path=path: self._hash(path))  # type: ignore[misc]

    def pack(self) -> t.Tuple[str, State]:
        """The parts, compressed and encoded, with a summary that holds hashes and sizes only.

        The largest logs are dropped until the rest fits.
        """
        while True:
            document = json.dumps(self._parts, sort_keys=True).encode()
            encoded = base64.b64encode(gzip.compress(document, compresslevel=6, mtime=0)).decode()
            if len(encoded) <= LARGEST_RESULT:
                break
            largest = max(self._parts, key=lambda name: len(json.dumps(self._parts[name])))
            del self._parts[largest]
            self.left_out.append(largest)
        summary = {
            "sha256": hashlib.sha256(document).hexdigest(),
            "bytes": len(document),
            "parts": {name: _summary(part) for name, part in sorted(self._parts.items())},
            "left_out": sorted(self.left_out),
            "seconds": round(self._deadline.elapsed(), 3),
        }
        return encoded, summary

    def _part(self, name: str, collect: Collector) -> None:
        if self._deadline.expired:
            self.left_out.append(name)
            return
        try:
            self._parts[name] = collect()
        except OSError as error:
            self._parts[name] = {"error": error.strerror or str(error)}
        except _OutOfTime:
            self.left_out.append(name)

    def _log(self, path: str) -> State:
        if not os.path.isfile(path):
            return {"error": "no regular file"}
        return {"bytes": os.path.getsize(path), "tail": read_tail(path, self._bytes_per_log).decode(errors="replace")}

    def _hash(self, path: str) -> State:
        if not os.path.isfile(path):
            return {"error": "no regular file"}
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(_HASH_BLOCK), b""):
                digest.update(block)
                if self._deadline.expired:
                    raise _OutOfTime
        status = os.stat(path)
        return {"sha256": digest.hexdigest(), "bytes": status.st_size, "modified_at": status.st_mtime}


class _OutOfTime(Exception):
    """The deadline came in the middle of a part."""


def _summary(part: t.Any) -> State:
    text = json.dumps(part, sort_keys=True).encode()
    return {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}


def _processes() -> t.List[State]:
    return [
        {
            "pid": process.pid,
            "ppid": process.ppid,
            "name": process.name,
            "state": process.state,
            "start_ticks": process.start_ticks,
            "arguments": command_line(process.pid, 1024),
        }
        for process in list_processes()[:_MOST_PROCESSES]
    ]


def _connections() -> t.List[State]:
    found = []
    for name in ("tcp", "tcp6"):
        path = "/proc/net/" + name
        if not os.path.exists(path):
            continue
        with open(path, encoding="ascii") as stream:
            next(stream)
            for line in stream:
                fields = line.split()
                found.append(
                    {
                        "local": _endpoint(fields[1]),
                        "remote": _endpoint(fields[2]),
                        "state": _TCP_STATES.get(fields[3], fields[3]),
                        "uid": int(fields[7]),
                    }
                )
                if len(found) >= _MOST_CONNECTIONS:
                    return found
    return found


def _endpoint(text: str) -> str:
    """An address of /proc/net/tcp: words of 32 bits in the machine's byte order."""
    host, port = text.split(":")
    raw = b"".join(bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8))
    if len(raw) == 4:
        address = ".".join(str(byte) for byte in raw)
    else:
        address = "[%s]" % ":".join("%x" % int.from_bytes(raw[at : at + 2], "big") for at in range(0, 16, 2))
    return "%s:%d" % (address, int(port, 16))


def _load(disks: t.Sequence[str]) -> State:
    with open("/proc/meminfo", encoding="ascii") as stream:
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream if len(line.split()) > 1}
    load: State = {
        "load_average": list(os.getloadavg()),
        "memory_bytes": {name: memory.get(name) for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")},
        "disks": {},
    }
    for path in disks:
        try:
            disk = os.statvfs(path)
        except OSError as error:
            load["disks"][path] = {"error": error.strerror}
            continue
        load["disks"][path] = {"bytes": disk.f_blocks * disk.f_frsize, "free_bytes": disk.f_bavail * disk.f_frsize}
    return load
