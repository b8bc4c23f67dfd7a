# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What criteria over minutes are evaluated over beside the present answers: what was kept, and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import Metrics
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import (
    CounterReading,
    MetricSample,
    Observations,
    error_rates,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._samples import keep_samples, read_samples

# How much more than the window is kept at hand: to say since when there is nothing, and for the reading of a counter
# from before the window.
_MORE = 2.0


@dataclass(frozen=True)
class WindowEvidence:
    """What was seen before, or elsewhere.

    :param checks: the answers of all looks, that of now among them, each check once in each look.
    :param last_at: Unix seconds of the last look that was ever kept, None when there is none.
    :param problems: why something could not be read, for people.
    :param metrics_until: see `Observations`.
    """

    checks: tuple[CheckResult, ...] = ()
    samples: tuple[MetricSample, ...] = ()
    counters: tuple[CounterReading, ...] = ()
    last_at: float | None = None
    problems: tuple[str, ...] = ()
    metrics_until: float | None = None

    def plus(self, metrics: Metrics, checks: Sequence[CheckResult] = ()) -> WindowEvidence:
        """And what was just read."""
        return replace(
            self,
            checks=(*self.checks, *checks),
            samples=(*self.samples, *metrics.samples),
            counters=(*self.counters, *metrics.counters),
            problems=(*self.problems, *metrics.problems),
        )

    def since(self, moment: float) -> WindowEvidence:
        """Without what is older than a moment in Unix seconds."""
        return replace(
            self,
            checks=tuple(each for each in self.checks if each.at >= moment),
            samples=tuple(each for each in self.samples if each.at >= moment),
            counters=tuple(each for each in self.counters if each.at >= moment),
        )

    def of(self, services: Mapping[str, Service]) -> WindowEvidence:
        """Of these services alone."""
        return replace(
            self,
            checks=tuple(each for each in self.checks if each.target in services),
            samples=tuple(each for each in self.samples if each.target in services),
            counters=tuple(each for each in self.counters if each.target in services),
        )

    def observations(self, services: Mapping[str, Service], seen: Sequence[CheckResult]) -> Observations:
        """Together with the answers of now, which are among the looks already.

        :param seen: with the tries that confirm failures.
        """
        own = self.of(services)
        sources = {name: each.metrics for name, each in services.items() if each.metrics is not None}
        least = {name: each.gateway_requests for name, each in sources.items() if each.gateway_requests is not None}
        return Observations(
            checks=seen,
            metrics=[*own.samples, *error_rates(own.counters, least)],
            looks=own.checks,
            expected={name: each.names() for name, each in sources.items()},
            metrics_until=self.metrics_until,
        )


def kept_evidence(services: Mapping[str, Service], now: float, window: float) -> WindowEvidence:
    """What was kept of services by whoever looked before.

    :param now: Unix seconds.
    :param window: seconds of the longest window; 0 when nobody looks back, then nothing is read.
    """
    found = WindowEvidence()
    if window <= 0:
        return found
    for environment in sorted({service.environment for service in services.values()}):
        kept = read_samples(environment, now - _MORE * window)
        found = replace(
            found,
            checks=(*found.checks, *kept.checks),
            samples=(*found.samples, *kept.metrics),
            counters=(*found.counters, *kept.counters),
            last_at=max((at for at in (found.last_at, kept.last_at) if at is not None), default=None),
            problems=(*found.problems, *((f"kept samples: {kept.problem}",) if kept.problem else ())),
        )
    return found.of(services)


def keep_look(
    services: Mapping[str, Service], at: float, checks: Sequence[CheckResult], metrics: Metrics
) -> str | None:
    """Keep one look for whoever judges criteria over minutes later; why that does not work, or None.

    :param at: Unix seconds.
    :param checks: each check once.
    """
    # Of a window that Prometheus told, which it will tell again, the last value only.
    newest = {(each.target, each.name, each.source): each for each in sorted(metrics.samples, key=lambda each: each.at)}
    for environment in sorted({service.environment for service in services.values()}):
        own = {name for name, service in services.items() if service.environment == environment}
        try:
            keep_samples(
                environment,
                at,
                [each for each in checks if each.target in own],
                [each for each in newest.values() if each.target in own],
                [each for each in metrics.counters if each.target in own],
            )
        except (CodeblueError, OSError) as error:
            return str(error)
    return None
