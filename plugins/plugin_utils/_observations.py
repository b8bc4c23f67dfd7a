# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What criteria are evaluated over: answers to checks, and metrics. Pure: times are given, never asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult

SHARE, SECONDS = "share", "seconds"
#: Every metric that a criterion can name, with its unit.
METRICS: Mapping[str, str] = {
    "cpu": SHARE,
    "memory": SHARE,
    "disk": SHARE,
    "error_rate": SHARE,
    "response": SECONDS,
}
#: Of fewer requests than this nobody speaks of a rate.
LEAST_REQUESTS = 10


@dataclass(frozen=True)
class MetricSample:
    """A measured value of one of `METRICS`; of a share, 0.95 = 95 %.

    :param at: Unix seconds.
    :param source: who measured what: a machine, a gateway, Prometheus. Each source is judged by itself.
    :param seconds: the time up to `at` that the value speaks for; 0 for a moment.
    """

    target: str
    name: str
    value: float
    at: float
    source: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class CounterReading:
    """The counters of what stands before a service, since it was started.

    :param requests: all of them; `errors` are those that the service or its absence made fail.
    :param at: Unix seconds.
    """

    target: str
    source: str
    requests: float
    errors: float
    at: float


@dataclass(frozen=True)
class Observations:
    """What was seen up to now, in any order.

    :param looks: for criteria over a window, the answers of looks at an even pace: tries that confirm a failure would
        count it several times. None for `checks`.
    :param expected: the metrics that each target has a source for.
    :param metrics_until: Unix seconds, when metrics were read for longer than checks were asked; None for `now`.
    """

    checks: Sequence[CheckResult] = ()
    metrics: Sequence[MetricSample] = ()
    looks: Sequence[CheckResult] | None = None
    expected: Mapping[str, frozenset[str]] = field(default_factory=dict)
    metrics_until: float | None = None


Seen = TypeVar("Seen", CheckResult, MetricSample, CounterReading)


def by_target(items: Iterable[Seen]) -> Mapping[str, list[Seen]]:
    """Observations of each target, oldest first."""
    found: dict[str, list[Seen]] = {}
    for item in sorted(items, key=lambda each: each.at):
        found.setdefault(item.target, []).append(item)
    return found


def first_answers(results: Iterable[CheckResult]) -> list[CheckResult]:
    """The first answer of each check in one look, without the tries that confirmed a failure."""
    found: dict[tuple[str, str], CheckResult] = {}
    for result in sorted(results, key=lambda each: each.at):
        found.setdefault((result.target, result.id), result)
    return list(found.values())


def error_rates(readings: Iterable[CounterReading], least: Mapping[str, int]) -> list[MetricSample]:
    """The share of requests that failed between readings of counters, as samples of `error_rate`.

    A counter that falls was started anew: what happened in between is not known.

    :param least: by target; readings are put together until so many requests came in between.
    """
    found = []
    for target, series in by_target(readings).items():
        begun: dict[str, CounterReading] = {}
        for reading in series:
            before = begun.setdefault(reading.source, reading)
            requests, errors = reading.requests - before.requests, reading.errors - before.errors
            if requests < 0 or errors < 0:
                begun[reading.source] = reading
            elif requests >= max(1, least.get(target, LEAST_REQUESTS)):
                rate = min(1.0, errors / requests)
                spoken_for = reading.at - before.at
                found.append(MetricSample(target, "error_rate", rate, reading.at, reading.source, spoken_for))
                begun[reading.source] = reading
    return found
