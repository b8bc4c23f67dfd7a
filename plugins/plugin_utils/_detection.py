# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the criteria of a card fire for the targets, and how machines are asked meanwhile."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Checks, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    CriterionResult,
    Observations,
    confirmation_profile,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate, fires
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

# The whole confirmation, whatever timeouts the checks have.
_DETECTION_SECONDS = 20.0


@dataclass(frozen=True)
class Detection:
    """What was found about all targets together.

    :param fired: at least one criterion fires for a target or for a service that depends on one.
    :param results: the last result of each check that was answered before enough was known.
    :param first_failed_at: Unix seconds of the first failure seen, None when nothing fails.
    """

    fired: bool
    criteria: tuple[CriterionResult, ...]
    results: tuple[CheckResult, ...]
    first_failed_at: float | None
    seconds: float

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
        }


def detect(card: Card, services: Mapping[str, Service], level: str = "deep") -> Detection:
    """Confirm what fails and hold it against the card's criteria.

    :param services: the targets and the services that depend on them.
    """
    # Here, because it brings asyncio and packages along: whoever only reads a detection does not wait for them.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm

    started = time.monotonic()
    checks: dict[str, Checks] = {name: service.checks for name, service in services.items()}

    def judge(observations: Sequence[CheckResult]) -> list[CriterionResult]:
        return evaluate_card(card, services, observations, time.time())

    confirmation = confirm(
        plan_checks(checks, level, signals=True), deadline=_DETECTION_SECONDS, enough=lambda seen: fires(judge(seen))
    )
    results = judge(confirmation.observations)
    failing = [observation.at for observation in confirmation.observations if not observation.ok]
    return Detection(
        fired=any(result.fired for result in results),
        criteria=tuple(results),
        results=confirmation.results,
        first_failed_at=min(failing, default=None),
        seconds=time.monotonic() - started,
    )


def evaluate_card(
    card: Card, services: Mapping[str, Service], observations: Sequence[CheckResult], now: float
) -> list[CriterionResult]:
    """What the criteria of a card say about services; other services' observations are not looked at.

    :param services: the targets and the services that depend on them.
    :param now: Unix seconds; observations after it are not looked at.
    """
    interval = max((service.checks.interval for service in services.values()), default=0.0)
    consecutive = max((service.checks.consecutive for service in services.values()), default=1)
    kinds = {name: service.kind for name, service in services.items()}
    seen = Observations(checks=[each for each in observations if each.target in services])
    return evaluate(card.criteria, seen, now, confirmation_profile(interval, consecutive), kinds)


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
