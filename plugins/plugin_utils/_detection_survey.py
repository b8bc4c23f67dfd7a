# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One pass over all checks that serves the criteria of all cards, and says which runbook is called for."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    CriterionResult,
    WindowProfile,
    longest_window,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import evaluate_card, profile_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_order import CalledFor, order_fired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import MetricReading, Metrics, Start
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import first_answers
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import WindowEvidence, kept_evidence

# Long enough for three timeouts of the slowest usual check.
SURVEY_SECONDS = 20.0


@dataclass(frozen=True)
class Survey:
    """What one pass found.

    :param called_for: the runbooks whose criteria fire, the one to begin with first.
    :param criteria: all results by card, also of those that do not fire.
    :param checks: how many checks there are.
    :param asked: how often one was asked, with the tries that confirm a failure.
    :param seconds: the whole pass.
    :param metrics: what was read from their sources now.
    :param last_kept_at: Unix seconds when somebody last kept samples before, None when nobody ever did.
    :param problems: what could not be read, for people.
    """

    called_for: tuple[CalledFor, ...]
    criteria: Mapping[str, tuple[CriterionResult, ...]]
    observations: tuple[CheckResult, ...]
    checks: int
    seconds: float
    metrics: Metrics = field(default_factory=Metrics)
    last_kept_at: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def lacking(self) -> dict[str, str]:
        """Criteria that cannot be judged as `card/criterion`, each with the reason."""
        return {
            f"{card}/{result.id}": result.lacking
            for card, results in self.criteria.items()
            for result in results
            if result.lacking
        }

    @property
    def asked(self) -> int:
        return len(self.observations)

    @property
    def runbooks(self) -> list[str]:
        """The runbooks that are called for, the one to begin with first."""
        return [each.runbook for each in self.called_for]

    def as_dict(self) -> dict[str, t.Any]:
        """For JSON."""
        return {
            "called_for": [
                {
                    "runbook": each.runbook,
                    "suspects": list(each.suspects),
                    "reason": each.reason,
                    "criteria": [asdict(result) for result in each.criteria],
                }
                for each in self.called_for
            ],
            "not_judged": self.lacking,
            "problems": list(self.problems[:20]),
            "checks": self.checks,
            "asked": self.asked,
            "seconds": round(self.seconds, 3),
        }


def survey(
    cards: Mapping[str, Card],
    services: Mapping[str, Service],
    enough: Callable[[Sequence[CheckResult]], bool] | None = None,
    start: Start | None = None,
) -> Survey:
    """Ask every check once, confirm what fails, and hold it against the criteria of all cards.

    :param cards: by their id.
    :param services: all services of the inventory.
    :param enough: see `confirm`; by default everything is waited for, so that no card is judged on half of it.
    :param start: runs modules that only read, for the metrics of gateways and machines; None leaves those out.
    """
    began, now = time.monotonic(), time.time()
    plan = plan_checks({name: service.checks for name, service in services.items()}, "deep", signals=True)
    window = longest_window([each for card in cards.values() for each in card.criteria], profile_of(services))
    reading = MetricReading(services, now, window, start)
    try:
        observations = confirm(plan, deadline=SURVEY_SECONDS, enough=enough).observations
        metrics = reading.metrics()
    finally:
        reading.end()
    evidence = kept_evidence(services, now, window).plus(metrics, first_answers(observations))
    found = judge(cards, services, observations, time.time(), len(plan), time.monotonic() - began, evidence)
    return replace(found, metrics=metrics)


def judge(
    cards: Mapping[str, Card],
    services: Mapping[str, Service],
    observations: Sequence[CheckResult],
    now: float,
    checks: int,
    seconds: float,
    evidence: WindowEvidence | None = None,
    profile: WindowProfile | None = None,
) -> Survey:
    """The criteria of all cards over what was observed up to `now`.

    :param now: Unix seconds. An answer that was not there yet does not count.
    :param evidence: see `evaluate_card`.
    :param profile: see `evaluate_card`.
    """
    seen = [each for each in observations if each.at + each.seconds <= now]
    known = evidence or WindowEvidence(checks=tuple(first_answers(seen)))
    fired = {
        name: tuple(evaluate_card(card, watched(card, services), seen, now, known, profile))
        for name, card in cards.items()
    }
    called_for = order_fired(fired, cards, services, seen)
    return Survey(called_for, fired, tuple(seen), checks, seconds, last_kept_at=known.last_at, problems=known.problems)


def watched(card: Card, services: Mapping[str, Service]) -> dict[str, Service]:
    """What a run of the runbook on all its targets looks at: those, and the services that need one of them."""
    targets = {name for name, service in services.items() if service.kind in card.kinds}
    return {
        name: service
        for name, service in services.items()
        if name in targets or targets.intersection(service.depends_on)
    }
