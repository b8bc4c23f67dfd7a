# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a service over HTTP from its own machine, several times, and measures the answers. Keeps no body."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._marked_probe import MarkedConnection

_LARGEST_BODY = 1024 * 1024
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class ProbeRequest:
    """One request and what a right answer is.

    :param body: JSON, sent as it stands; None for no body.
    :param body_has: a text that the answer holds; None when any will do.
    """

    name: str
    method: str
    url: str
    headers: t.Mapping[str, str]
    body: t.Optional[str]
    status: t.Tuple[int, ...]
    body_has: t.Optional[str]

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput("requests.%s: %r is no http:// or https:// URL" % (self.name, self.url))
        if self.method not in _METHODS:
            raise BadInput("requests.%s: method %r is not known" % (self.name, self.method))


@dataclass(frozen=True)
class ProbeAnswer:
    """One answer.

    :param problem: None when it was right, else refused, closed, timeout, network, status or body.
    :param status: None when none came.
    :param seconds: from the start of the connection to the last byte, or to the failure.
    """

    problem: t.Optional[str]
    status: t.Optional[int]
    seconds: float


def probe(request: ProbeRequest, seconds: float) -> ProbeAnswer:
    """Ask once, on a connection of its own.

    :param seconds: for the connection and for each wait; an answer that dribbles is cut off after as long again.
    """
    started = time.monotonic()
    status: t.Optional[int] = None
    try:
        connection = _connection(request.url, seconds)
        try:
            status, text = _exchange(connection, request, started + 2 * seconds)
        finally:
            connection.close()
        problem = _judged(request, status, text)
    except ConnectionRefusedError:
        problem = "refused"
    except (socket.timeout, TimeoutError):
        problem = "timeout"
    except (http.client.HTTPException, ConnectionError):
        problem = "closed"
    except OSError:
        problem = "network"
    return ProbeAnswer(problem, status, time.monotonic() - started)


def _connection(url: str, seconds: float) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    host = t.cast(str, parts.hostname)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(
            host, parts.port or 443, timeout=seconds, context=ssl.create_default_context()
        )
    return MarkedConnection(host, parts.port or 80, timeout=seconds)


def _exchange(connection: http.client.HTTPConnection, request: ProbeRequest, end: float) -> t.Tuple[int, str]:
    parts = urllib.parse.urlsplit(request.url)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = dict(request.headers)
    content = None if request.body is None else request.body.encode()
    if content is not None:
        headers.setdefault("Content-Type", "application/json")
    connection.request(request.method, path, content, headers)
    response = connection.getresponse()
    body = b""
    while len(body) <= _LARGEST_BODY:
        if time.monotonic() > end:
            raise socket.timeout()
        piece = response.read1(65536)
        if not piece:
            break
        body += piece
    return response.status, body.decode("utf-8", "replace")


def _judged(request: ProbeRequest, status: int, text: str) -> t.Optional[str]:
    if status not in request.status:
        return "status"
    if request.body_has is not None and request.body_has not in text:
        return "body"
    return None


def summary(answers: t.Sequence[ProbeAnswer]) -> t.Dict[str, t.Any]:
    """All answers to one request in figures.

    :returns: asked, right, problems (kind to count), statuses, median_seconds and slowest_seconds of the right
        answers (None without one), and median_seconds_of_all, which counts failed ones with their time.
    """
    right = sorted(answer.seconds for answer in answers if answer.problem is None)
    every = sorted(answer.seconds for answer in answers)
    problems: t.Dict[str, int] = {}
    for answer in answers:
        if answer.problem is not None:
            problems[answer.problem] = problems.get(answer.problem, 0) + 1
    return {
        "asked": len(answers),
        "right": len(right),
        "problems": problems,
        "statuses": sorted({answer.status for answer in answers if answer.status is not None}),
        "median_seconds": round(right[len(right) // 2], 4) if right else None,
        "slowest_seconds": round(right[-1], 4) if right else None,
        "median_seconds_of_all": round(every[len(every) // 2], 4) if every else None,
    }
