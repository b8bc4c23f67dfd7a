# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which runbook to begin with when the criteria of several cards fire. Pure: works on what was observed.

The rules, in this order:

1. What is at stake, as the card says (`detection.precedence`): an intrusion before an exposure before damaged data,
   because these grow with every minute, and a restart or a rollback by another runbook would destroy evidence or write
   on; then an outage of most services, which only its own share of failing services makes fire; then a single service;
   slowness last.
2. But what is merely late is no absence: a card for an outage or a service whose services all fail by `timeout` or
   `slow` comes after a card for performance that fires, which has seen the slowness itself.
3. A card that has a suspect comes before one that only sees others suffer. A suspect is a service of the card's kinds
   that fails the criteria itself; or one that does not, and all of whose dependents (two or more) do, while they are
   alive and nothing else that they need has failed: then it is what they have in common.
4. The cause before its consequences: the card whose suspect needs the fewest other failing services. What others have
   in common counts as failing here, though it answers.
5. A card for few kinds of services before one for many, the higher severity before the lower, then by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import PRECEDENCES, SEVERITIES, Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CriterionResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

_LATE = frozenset({"timeout", "slow"})
_ABSENCE = ("outage", "service")
_LEAST_IN_COMMON = 2


@dataclass(frozen=True)
class CalledFor:
    """A runbook whose criteria fire.

    :param criteria: those that fire, with their evidence.
    :param suspects: services that the runbook can be aimed at and that explain what is seen.
    :param reason: why it stands where it stands, for people.
    """

    runbook: str
    criteria: tuple[CriterionResult, ...]
    suspects: tuple[str, ...]
    reason: str

    @property
    def fired(self) -> list[str]:
        """The ids of its criteria."""
        return [result.id for result in self.criteria]


def order_fired(
    fired: Mapping[str, Sequence[CriterionResult]],
    cards: Mapping[str, Card],
    services: Mapping[str, Service],
    observations: Sequence[CheckResult],
) -> tuple[CalledFor, ...]:
    """The runbooks that are called for, the one to begin with first.

    :param fired: by the id of the card, the results of its criteria; cards of which none fires are left out.
    :param services: all that were observed.
    :param observations: every answer, oldest first.
    """
    situation = _Situation(services, observations)
    called = [name for name, results in fired.items() if any(result.fired for result in results)]
    slowness_seen = any(cards[name].precedence == "performance" for name in called)
    results_of = {name: tuple(result for result in fired[name] if result.fired) for name in called}
    hits = {name: {target for result in results_of[name] for target in result.targets} for name in called}
    suspects_of = {name: situation.suspects(cards[name], hits[name]) for name in called}
    suspected = {each for name in called if cards[name].precedence == "service" for each in suspects_of[name]}
    ranked = []
    for name in called:
        card, results, hit, suspects = cards[name], results_of[name], hits[name], suspects_of[name]
        merely_late = slowness_seen and card.precedence in _ABSENCE and situation.is_merely_late(hit)
        depth = min((situation.failing_beneath(suspect, suspected) for suspect in suspects), default=len(services))
        rank = (
            len(PRECEDENCES) if merely_late else PRECEDENCES.index(card.precedence),
            not suspects,
            depth,
            len(card.kinds),
            SEVERITIES.index(card.severity),
            name,
        )
        reason = _reason(card, suspects, merely_late, depth)
        ranked.append((rank, CalledFor(name, results, tuple(sorted(suspects)), reason)))
    return tuple(each for _rank, each in sorted(ranked, key=lambda pair: pair[0]))


class _Situation:
    """What the last answer of every check says about every service."""

    def __init__(self, services: Mapping[str, Service], observations: Sequence[CheckResult]) -> None:
        self._services = services
        last = {(each.target, each.id): each for each in observations}
        self._failed = [each for each in last.values() if not each.ok and each.level != SIGNALS]
        self._failing = {each.target for each in self._failed}
        self._gone = {each.target for each in self._failed if each.level == "shallow"}

    def suspects(self, card: Card, hit: set[str]) -> set[str]:
        own = {name for name in self._services if self._services[name].kind in card.kinds}
        return (own & hit) or {name for name in own if self._is_in_common(name, hit)}

    def _is_in_common(self, name: str, hit: set[str]) -> bool:
        dependents = {each for each, service in self._services.items() if name in service.depends_on}
        unexplained = {each for each in dependents & hit if not self._is_explained_without(each, name)}
        return dependents <= hit and len(unexplained) >= _LEAST_IN_COMMON

    def _is_explained_without(self, dependent: str, name: str) -> bool:
        """It is gone itself, or something else that it needs is."""
        return bool(({dependent} | self._needs(dependent)) - {name} & self._gone)

    def _needs(self, name: str) -> set[str]:
        """All that a service depends on, directly or by way of others."""
        found: set[str] = set()
        to_visit = list(self._services[name].depends_on)
        while to_visit:
            each = to_visit.pop()
            if each not in found and each in self._services:
                found.add(each)
                to_visit += self._services[each].depends_on
        return found

    def failing_beneath(self, name: str, suspected: set[str]) -> int:
        """How many failing or suspected services it needs; 0 for one that nothing else explains."""
        return len(self._needs(name) & (self._failing | suspected) - {name})

    def is_merely_late(self, hit: set[str]) -> bool:
        classes = {each.error_class for each in self._failed if each.target in hit}
        return bool(classes) and classes <= _LATE


def _reason(card: Card, suspects: set[str], merely_late: bool, depth: int) -> str:
    named = ", ".join(sorted(suspects)[:5])
    if merely_late:
        return f"{card.precedence}, but everything answers, only late"
    if not suspects:
        return f"{card.precedence}, seen only by what depends on it"
    if card.precedence != "service":
        return f"{card.precedence}: {named}"
    beneath = "needs nothing else that fails" if depth == 0 else f"needs {depth} that fail too"
    return f"{card.precedence}: {named} {beneath}"
