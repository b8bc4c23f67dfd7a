"""Looks at a clinic on a cluster from outside: at its workloads always, at its services where something real answers.

The probes go through the API server's proxy, as the controller has no other way to the pods in general.
"""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_workload import look_at
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, PlannedCheck, WorkloadCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

from codeblue.drill.outages import (
    away_endpoints,
    away_seconds,
    away_text,
    back_seconds,
    complaints,
    put_outages,
    untouched,
    wait_back,
    without_single_late_ones,
)
from codeblue.lab.injection import Injection
from codeblue.lab.kubernetes.proxy import ServiceProxy
from codeblue.lab.measurement import Measurement, Sample, analyse

if t.TYPE_CHECKING:
    from codeblue.drill.result import DrillResult

_PERIOD_SECONDS = 0.2
_PROBE_SECONDS = 1.0
_SIGNAL_SECONDS = 10.0
_FIRST_SECONDS = 15.0
# Ten minutes of five services.
_MOST_SAMPLES = 20_000
# The database speaks no HTTP: whether it takes connections is what its workload says.
_WITHOUT_HTTP = frozenset(("patient_db",))
_UNKNOWN = "api_unavailable"


class WorkloadWitness:
    """Asks from a thread for each service.

    :param hits: what the fault is to take away.
    :param real: something real answers: requests are made, and their figures count.
    :param signals: of the site's monitoring, by which the fault is seen: they have to be clear for a workload to be
        good.
    """

    def __init__(
        self, services: Mapping[str, Service], hits: tuple[str, ...], real: bool, signals: tuple[str, ...] = ()
    ) -> None:
        self._services = services
        self._hits = hits
        self._real = real
        self._signals = signals
        self._workloads: list[Sample] = []
        self._requests: list[Sample] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(each,), daemon=True) for each in services.values()]
        if real:
            asked = [each for name, each in services.items() if name not in _WITHOUT_HTTP]
            self._threads += [threading.Thread(target=self._ask, args=(each,), daemon=True) for each in asked]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + _FIRST_SECONDS
        while len(self._workloads) < len(self._services) and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PROBE_SECONDS + _PERIOD_SECONDS)

    def so_far(self) -> tuple[int, list[str]]:
        samples = [*self._workloads, *self._requests]
        return len(samples), complaints(without_single_late_ones(samples))

    def wait_back(self, injection: Injection) -> None:
        wait_back(
            lambda: without_single_late_ones([*self._workloads, *_renamed(self._requests)]),
            injection,
        )

    def still_away(self, injection: Injection) -> list[str]:
        found = away_endpoints(self._of(self._workloads, injection))
        return found + (away_endpoints(self._of(self._requests, injection)) if self._real else [])

    def measure(self, injection: Injection, result: DrillResult) -> str:
        workloads = self._of(self._workloads, injection)
        result.workload_back_seconds = back_seconds(workloads, injection)
        put_outages(workloads, injection, result)
        seen = workloads
        if self._real:
            # What a signal tells of, requests need not show.
            samples = [*self._workloads, *_renamed(self._requests)] if self._signals else self._requests
            seen = self._of(samples, injection)
            put_outages(seen, injection, result)
            result.rto_seconds = away_seconds(seen)
        if missed := untouched(self._hits, seen):
            result.problems.append(f"the fault did not take {', '.join(missed)} away: nothing was proven")
        what = "away" if self._real else "workload check failing"
        return f"{what}: {away_text(result) or 'nothing'}"

    def _of(self, samples: list[Sample], injection: Injection) -> Measurement:
        return analyse(without_single_late_ones(samples), since=injection.struck_monotonic)

    def _watch(self, service: Service) -> None:
        check = next(each for each in service.checks.shallow if isinstance(each, WorkloadCheck))

        plan = [
            PlannedCheck(service.name, SIGNALS, each) for each in service.checks.signals if each.id in self._signals
        ]

        def look() -> str | None:
            wrong = look_at(check).error_class
            if wrong is not None or not plan:
                return wrong
            return next((each.error_class for each in run_checks(plan, deadline=_SIGNAL_SECONDS) if not each.ok), None)

        self._repeat(service.name, look, self._workloads)

    def _ask(self, service: Service) -> None:
        place = service.require_kubernetes()
        proxy = ServiceProxy(ClusterAccess(place.kubeconfig, place.context), place.namespace)
        self._repeat(service.name, lambda: proxy.ask(service.name, _PROBE_SECONDS), self._requests)

    def _repeat(self, name: str, look: t.Callable[[], str | None], samples: list[Sample]) -> None:
        while not self._stopped.is_set():
            started, wall = time.monotonic(), time.time()
            wrong = look()
            # An API server that was not asked in time says nothing about a workload.
            if wrong != _UNKNOWN and len(samples) < _MOST_SAMPLES:
                samples.append(Sample(name, started, time.monotonic(), wall, wrong is None, wrong or ""))
            self._stopped.wait(max(0.0, started + _PERIOD_SECONDS - time.monotonic()))


def _renamed(samples: list[Sample]) -> list[Sample]:
    """Requests beside workloads of the same name."""
    return [replace(each, endpoint=f"{each.endpoint} requests") for each in list(samples)]
