"""keeper: a small configuration management and a small supervisor, as sites have them of their own.

Every second it puts files and links back as they are in its repository, and starts units again that somebody stopped.
What it keeps is in the JSON file that it is given, read again each time. Nothing of the clinic needs it; only tests
and people who want to see what a recovery does about it start it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 1.0


def put_back(place: Path, source: Path) -> bool:
    """Whether the place was not as the repository has it."""
    if source.is_symlink():
        if place.is_symlink() and place.readlink() == source.readlink():
            return False
    elif place.exists() and place.read_bytes() == source.read_bytes():
        return False
    beside = place.with_name(f".{place.name}.keeper")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    shutil.copy2(source, beside, follow_symlinks=False)
    beside.replace(place)
    return True


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        return connection


def start_again(supervisor_socket: str, unit: str) -> bool:
    """Whether the unit had been stopped."""
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=_Transport(supervisor_socket)) as manager:
        seen: Any = manager.supervisor.getProcessInfo(unit)
        if seen["statename"] != "STOPPED":
            return False
        manager.supervisor.startProcess(unit, False)
        return True


def main() -> None:
    while True:
        kept = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        for place, source in kept.get("files", {}).items():
            if put_back(Path(place), Path(source)):
                print(f"put back {place}", flush=True)
        for unit in kept.get("units", []):
            if start_again(kept["supervisor_socket"], unit):
                print(f"started {unit}", flush=True)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
