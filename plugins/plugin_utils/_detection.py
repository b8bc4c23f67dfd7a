# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the criteria of a card fire for the targets, and how machines are asked meanwhile."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Checks, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    CheckSlow,
    CriterionResult,
    MetricOver,
    WindowProfile,
    confirmation_profile,
    longest_window,
    profile_for,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate, fires
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import Start
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import first_answers
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import WindowEvidence, kept_evidence

# The whole confirmation, whatever timeouts the checks have.
_DETECTION_SECONDS = 20.0
# What waits in a queue is late most of the time, and now and then lucky: one quick answer does not end the question.
_LOOKS_FOR_SLOW = 3


@dataclass(frozen=True)
class Detection:
    """What was found about all targets together.

    :param fired: at least one criterion fires for a target or for a service that depends on one.
    :param results: the last result of each check that was answered before enough was known.
    :param first_failed_at: Unix seconds of the first failure seen, None when nothing fails.
    :param problems: sources of metrics that could not be read, for people.
    """

    fired: bool
    criteria: tuple[CriterionResult, ...]
    results: tuple[CheckResult, ...]
    first_failed_at: float | None
    seconds: float
    problems: tuple[str, ...] = ()

    def lacking(self) -> list[str]:
        """Criteria that cannot be judged, each with the reason."""
        return [f"{result.id} ({result.lacking})" for result in self.criteria if result.lacking]

    def fired_ids(self) -> list[str]:
        return [result.id for result in self.criteria if result.fired]

    def as_dict(self) -> dict[str, t.Any]:
        """For results and the record."""
        return {
            "fired": self.fired,
            "criteria": [asdict(result) for result in self.criteria],
            "failing": [
                {"target": r.target, "check": r.id, "error_class": r.error_class, "detail": r.detail}
                for r in self.results
                if not r.ok
            ][:50],
            "checks": len(self.results),
            "seconds": round(self.seconds, 3),
            "problems": list(self.problems[:20]),
        }


def detect(card: Card, services: Mapping[str, Service], level: str = "deep") -> Detection:
    """Confirm what fails and hold it against the card's criteria.

    Criteria over minutes are held against what was kept by whoever looked before, and against Prometheus where a
    service has one; neither is waited for when another criterion fires.

    :param services: the targets and the services that depend on them.
    """
    # Here, because it brings asyncio and packages along: whoever only reads a detection does not wait for them.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import MetricReading

    started, now = time.monotonic(), time.time()
    checks: dict[str, Checks] = {name: service.checks for name, service in services.items()}
    window = longest_window(card.criteria, profile_of(services))
    reading = MetricReading(services if window else {}, now, window)

    def judge(observations: Sequence[CheckResult], evidence: WindowEvidence | None = None) -> list[CriterionResult]:
        return evaluate_card(card, services, observations, time.time(), evidence)

    observations: tuple[CheckResult, ...] = ()
    for _look in range(_LOOKS_FOR_SLOW if any(isinstance(each.condition, CheckSlow) for each in card.criteria) else 1):
        left = started + _DETECTION_SECONDS - time.monotonic()
        if left <= 0:
            break
        earlier = observations
        confirmation = confirm(
            plan_checks(checks, level, signals=True),
            deadline=left,
            enough=lambda seen, earlier=earlier: fires(judge((*earlier, *seen))),
        )
        observations = (*earlier, *confirmation.observations)
        if fires(judge(observations)):
            break
    results = judge(observations)
    evidence = WindowEvidence()
    if not fires(results):
        looks = first_answers(observations)
        evidence = kept_evidence(services, now, window).plus(reading.metrics(), looks)
        results = judge(observations, evidence)
    failing = [observation.at for observation in observations if not observation.ok]
    return Detection(
        fired=any(result.fired for result in results),
        criteria=tuple(results),
        results=confirmation.results,
        first_failed_at=min(failing, default=None),
        seconds=time.monotonic() - started,
        problems=evidence.problems,
    )


def with_metrics(card: Card, services: Mapping[str, Service], detection: Detection, start: Start) -> Detection:
    """A detection in which nothing fires, together with what gateways and machines tell now.

    They are asked only then: what fires already is not kept waiting for a connection.

    :param services: the targets and the services that depend on them.
    :param start: runs modules that only read.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import MetricReading, questions

    concerned = any(isinstance(each.condition, MetricOver) for each in card.criteria)
    if detection.fired or not concerned or not questions(services):
        return detection
    now = time.time()
    window = longest_window(card.criteria, profile_of(services))
    metrics = MetricReading(services, now, window, start).metrics()
    evidence = kept_evidence(services, now, window).plus(metrics, detection.results)
    by_id = {result.id: result for result in evaluate_card(card, services, detection.results, time.time(), evidence)}
    of_metrics = {each.id for each in card.criteria if isinstance(each.condition, MetricOver)}
    results = tuple(by_id[each.id] if each.id in of_metrics else each for each in detection.criteria)
    return replace(
        detection,
        fired=any(result.fired for result in results),
        criteria=results,
        seconds=detection.seconds + time.time() - now,
        problems=tuple(dict.fromkeys((*detection.problems, *metrics.problems))),
    )


def evaluate_card(
    card: Card,
    services: Mapping[str, Service],
    observations: Sequence[CheckResult],
    now: float,
    evidence: WindowEvidence | None = None,
    profile: WindowProfile | None = None,
) -> list[CriterionResult]:
    """What the criteria of a card say about services; other services' observations are not looked at.

    :param services: the targets and the services that depend on them.
    :param now: Unix seconds; observations after it are not looked at.
    :param evidence: for criteria over a window; by default nothing but these observations.
    :param profile: by default failures in a row as the inventory confirms them.
    """
    interval = max((service.checks.interval for service in services.values()), default=0.0)
    consecutive = max((service.checks.consecutive for service in services.values()), default=1)
    kinds = {name: service.kind for name, service in services.items()}
    seen = [each for each in observations if each.target in services]
    return evaluate(
        card.criteria,
        (evidence or WindowEvidence(checks=tuple(first_answers(seen)))).observations(services, seen),
        now,
        profile or confirmation_profile(interval, consecutive, profile_of(services).time_scale),
        kinds,
    )


def profile_of(services: Mapping[str, Service]) -> WindowProfile:
    """The windows of the environment that services are in."""
    return profile_for(next((service.environment for service in services.values()), "production"))


def dependents_of(
    targets: Sequence[str], hostvars: Mapping[str, Mapping[str, t.Any]], names: Sequence[str]
) -> list[str]:
    """The services that need one of the targets, directly."""
    wanted = set(targets)
    return [
        name
        for name in names
        if name not in wanted
        and wanted.intersection(str(each) for each in hostvars[name].get("codeblue_depends_on", []))
    ]
