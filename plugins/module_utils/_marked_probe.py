# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a service that is in quarantine: with a mark on the packets that the quarantine lets through.

Only who may administer the network of the machine can set it, so that nobody else comes in this way.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import typing as t
import urllib.parse

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# Of no meaning elsewhere; 24 bits, so that the high byte stays free for routing policies.
MARK = 0x00C0DEB1
_LARGEST_BODY = 1024 * 1024


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


class MarkedConnection(http.client.HTTPConnection):
    """HTTP over a connection with the mark."""

    def connect(self) -> None:
        """As `HTTPConnection.connect`."""
        self.sock = marked_connection(self.host, self.port, self.timeout)


def marked_probe(url: str, seconds: float) -> t.Union[int, str]:
    """The status of the answer, or in a word what went wrong.

    :raises BadInput: it is no http:// URL.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput("probe_urls: %r is no http:// URL" % url, "on the machine itself TLS is not needed")
    connection = MarkedConnection(parts.hostname, parts.port or 80, timeout=seconds)
    try:
        connection.request("GET", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")))
        response = connection.getresponse()
        response.read(_LARGEST_BODY)
        return response.status
    except ConnectionRefusedError:
        return "refused"
    except socket.timeout:
        return "timeout"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
