"""Free loopback ports, chosen when a lab is started and then kept.

A port is free for as long as its server is down, which in a lab that is broken on purpose may be a while. So that no
other lab of the user takes it meanwhile, it is reserved: by a link with the name of the port to the lab's directory. A
link to a directory that is gone reserves nothing.
"""

from __future__ import annotations

import os
import random
import socket
import stat
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

# Below Linux's range for outgoing connections (32768 on), or a connection of the gateway could take a port of a
# server that is down just now.
_FIRST, _LAST = 20000, 32000
_MOST_TRIES = 2000


def choose_ports(names: Iterable[str], owner: Path) -> dict[str, int]:
    """One free port of 127.0.0.1 for each name, reserved for the lab.

    All are held until the last is found, so none is given twice.

    :param owner: the lab's directory, which exists.
    :raises CodeblueError: no free port was found in a bounded number of tries.
    """
    chosen: dict[str, int] = {}
    generator = random.SystemRandom()
    reservations = _reservations()
    with ExitStack() as held:
        for name in names:
            for _ in range(_MOST_TRIES):
                port = generator.randint(_FIRST, _LAST)
                listener = _try_bind(port)
                if listener is None:
                    continue
                held.callback(listener.close)
                if _reserve(reservations / str(port), owner):
                    chosen[name] = port
                    break
            else:
                raise CodeblueError(
                    f"no free port on 127.0.0.1 between {_FIRST} and {_LAST} for {name}", "see: ss -ltn"
                )
    return chosen


def give_back(ports: Iterable[int], owner: Path) -> None:
    """End the reservations that the lab holds of these ports."""
    reservations = _reservations()
    for port in ports:
        link = reservations / str(port)
        if _owner_of(link) == str(owner):
            link.unlink(missing_ok=True)


def _reservations() -> Path:
    """The directory of the links, of this user only.

    :raises CodeblueError: somebody else made it.
    """
    place = Path(tempfile.gettempdir()) / f"codeblue-lab-ports-{os.geteuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise CodeblueError(f"{place} belongs to somebody else", "remove it, or set TMPDIR")
    return place


def _reserve(link: Path, owner: Path) -> bool:
    for _attempt in range(2):
        try:
            link.symlink_to(owner)
            return True
        except FileExistsError:
            holder = _owner_of(link)
            if holder is not None and holder != str(owner) and Path(holder).exists():
                return False
            link.unlink(missing_ok=True)
    return False


def _owner_of(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return None


def is_free(port: int) -> bool:
    listener = _try_bind(port)
    if listener is None:
        return False
    listener.close()
    return True


def _try_bind(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As the servers do: connections of an earlier lab in TIME_WAIT do not make a port busy, a listener does.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        # Bound but not listening, two sockets with SO_REUSEADDR could share a port.
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener
