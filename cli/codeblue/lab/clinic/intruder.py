"""intruder: somebody outside who has a valid token of the clinic and reads records with it. Only a fault runs it.

Comes from an address of its own, on one connection for as long as that lasts, and keeps nothing of what it gets.
"""

from __future__ import annotations

import http.client
import sys
import time
from pathlib import Path

_PAUSE_SECONDS = 0.05
# Who is refused tries again less often, and never gives up.
_REFUSED_PAUSE_SECONDS = 0.25
_TIMEOUT_SECONDS = 2.0


class Intruder:
    """One connection to the front of records."""

    def __init__(self, port: int, token: str, address: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def read(self, number: int) -> bool:
        """Whether a record was given."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    "127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS, source_address=(self._address, 0)
                )
            self._connection.request("GET", f"/records/{number}", headers=self._headers)
            response = self._connection.getresponse()
            response.read()
            return response.status == 200
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return False


def main() -> None:
    port, token_file, address = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    intruder = Intruder(port, token_file.read_text(encoding="ascii").strip(), address)
    number = 0
    while True:
        number = number % 5 + 1
        time.sleep(_PAUSE_SECONDS if intruder.read(number) else _REFUSED_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
