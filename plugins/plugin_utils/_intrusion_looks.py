# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at a service with the eyes of somebody who suspects an intruder, on every machine that it runs on."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import Isolation

LOOK_SECONDS = 25.0


def look_call(
    service: Service, instance: Instance, window: float, probe_urls: Sequence[str] = (), logs: bool = True
) -> MachineCall:
    """Asks one machine.

    :param window: seconds of the access logs that count.
    :param probe_urls: asked from the machine itself, past a quarantine.
    """
    host = service.require_host()
    isolation = host.isolation or Isolation()
    log = isolation.access_logs.get(instance.machine) if logs else None
    arguments: dict[str, t.Any] = {
        "units": [instance.process.as_arguments()],
        "directories": [instance.release_root] if instance.release_root else [],
        "known_networks": list(isolation.known_networks),
        "access_logs": [log] if log else [],
        "access_log_names": dict(isolation.access_log_names),
        "window": window,
        "probe_urls": list(probe_urls),
    }
    return MachineCall(instance.machine, "codeblue.recovery.intrusion_look", arguments, LOOK_SECONDS)


@dataclass(frozen=True)
class Traces:
    """What was found of one service on all its machines.

    :param machines: those with foreign connections or stray processes.
    :param peers: foreign addresses that its processes speak with.
    :param callers: foreign addresses from which its users were answered.
    :param subjects: those users.
    """

    machines: tuple[str, ...]
    peers: tuple[str, ...]
    callers: tuple[str, ...]
    subjects: tuple[str, ...]
    strays: int
    connections: int
    requests: int

    @property
    def data_leaves(self) -> bool:
        return self.connections > 0


def traces_of(results: Mapping[str, Mapping[str, t.Any]]) -> Traces:
    """Of the results of `look_call` by machine."""
    connections = [(machine, each) for machine, result in results.items() for each in result["connections"]]
    callers = [each for result in results.values() for each in result["callers"]]
    strays = {machine: len(result["strays"]) for machine, result in results.items() if result["strays"]}
    return Traces(
        machines=tuple(dict.fromkeys([*(machine for machine, _each in connections), *strays])),
        peers=tuple(sorted({str(each["address"]) for _machine, each in connections})),
        callers=tuple(sorted({str(each["address"]) for each in callers})),
        subjects=tuple(sorted({str(each["subject"]) for each in callers})),
        strays=sum(strays.values()),
        connections=len(connections),
        requests=sum(int(each["requests"]) for each in callers),
    )
