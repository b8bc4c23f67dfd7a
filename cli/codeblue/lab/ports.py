"""Free loopback ports, chosen when a lab is started and then kept."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

# Below Linux's range for outgoing connections (32768 on), or a connection of the gateway could take a port of a
# server that is down just now.
_FIRST, _LAST = 20000, 32000
_MOST_TRIES = 2000


def choose_ports(names: Iterable[str]) -> dict[str, int]:
    """One free port of 127.0.0.1 for each name.

    All are held until the last is found, so none is given twice.
    :raises CodeblueError: no free port was found in a bounded number of tries.
    """
    chosen: dict[str, int] = {}
    generator = random.SystemRandom()
    with ExitStack() as held:
        for name in names:
            for _ in range(_MOST_TRIES):
                listener = _try_bind(generator.randint(_FIRST, _LAST))
                if listener is not None:
                    held.callback(listener.close)
                    chosen[name] = listener.getsockname()[1]
                    break
            else:
                raise CodeblueError(
                    f"no free port on 127.0.0.1 between {_FIRST} and {_LAST} for {name}", "see: ss -ltn"
                )
    return chosen


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
