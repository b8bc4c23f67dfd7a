# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections that a quarantine lets through: with a mark on their packets.

Only who may administer the network of the machine can set it, so that nobody else comes in this way.
"""

from __future__ import annotations

import contextlib
import socket
import typing as t

# Of no meaning elsewhere; 24 bits, so that the high byte stays free for routing policies.
MARK = 0x00C0DEB1


def marked_connection(address: str, port: int, seconds: t.Optional[float]) -> socket.socket:
    """A TCP connection whose packets carry the mark, where this process may set it.

    :raises OSError: nobody takes it.
    """
    family, kind, protocol, _name, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(seconds)
        # Without the right to administer the network there is no filter either that it could have to pass.
        with contextlib.suppress(PermissionError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        connection.connect(place)
    except OSError:
        connection.close()
        raise
    return connection
