# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes that put a service into quarantine on its machines and take it out again."""

from __future__ import annotations

import typing as t
import urllib.parse
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import (
    entries_change,
    gateway_answer,
    gateway_looks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway, Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import Isolation
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

#: What a person accepts when a clinical service is cut off from its users.
ACCEPTANCE = "clinical_isolation"
_SECONDS = 15.0
_STOP_SECONDS = 15.0


def filter_change(
    service: Service,
    machine: str,
    lock_dir: str,
    addresses: Sequence[str] = (),
    confirm_within: float = 0.0,
    notes: Mapping[str, t.Any] | None = None,
    state: str = "present",
    only_addresses: bool = False,
) -> Change:
    """The rules of one machine.

    :param addresses: with whom nobody there may speak any more.
    :param state: `present`, `confirmed`, `absent`, or `observed`: closed as before, but the service's own processes
        reach what they depend on, so that it can be seen to work.
    :param only_addresses: the service itself stays open.
    """
    host = service.require_host()
    isolation = host.isolation or Isolation()
    arguments: dict[str, t.Any] = {
        "name": f"{service.name}-addresses-{machine}" if only_addresses else f"{service.name}-{machine}",
        "state": "present" if state == "observed" else state,
        "record_directory": f"{lock_dir}/quarantine",
        "timeout": _SECONDS,
    }
    if state in ("present", "observed"):
        arguments |= {
            "peers": list(addresses),
            "management": list(isolation.management),
            "management_ports": list(isolation.management_ports),
            "confirm_within": confirm_within,
            "notes": dict(notes or {}),
        }
    if state in ("present", "observed") and not only_addresses:
        instance = host.instances[machine]
        arguments["ports"] = [instance.port]
        if isolation.own_user is not None:
            arguments["users"] = [isolation.own_user]
        elif instance.process.manager == "systemd":
            arguments["units"] = [instance.process.unit]
        if state == "observed":
            arguments["allowed"] = list(isolation.known_networks)
    what = "addresses" if only_addresses else "network"
    return Change(
        action=f"{what}_{machine}_{state}",
        machine=machine,
        module="network_quarantine",
        arguments=arguments,
        decision={"state": state, "addresses": list(addresses)[:20]},
        seconds=_SECONDS + 10.0,
    )


def closes_egress(service: Service, machine: str) -> bool:
    """The service's own connections are told from those of others on the machine, and closed."""
    host = service.require_host()
    user = host.isolation.own_user if host.isolation is not None else None
    return user is not None or host.instances[machine].process.manager == "systemd"


def stop_changes(service: Service, machines: Sequence[str]) -> list[Change]:
    """Stop the service's processes, with those that left their unit."""
    instances = service.require_host().instances
    return [
        *(
            Change(
                action=f"stop_{machine}",
                machine=machine,
                module="process_state",
                arguments={
                    "units": [{**instances[machine].process.as_arguments(), "state": "held"}],
                    "timeout": _STOP_SECONDS,
                },
                decision={"unit": instances[machine].process.unit, "state": "held"},
                seconds=_STOP_SECONDS + 10.0,
            )
            for machine in machines
        ),
    ]


def end_strays_change(service: Service, instance: Instance) -> Change:
    """End what runs from the service's directories and belongs to no unit."""
    return Change(
        action=f"end_strays_{instance.machine}",
        machine=instance.machine,
        module="stray_processes",
        arguments={
            "units": [instance.process.as_arguments()],
            "directories": [instance.release_root] if instance.release_root else [],
        },
        decision={"reason": "no unit knows them"},
        target=service.name,
    )


def refused_sources_change(gateway: Gateway, addresses: Sequence[str], state: str) -> Change:
    """Have the gateway refuse new connections from these addresses, or take them again."""
    decision = {"state": state, "addresses": list(addresses)[:20]}
    file = gateway.refused_sources_file or ""
    return entries_change(gateway, file, addresses, f"gateway_sources_{state}", decision, state)


def states_before(
    gateway: Gateway, machines: Sequence[str], look: Callable[[Sequence[MachineCall]], list[MachineAnswer]]
) -> dict[str, str]:
    """Instance to what its server in the gateway is now: ready, drain or maint."""
    before = gateway_answer(gateway, look(gateway_looks(gateway, machines))).result_or_raise()["before"]
    return {
        name: str(before[f"{gateway.backend}/{gateway.servers[name]}"]["state"])
        for name in machines
        if name in gateway.servers
    }


def health_urls(service: Service, instance: Instance) -> list[str]:
    """The service's own checks that ask this very instance."""
    found = []
    for check in (*service.checks.shallow, *service.checks.deep, *service.checks.comprehensive):
        if isinstance(check, HttpCheck) and check.method == "GET":
            parts = urllib.parse.urlsplit(check.url)
            if parts.scheme == "http" and (parts.hostname, parts.port or 80) == (instance.address, instance.port):
                found.append(check.url)
    return found
