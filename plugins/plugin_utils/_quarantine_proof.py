# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proof that a service is cut off: connections that were open before must fail, and so must new ones."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import typing as t
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 1.5
_REQUEST = b"GET /codeblue-quarantine-probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
# What a gateway says that has nobody behind it.
_NOBODY = (b"HTTP/1.1 502", b"HTTP/1.1 503", b"HTTP/1.1 504", b"HTTP/1.0 502", b"HTTP/1.0 503", b"HTTP/1.0 504")


@dataclass(frozen=True)
class Way:
    """A way to reach the service.

    :param name: for people.
    """

    name: str
    address: str
    port: int


def ways_to(service: Service, machines: Sequence[str], whole: bool) -> list[Way]:
    """Every way from here: past the gateway to each machine that is cut off, and through it when all of them are."""
    host = service.require_host()
    ways = [
        Way(f"{machine} directly", host.instances[machine].address, host.instances[machine].port)
        for machine in machines
    ]
    direct = {(way.address, way.port) for way in ways}
    if whole:
        for check in (*service.checks.shallow, *service.checks.deep):
            if not isinstance(check, HttpCheck):
                continue
            parts = urllib.parse.urlsplit(check.url)
            place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            if parts.scheme == "http" and place not in direct and place[0]:
                direct.add(place)
                ways.append(Way(f"the gateway at port {place[1]}", *place))
    return ways


class OpenWays:
    """Connections that were made before the quarantine, held to see them fail."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._held: list[tuple[Way, socket.socket]] = []
        for way in ways:
            # One that is not to be had before proves nothing afterwards, and a new one is tried then.
            with contextlib.suppress(OSError):
                self._held.append((way, socket.create_connection((way.address, way.port), timeout=_CONNECT_SECONDS)))

    def __enter__(self) -> OpenWays:
        return self

    def __exit__(self, *_error: object) -> None:
        for _way, connection in self._held:
            connection.close()

    @property
    def count(self) -> int:
        return len(self._held)

    def sources(self) -> dict[str, str]:
        """By which address of this controller each way was gone."""
        return {way.name: str(connection.getsockname()[0]) for way, connection in self._held}

    def still_answered(self, skipped: Iterable[str] = ()) -> list[str]:
        """The ways over whose old connection the service still answers."""
        left_out = set(skipped)
        return [way.name for way, connection in self._held if way.name not in left_out and _answers(connection)]


def newly_answered(ways: Sequence[Way], skipped: Iterable[str] = ()) -> list[str]:
    """The ways on which the service answers a new connection."""
    found = []
    left_out = set(skipped)
    for way in ways:
        if way.name in left_out:
            continue
        try:
            with socket.create_connection((way.address, way.port), timeout=_CONNECT_SECONDS) as connection:
                if _answers(connection):
                    found.append(way.name)
        except OSError:
            continue
    return found


def let_through(sources: dict[str, str], management: Sequence[str]) -> list[str]:
    """The ways that stay open on purpose, because this controller is in a network of operators."""
    networks = [ipaddress.ip_network(each) for each in management]
    return [name for name, source in sources.items() if any(ipaddress.ip_address(source) in each for each in networks)]


def _answers(connection: socket.socket) -> bool:
    """The service itself says something; silence, a reset and a gateway with nobody behind it are no answers."""
    try:
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(_REQUEST)
        said = t.cast(bytes, connection.recv(64))
    except OSError:
        return False
    return bool(said) and not said.startswith(_NOBODY)
