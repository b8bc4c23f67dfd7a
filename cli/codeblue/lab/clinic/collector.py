"""collector: a machine of somebody outside that takes in what an implant sends. Only a fault runs it.

It throws away what it gets, and keeps count in a file: bytes so far, and when the last ones came.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from pathlib import Path

_BLOCK = 65536
_SELECT_SECONDS = 0.5


class Tally:
    """Bytes so far and the time of the last ones, for whoever watches from outside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0
        self.write()

    def add(self, count: int) -> None:
        self._bytes += count
        self.write()

    def write(self) -> None:
        staged = self._path.with_suffix(".new")
        staged.write_text(f"{self._bytes} {time.time() if self._bytes else 0.0:.3f}\n", encoding="ascii")
        staged.replace(self._path)


def main() -> None:
    address, port, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    tally = Tally(path)
    selector = selectors.DefaultSelector()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select(_SELECT_SECONDS):
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    content = connection.recv(_BLOCK)
                except ConnectionError:
                    content = b""
                if content:
                    tally.add(len(content))
                else:
                    selector.unregister(connection)
                    connection.close()


if __name__ == "__main__":
    main()
