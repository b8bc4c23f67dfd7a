"""visitor: somebody from outside who found a page that gives away patients, and comes back for more.

Only the fault `phi_public_endpoint` runs it. It keeps nothing of what it gets.
"""

from __future__ import annotations

import http.client
import sys
import time

PAGE = "/patients"
# An address of its own, so that access logs tell it from everybody else on this machine.
ADDRESS = "127.0.0.66"
PAUSE_SECONDS = 0.25
# Who is refused looks in less often.
REFUSED_PAUSE_SECONDS = 1.0


def visit(port: int) -> bool:
    """Whether the page was given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0, source_address=(ADDRESS, 0))
    try:
        connection.request("GET", PAGE)
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    port = int(sys.argv[1])
    while True:
        time.sleep(PAUSE_SECONDS if visit(port) else REFUSED_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
