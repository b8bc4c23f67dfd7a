# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a service that is in quarantine."""

from __future__ import annotations

import http.client
import socket
import typing as t
import urllib.parse

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_connection import marked_connection

_LARGEST_BODY = 1024 * 1024


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
