# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads the metrics of services from all their sources at once, while something else is asked.

Prometheus is asked from here, gateways and machines by modules over Ansible's connections, one call for each, however
many services share it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import CounterReading, MetricSample
from ansible_collections.codeblue.recovery.plugins.plugin_utils._prometheus import PrometheusReading

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall

_COLLECTION = "codeblue.recovery."
# The whole call, with connection and start of Python.
_CALL_SECONDS = 15.0
_WATCH_SECONDS = 0.3


@dataclass(frozen=True)
class Metrics:
    """What one reading found.

    :param problems: one line for each source that could not be read.
    """

    samples: tuple[MetricSample, ...] = ()
    counters: tuple[CounterReading, ...] = ()
    problems: tuple[str, ...] = ()


class Batch(t.Protocol):
    """Calls that are under way."""

    def answers(self) -> list[MachineAnswer]:
        """Wait for all; in the order of the calls."""

    def end(self) -> None:
        """End what is still under way."""


Start = Callable[[Sequence["MachineCall"]], Batch]


class MetricReading:
    """Reads from the moment it is made; `metrics` waits for it, within the deadlines of the sources.

    :param services: those without sources cost nothing.
    :param now: Unix seconds, the end of the window.
    :param window: seconds, of which Prometheus is asked; None for the values of now alone.
    :param start: runs modules that only read; None leaves gateways and machines out.
    """

    def __init__(
        self, services: Mapping[str, Service], now: float, window: float | None, start: Start | None = None
    ) -> None:
        self._now = now
        self._questions = questions(services) if start is not None else []
        # Before any thread: the calls are forks.
        self._batch = (
            start([question.call for question in self._questions]) if start is not None and self._questions else None
        )
        sources = {
            name: service.metrics.prometheus
            for name, service in services.items()
            if service.metrics is not None and service.metrics.prometheus is not None
        }
        self._prometheus = PrometheusReading(sources, now, window)

    def metrics(self) -> Metrics:
        """Wait for everything."""
        answers = self._batch.answers() if self._batch is not None else []
        samples: list[MetricSample] = []
        counters: list[CounterReading] = []
        problems: list[str] = []
        for question, answer in zip(self._questions, answers, strict=True):
            if answer.result is None:
                problems.append(f"{question.source}: {answer.unreachable or answer.failure}")
                continue
            samples += question.samples(answer.result, self._now)
            counters += question.counters(answer.result, self._now)
        asked = self._prometheus.answers()
        return Metrics((*samples, *asked.samples), tuple(counters), (*problems, *asked.problems))

    def end(self) -> None:
        """End what is still under way."""
        if self._batch is not None:
            self._batch.end()


@dataclass(frozen=True)
class GatewayQuestion:
    """One call for the counters of backends of one gateway.

    :param backends: by service.
    """

    source: str
    call: MachineCall
    backends: Mapping[str, str]

    def samples(self, result: Mapping[str, t.Any], now: float) -> list[MetricSample]:
        return [
            MetricSample(service, "response", float(found["response"]), now, self.source)
            for service, found in self._found(result)
            if found["response"] is not None
        ]

    def counters(self, result: Mapping[str, t.Any], now: float) -> list[CounterReading]:
        return [
            CounterReading(service, self.source, float(found["requests"]), float(found["errors"]), now)
            for service, found in self._found(result)
        ]

    def _found(self, result: Mapping[str, t.Any]) -> Iterable[tuple[str, Mapping[str, t.Any]]]:
        return ((service, result["backends"][backend]) for service, backend in self.backends.items())


@dataclass(frozen=True)
class MachineQuestion:
    """One call for what takes a machine.

    :param services: those that run there.
    """

    source: str
    call: MachineCall
    services: tuple[str, ...]

    def samples(self, result: Mapping[str, t.Any], now: float) -> list[MetricSample]:
        values = [
            ("cpu", self.source, result["cpu"]["busy"]),
            ("memory", self.source, result["memory"]["used"]),
            *(("disk", f"{self.source}:{each['path']}", each["used"]) for each in result["disks"]),
        ]
        return [
            MetricSample(service, name, float(value), now, source)
            for service in self.services
            for name, source, value in values
        ]

    def counters(self, result: Mapping[str, t.Any], now: float) -> list[CounterReading]:
        return []


Question = GatewayQuestion | MachineQuestion


def questions(services: Mapping[str, Service]) -> list[Question]:
    """What to ask gateways and machines about services, each of them once."""
    # Here: whoever has no such sources does not wait for it.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall

    gateways: dict[tuple[str, str], dict[str, str]] = {}
    machines: dict[tuple[str, str | None, tuple[str, ...]], list[str]] = {}
    for name, service in services.items():
        if service.metrics is None or service.host is None:
            continue
        gateway = service.host.gateway
        if service.metrics.gateway_requests is not None and gateway is not None:
            for each in gateway.every:
                gateways.setdefault((each.machine, each.socket), {})[name] = each.backend
        if service.metrics.machines:
            below = {each.machine: each.processes_below for each in service.host.instances.values()}
            members = service.host.postgresql.members.values() if service.host.postgresql is not None else ()
            below.update({each.machine: None for each in members})
            for machine, directory in below.items():
                machines.setdefault((machine, directory, service.metrics.disks), []).append(name)
    found: list[Question] = [
        GatewayQuestion(
            machine,
            MachineCall(
                machine,
                _COLLECTION + "haproxy_statistics",
                {"socket": socket, "backends": sorted(set(backends.values()))},
                _CALL_SECONDS,
                check_mode=True,
            ),
            backends,
        )
        for (machine, socket), backends in gateways.items()
    ]
    for (machine, directory, disks), names in machines.items():
        arguments: dict[str, t.Any] = {"seconds": _WATCH_SECONDS, "most": 1, "disks": list(disks)}
        if directory is not None:
            arguments["processes_below"] = directory
        call = MachineCall(machine, _COLLECTION + "machine_resources", arguments, _CALL_SECONDS, check_mode=True)
        found.append(MachineQuestion(machine, call, tuple(names)))
    return found
