# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The level `infrastructure` of a snapshot: what stands around a service on its machines.

    <machine>/<absolute path>                        files of its gateway: configuration, patterns, certificates, state
    in_force/<machine>/names.json                    what names resolve to there
    in_force/<machine>/nftables.rules                the rules of its packet filter
    in_force/<machine>/haproxy_servers/<socket>      the server states of a running HAProxy

What is below `in_force` was asked and not read from a file. It is compared and never put back.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import typing as t
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    HttpCheck,
    PostgresqlCheck,
    SessionCheck,
    TcpCheck,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_reading import Reading

INFRASTRUCTURE = "infrastructure"
IN_FORCE = "in_force"
NAMES = "names.json"
RULES = "nftables.rules"

# The module's own time for all it asks on a machine, and on top of it the connection and the start of Python.
_LOOK_SECONDS = 10.0
_START_SECONDS = 10.0
_LEVELS_OF_CHECKS = ("shallow", "deep", "comprehensive", "signals")


@dataclass
class MachineScope:
    """What to ask of one machine.

    :param sockets: runtime sockets of HAProxy.
    :param files: that the inventory names beside those that HAProxy itself tells of.
    :param names: to resolve there.
    """

    machine: str
    sockets: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def call(self) -> MachineCall:
        """The look at the machine."""
        arguments = {
            "sockets": sorted(self.sockets),
            "files": sorted(self.files),
            "names": sorted(self.names),
            "timeout": _LOOK_SECONDS,
        }
        return MachineCall(
            self.machine,
            "codeblue.recovery.infrastructure_look",
            arguments,
            _LOOK_SECONDS + _START_SECONDS,
            check_mode=True,
        )


@dataclass(frozen=True)
class InfrastructureInForce:
    """What was found on the machines.

    :param readings: files that belong into the level.
    :param documents: path in the level to what was asked.
    :param unknown: what could not be learned, one line each that begins with the machine.
    """

    readings: tuple[Reading, ...]
    documents: Mapping[str, bytes]
    unknown: tuple[str, ...]

    @property
    def facts(self) -> dict[str, t.Any]:
        """What identifies the level outside of it. Readable without a key."""
        machines = {path.split("/")[1] for path in self.documents} | {reading.machine for reading in self.readings}
        return {"machines": sorted(machines), "unknown": list(self.unknown)}


def scopes_of(service: Service, everything: Mapping[str, Service]) -> list[MachineScope]:
    """Where to ask for what, from what the inventory already says.

    :param everything: all services, the service among them: those behind a gateway know its socket.
    """
    host = service.require_host()
    names = {name for each in (service.name, *service.depends_on) for name in _names_of(everything[each])}
    scopes = {machine: MachineScope(machine, names=set(names)) for machine in host.machines()}
    # A service is behind its own gateway; a gateway is the one of whoever is behind it.
    behind = [service] if service.kind != "gateway" else list(everything.values())
    for each in behind:
        for machine, sockets, files in _gateway_parts(each):
            if each is service or machine in host.instances:
                scopes[machine].sockets |= sockets
                scopes[machine].files |= files
    if service.kind == "gateway":
        for instance in host.instances.values():
            scopes[instance.machine].files |= set(instance.config_files)
    return list(scopes.values())


def _gateway_parts(service: Service) -> Iterator[tuple[str, set[str], set[str]]]:
    """Machine, runtime sockets and files of what stands in front of a service."""
    host = service.host
    if host is None:
        return
    if host.gateway is not None:
        blocked = service.phi.blocked_paths_file if service.phi is not None else None
        for front in host.gateway.every:
            files = {path for path in (front.state_file, front.refused_sources_file, blocked) if path is not None}
            yield front.machine, {front.socket}, files
    for certificate in host.certificates.values():
        yield certificate.machine, {certificate.socket}, {certificate.file}


def _names_of(service: Service) -> Iterator[str]:
    """Names, not addresses, by which the service is reached."""
    for place in _places_of(service):
        try:
            ipaddress.ip_address(place)
        except ValueError:
            # A wildcard of a certificate is nobody's name.
            if place and "*" not in place:
                yield place


def _places_of(service: Service) -> Iterator[str]:
    for level in _LEVELS_OF_CHECKS:
        for check in service.checks.at_level(level):
            if isinstance(check, HttpCheck):
                yield _host_of(check.url)
            if isinstance(check, SessionCheck):
                yield _host_of(check.use_url)
            if isinstance(check, TcpCheck | PostgresqlCheck):
                yield check.address
    host = service.host
    if host is None:
        return
    members = host.postgresql.members.values() if host.postgresql is not None else ()
    yield from (each.address for each in (*members, *host.instances.values()))
    yield from (name for certificate in host.certificates.values() for name in certificate.names)
    yield from (_host_of(url) for key in host.api_keys.values() for url in key.check_urls)
    if host.session_keys is not None:
        yield from (_host_of(url) for url in (host.session_keys.verify_url, *host.session_keys.use_urls))


def _host_of(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""


def in_force(answers: Sequence[MachineAnswer]) -> InfrastructureInForce:
    """What the machines have answered. One that cannot be asked is named and fails nothing."""
    readings: list[Reading] = []
    documents: dict[str, bytes] = {}
    unknown: list[str] = []
    for answer in answers:
        if answer.result is None:
            unknown.append(f"{answer.machine}: {answer.unreachable or answer.failure}")
            continue
        result, directory = answer.result, f"{IN_FORCE}/{answer.machine}"
        unknown += [f"{answer.machine}: {line}" for line in result["unknown"]]
        if result["files"]:
            paths = tuple(str(path).lstrip("/") for path in result["files"])
            readings.append(Reading(answer.machine, INFRASTRUCTURE, "/", paths))
        if result["names"]:
            documents[f"{directory}/{NAMES}"] = json.dumps(result["names"], indent=1, sort_keys=True).encode()
        if result["rules"] is not None:
            documents[f"{directory}/{RULES}"] = str(result["rules"]).encode()
        for socket, servers in result["servers"].items():
            documents[f"{directory}/haproxy_servers/{socket.strip('/')}"] = str(servers).encode()
    return InfrastructureInForce(tuple(readings), documents, tuple(unknown))


def scopes_of_kept(level: Path) -> list[MachineScope]:
    """Where to ask again for what a restored level holds.

    :param level: the directory into which it was restored.
    """
    scopes = []
    for directory in sorted((level / IN_FORCE).glob("*")):
        names = directory / NAMES
        kept = json.loads(names.read_bytes()) if names.is_file() else {}
        scopes.append(MachineScope(directory.name, names=set(kept)))
    return scopes


def differences(level: Path, now: InfrastructureInForce) -> list[str]:
    """How names and rules differ from those of a restored level, one line each that begins with the machine."""
    found: list[str] = []
    for place in sorted(each for each in (level / IN_FORCE).glob("*/*") if each.name in (NAMES, RULES)):
        machine = place.parent.name
        current = now.documents.get(f"{IN_FORCE}/{machine}/{place.name}")
        if current is None:
            reasons = [line for line in now.unknown if line.startswith(f"{machine}: ")]
            found.append(f"{machine}: {place.name} is not compared ({'; '.join(reasons) or 'nothing is there'})")
        elif place.name == NAMES:
            found += [f"{machine}: {line}" for line in _names_changed(place.read_bytes(), current)]
        elif place.name == RULES:
            found += [f"{machine}: nftables: {line}" for line in _rules_changed(place.read_bytes(), current)]
    return found


def _names_changed(before: bytes, after: bytes) -> Iterator[str]:
    was, current = json.loads(before), json.loads(after)
    for name, known in was.items():
        if known["addresses"] != current[name]["addresses"]:
            yield f"{name} was {_said(known)}, is {_said(current[name])}"


def _said(known: Mapping[str, t.Any]) -> str:
    return ", ".join(known["addresses"]) or f"nothing ({known['reason']})"


def _rules_changed(before: bytes, after: bytes) -> Iterator[str]:
    """Lines that are gone and lines that are new, in the order of the rules."""
    was, current = before.decode().splitlines(), after.decode().splitlines()
    for line in difflib.unified_diff(was, current, lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")):
            yield f"{'gone' if line[0] == '-' else 'new'}: {line[1:].strip()}"
