# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One pass over all checks that serves the criteria of all cards, and says which runbook is called for."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CriterionResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import evaluate_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_order import CalledFor, order_fired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

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
    """

    called_for: tuple[CalledFor, ...]
    criteria: Mapping[str, tuple[CriterionResult, ...]]
    observations: tuple[CheckResult, ...]
    checks: int
    seconds: float

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
            "checks": self.checks,
            "asked": self.asked,
            "seconds": round(self.seconds, 3),
        }


def survey(
    cards: Mapping[str, Card],
    services: Mapping[str, Service],
    enough: Callable[[Sequence[CheckResult]], bool] | None = None,
) -> Survey:
    """Ask every check once, confirm what fails, and hold it against the criteria of all cards.

    :param cards: by their id.
    :param services: all services of the inventory.
    :param enough: see `confirm`; by default everything is waited for, so that no card is judged on half of it.
    """
    began = time.monotonic()
    plan = plan_checks({name: service.checks for name, service in services.items()}, "deep", signals=True)
    observations = confirm(plan, deadline=SURVEY_SECONDS, enough=enough).observations
    return judge(cards, services, observations, time.time(), len(plan), time.monotonic() - began)


def judge(
    cards: Mapping[str, Card],
    services: Mapping[str, Service],
    observations: Sequence[CheckResult],
    now: float,
    checks: int,
    seconds: float,
) -> Survey:
    """The criteria of all cards over what was observed up to `now`.

    :param now: Unix seconds. An answer that was not there yet does not count.
    """
    seen = [each for each in observations if each.at + each.seconds <= now]
    fired = {name: tuple(evaluate_card(card, watched(card, services), seen, now)) for name, card in cards.items()}
    return Survey(order_fired(fired, cards, services, seen), fired, tuple(seen), checks, seconds)


def watched(card: Card, services: Mapping[str, Service]) -> dict[str, Service]:
    """What a run of the runbook on all its targets looks at: those, and the services that need one of them."""
    targets = {name for name, service in services.items() if service.kind in card.kinds}
    return {
        name: service
        for name, service in services.items()
        if name in targets or targets.intersection(service.depends_on)
    }
