# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""With whom a service may speak, and what must stay open when it is put into quarantine."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

_SSH = 22


@dataclass(frozen=True)
class Isolation:
    """`codeblue_host.isolation` of a service with instances.

    :param known_networks: networks of the site; a peer or a user elsewhere is foreign.
    :param management: networks of operators and monitoring, which a quarantine leaves open.
    :param management_ports: ports that operators come in by, which it never closes.
    :param own_user: a user of the machines that runs this service and nothing else; its connections are cut off.
    :param access_logs: machine to the log that says who asked from where.
    :param access_log_names: the logs' own names of time, subject, client and status, where they differ.
    """

    known_networks: tuple[str, ...] = ()
    management: tuple[str, ...] = ()
    management_ports: tuple[int, ...] = (_SSH,)
    own_user: str | None = None
    access_logs: Mapping[str, str] = field(default_factory=dict)
    access_log_names: Mapping[str, str] = field(default_factory=dict)


def read_isolation(values: TypedMapping, machines: Collection[str]) -> Isolation:
    """Read it; what is wrong goes to the problems of the mapping.

    :param machines: those of the service's instances.
    """
    ports = values.plain("management_ports") or [_SSH]
    if not isinstance(ports, list):
        values.problem("management_ports", "must be a list of numbers of ports")
        ports = [_SSH]
    for position, port in enumerate(ports):
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            values.problem(f"management_ports[{position}]", "must be the number of a port")
    logs = _texts_by_name(values, "access_logs")
    for machine in logs:
        if machine not in machines:
            values.problem(f"access_logs.{machine}", f"no instance runs there, known: {', '.join(machines)}")
    isolation = Isolation(
        known_networks=read_networks(values, "known_networks"),
        management=read_networks(values, "management"),
        management_ports=tuple(port for port in ports if isinstance(port, int)),
        own_user=values.optional_text("own_user"),
        access_logs=logs,
        access_log_names=_texts_by_name(values, "access_log_names"),
    )
    if not isolation.known_networks:
        values.problem("known_networks", "is missing, name the networks of the site")
    values.finish()
    return isolation


def _texts_by_name(values: TypedMapping, key: str) -> dict[str, str]:
    child = values.optional_child(key)
    if child is None:
        return {}
    found = {name: child.text(name) for name in child.names()}
    child.finish()
    return found


def read_networks(values: TypedMapping, key: str) -> tuple[str, ...]:
    """Networks such as `10.20.0.0/16`; what is none is noted."""
    found = values.texts(key)
    for position, text in enumerate(found):
        try:
            ipaddress.ip_network(text)
        except ValueError:
            values.problem(f"{key}[{position}]", f"{text!r} is no network, write it like 10.20.0.0/16")
    return found
