# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a diagnosis of a service of instances is made from: process, release, files and real answers of each."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_answer, gateway_looks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import InstanceProbe, probe_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import candidate_of, list_call

_COLLECTION = "codeblue.recovery."
# The module itself takes a moment. The rest is for the connection and the start of Python on a busy machine.
_LOOK_SECONDS = 20.0
_READ_SECONDS = 60.0
_GATEWAY = "gateway/"
UNIT, RELEASES, FILES, PROBE, UNIT_AGAIN = "unit", "releases", "files", "probe", "unit_again"


@dataclass(frozen=True)
class UnitLook:
    """A process as its manager has it: running, starting, stopping, stopped, failed or restarting."""

    state: str
    pid: int | None = None
    started_at: float | None = None
    exit_status: int | None = None
    restarts: int | None = None

    @property
    def loops(self) -> bool:
        """The manager has started it more than once and it ended each time, or it has given up."""
        return self.state in ("restarting", "failed")


@dataclass(frozen=True)
class InstanceLook:
    """One instance.

    :param unreachable: why its machine did not answer; then nothing else is known.
    :param unit: None when it could not be seen.
    :param unit_later: the same a moment later, after the probes; None when nobody looked again.
    :param version: of the current release.
    :param deployed_at: when that became current, RFC 3339.
    :param earlier: a version that ran before and is still there.
    :param releases_seen: its releases could be listed; without that nothing is known about an earlier one.
    :param damaged: files that differ from the manifest; None when that could not be told.
    """

    machine: str
    probe: InstanceProbe
    unreachable: str | None = None
    unit: UnitLook | None = None
    unit_later: UnitLook | None = None
    version: str | None = None
    deployed_at: str | None = None
    earlier: str | None = None
    releases_seen: bool = True
    damaged: tuple[str, ...] | None = None

    @property
    def ended_meanwhile(self) -> bool:
        """Its process ended and was started again between the two looks."""
        first, later = self.unit, self.unit_later
        if first is None or later is None or first.pid is None:
            return False
        return later.pid != first.pid

    @property
    def crashes(self) -> bool:
        """Its process ends again and again, by itself."""
        return self.ended_meanwhile or any(unit is not None and unit.loops for unit in (self.unit, self.unit_later))

    @property
    def stopped(self) -> bool:
        """Its process is down and nobody is trying to start it."""
        last = self.unit_later or self.unit
        return last is not None and last.state == "stopped"


@dataclass(frozen=True)
class GatewayServer:
    """An instance as the gateway has it."""

    state: str
    status: str


@dataclass(frozen=True)
class InstancesLook:
    """Everything that was seen of a service.

    :param gateway: instance to its server; None when the gateway did not answer or nobody asked.
    """

    instances: Mapping[str, InstanceLook]
    gateway: Mapping[str, GatewayServer] | None = field(default=None)


def question_name(kind: str, instance: str) -> str:
    """The name of a question about one instance."""
    return f"{kind} {instance}"


def unit_call(instance: Instance) -> MachineCall:
    """Asks for the state of an instance's process."""
    units = [{**instance.process.as_arguments(), "state": "started"}]
    return MachineCall(
        instance.machine, _COLLECTION + "process_state", {"units": units}, _LOOK_SECONDS, check_mode=True
    )


def files_call(instance: Instance) -> MachineCall:
    """Asks whether the current release is as it was released."""
    arguments = {"release_root": instance.release_root, "sources": list(instance.release_copies)}
    return MachineCall(instance.machine, _COLLECTION + "release_restore", arguments, _READ_SECONDS, check_mode=True)


def first_calls(service: Service, probes: Mapping[str, MachineCall]) -> dict[str, MachineCall]:
    """All questions about a service that need no earlier answer, by name."""
    host = service.require_host()
    calls: dict[str, MachineCall] = {}
    for name, instance in host.instances.items():
        calls[question_name(UNIT, name)] = unit_call(instance)
        if instance.release_root is not None:
            calls[question_name(RELEASES, name)] = list_call(instance)
            calls[question_name(FILES, name)] = files_call(instance)
        if name in probes:
            calls[question_name(PROBE, name)] = probes[name]
    if host.gateway is not None:
        calls |= {f"{_GATEWAY}{number}": call for number, call in enumerate(gateway_looks(host.gateway))}
    return calls


def look_of(service: Service, answers: Mapping[str, MachineAnswer]) -> InstancesLook:
    """Out of the answers, by the names of their questions."""
    host = service.require_host()
    gateway: dict[str, GatewayServer] | None = None
    fronts = [answer for key, answer in answers.items() if key.startswith(_GATEWAY)]
    if host.gateway is not None and fronts and (answer := gateway_answer(host.gateway, fronts)).result is not None:
        seen = answer.result["before"]
        names = {name: f"{host.gateway.backend}/{server}" for name, server in host.gateway.servers.items()}
        gateway = {
            name: GatewayServer(str(seen[key]["state"]), str(seen[key]["status"]))
            for name, key in names.items()
            if key in seen
        }
    instances = {name: _instance_look(service.name, name, answers) for name in host.instances}
    return InstancesLook(instances, gateway)


def _instance_look(service: str, name: str, answers: Mapping[str, MachineAnswer]) -> InstanceLook:
    def result(kind: str) -> Mapping[str, t.Any] | None:
        answer = answers.get(question_name(kind, name))
        return answer.result if answer is not None else None

    own = [answer for key, answer in answers.items() if key.endswith(f" {name}")]
    silent = [answer.unreachable for answer in own if answer.unreachable is not None]
    releases, files = result(RELEASES) or {}, result(FILES)
    candidate = candidate_of(service, releases, set())
    version = (releases.get("before") or {}).get("current")
    probe = answers.get(question_name(PROBE, name))
    return InstanceLook(
        machine=name,
        probe=probe_of(probe) if probe is not None else InstanceProbe(name, unknown="nobody asked"),
        unreachable=silent[0] if silent and len(silent) == len(own) else None,
        unit=_unit(result(UNIT)),
        unit_later=_unit(result(UNIT_AGAIN)),
        version=str(version) if version else None,
        deployed_at=_since(releases.get("history") or (), version),
        earlier=candidate.good if candidate is not None else None,
        releases_seen=bool(releases),
        damaged=None if files is None else tuple(files["before"]["damaged"]),
    )


def _unit(result: Mapping[str, t.Any] | None) -> UnitLook | None:
    states = list((result or {}).get("before", {}).values())
    if not states:
        return None
    found = states[0]
    return UnitLook(
        state=str(found.get("state") or "").lower(),
        pid=found.get("pid"),
        started_at=found.get("started_at"),
        exit_status=found.get("exit_status"),
        restarts=found.get("restarts"),
    )


def _since(history: Sequence[Mapping[str, t.Any]], version: str | None) -> str | None:
    found = next((each for each in history if each.get("version") == version), None)
    return str(found["deployed_at"]) if found is not None and found.get("deployed_at") else None
