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
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._evidence_processes import (
    connections,
    process_state,
    with_descendants,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import command_line, list_processes

State = t.Dict[str, t.Any]
Collector = t.Callable[[], t.Any]

# What is returned may be so large, compressed and encoded; the answer travels over the connection of Ansible.
LARGEST_RESULT = 2 * 1024 * 1024
_MOST_PROCESSES = 2000
_MOST_CONNECTIONS = 5000
_HASH_BLOCK = 1 << 20
_MOST_HASHED_FILES = 2000


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

    def collect(
        self,
        log_files: t.Sequence[str],
        hashed_files: t.Sequence[str],
        disks: t.Sequence[str],
        main_pids: t.Optional[t.Callable[[], t.Sequence[int]]] = None,
    ) -> None:
        """Everything, the most fleeting first.

        :param hashed_files: files, or directories with all files below them.
        :param main_pids: gives the main processes of the units whose memory maps and open files matter.
        """
        self._part("connections", lambda: connections(_MOST_CONNECTIONS))
        self._part("processes", _processes)
        if main_pids is not None:
            self._part("service_processes", lambda: [process_state(each) for each in with_descendants(main_pids())])
        self._part("load", lambda: _load(disks))
        for path in log_files:
            self._part("log:" + path, lambda path=path: self._log(path))  # type: ignore[misc]
        for path in hashed_files:
            self._part("file:" + path, lambda path=path: self._hashes(path))  # type: ignore[misc]

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
        except CodeblueError as error:
            self._parts[name] = {"error": error.message}
        except _OutOfTime:
            self.left_out.append(name)

    def _log(self, path: str) -> State:
        if not os.path.isfile(path):
            return {"error": "no regular file"}
        return {"bytes": os.path.getsize(path), "tail": read_tail(path, self._bytes_per_log).decode(errors="replace")}

    def _hashes(self, path: str) -> State:
        """Of a file, or of the files below a directory by their path in it."""
        if not os.path.isdir(path):
            return self._hash(path)
        found: State = {}
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                place = os.path.join(folder, name)
                if os.path.islink(place):
                    found[os.path.relpath(place, path)] = {"link": os.readlink(place)}
                else:
                    found[os.path.relpath(place, path)] = self._hash(place)
                if len(found) >= _MOST_HASHED_FILES:
                    return {"files": found, "left_out": "all after the first %d" % _MOST_HASHED_FILES}
        return {"files": found}

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
