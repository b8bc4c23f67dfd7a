"""Whether processes of a service hold connections to addresses that do not belong to the site.

A process belongs to the service when its command names the service's release directory, also when it has left the
unit that started it.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

_ESTABLISHED = "01"
_LARGEST_COMMAND = 4096


def look(service: str, config: dict[str, Any]) -> str:
    known = [ipaddress.ip_network(each) for each in config["known_networks"]]
    foreign = _foreign_sockets(known)
    if not foreign:
        return ""
    roots = [os.fsencode(each["release_root"] + "/") for each in config["instances"].get(service, [])]
    count = sum(_held_by(process, foreign) for process in _processes_of(roots))
    return f"{count} connections of its processes lead to addresses that nobody knows" if count else ""


def _foreign_sockets(known: list[Any]) -> set[bytes]:
    """Inodes of established connections whose other end is outside."""
    found: set[bytes] = set()
    with open("/proc/net/tcp", "rb") as stream:
        next(stream)
        for line in stream:
            fields = line.split(None, 10)
            if fields[3] != _ESTABLISHED.encode():
                continue
            remote = fields[2].split(b":")[0]
            if remote == b"0100007F":
                continue
            address = ipaddress.ip_address(bytes.fromhex(remote.decode("ascii"))[::-1])
            if not any(address in network for network in known):
                found.add(fields[9])
    return found


def _processes_of(roots: list[bytes]) -> list[Path]:
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            with (process / "cmdline").open("rb") as stream:
                command = stream.read(_LARGEST_COMMAND)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(root in command for root in roots):
            found.append(process)
    return found


def _held_by(process: Path, sockets: set[bytes]) -> int:
    count = 0
    try:
        for descriptor in (process / "fd").iterdir():
            target = str(descriptor.readlink())
            count += target.startswith("socket:[") and target[8:-1].encode() in sockets
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It has ended meanwhile, or is none of ours.
        return count
    return count
