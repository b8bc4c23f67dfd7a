"""Which runbook is called for now: the criteria of all cards over one pass of an inventory's checks, read only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card, load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import Survey, survey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import questions
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import first_answers
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import keep_look

from codeblue.doctor.finding import Finding, failed, ok, warning
from codeblue.runner.collection import own_runbooks

# Answers of nobody: from a desk that has no way to the site, every check ends like this.
_NOT_REACHED = frozenset({"unreachable", "name_resolution", "timeout", "refused"})
# The controller's own failures; they say nothing about the service.
_OWN_FAILURES = frozenset({"secret_unreadable", "controller"})
_MOST_NAMED = 10


def load_own_cards() -> dict[str, Card]:
    """The cards that can be read; what is wrong with others is a finding about the cards, not about the services."""
    found = {}
    for runbook in own_runbooks():
        try:
            card = load_card(runbook.card_path)
        except BadInput:
            # Reported by `check_cards` with all its lines.
            continue
        found[card.id] = card
    return found


def evaluate_criteria(
    cards: Mapping[str, Card], services: Mapping[str, Service], inventory: tuple[str, ...]
) -> Iterator[Finding | Survey]:
    """Ask everything once, confirm what fails, hold it against all cards, and keep it for criteria over minutes.

    :param inventory: sources as Ansible takes them, for the machines whose metrics are read.
    """
    start = None
    if questions(services):
        # Here: importing Ansible takes a third of a second.
        from codeblue.runner.machines import open_machines

        try:
            start = open_machines(inventory).start
        except BadInput as error:
            yield warning("metrics", f"gateways and machines cannot be asked: {error.message}", error.hint)
    found = survey(cards, services, start=start)
    yield found
    problem = keep_look(services, time.time(), first_answers(found.observations), found.metrics)
    if problem:
        yield warning("metrics", f"samples cannot be kept for criteria over minutes: {problem}")
    for each in found.problems[:_MOST_NAMED]:
        yield warning("metrics", each, "see codeblue_metrics")


def is_reachable(found: Survey) -> bool:
    """At least one service answered something: from here, its silence would mean something."""
    return any(each.ok or each.error_class not in _NOT_REACHED | _OWN_FAILURES for each in found.observations)


def criteria_findings(found: Survey, inventory: Sequence[str], insisted: bool) -> Iterator[Finding]:
    """What the pass comes to, in findings.

    :param inventory: as the person gave it, for the command that is suggested.
    :param insisted: the person wants an answer although nothing can be reached from here.
    """
    yield from _own_failures(found.observations)
    if not found.checks:
        yield ok("criteria", "the services have no codeblue_checks, so no criterion can fire")
        return
    yield from _not_judged(found)
    asked = f"{found.checks} checks, {len(found.criteria)} cards, {found.seconds:.1f} s"
    if not insisted and not is_reachable(found):
        yield warning(
            "criteria",
            f"no service answers from here ({asked}): everything is away, or this controller has no way there",
            "--criteria says which runbook that would call for",
        )
        return
    if not found.called_for:
        failing = sorted({each.target for each in _last(found.observations) if not each.ok})
        more = f"; checks of {', '.join(failing[:_MOST_NAMED])} fail and no criterion fires" if failing else ""
        text = f"no runbook is called for ({asked}){more}"
        yield warning("criteria", text, "see codeblue_checks") if failing else ok("criteria", text)
        return
    options = " ".join(f"-i {source}" for source in inventory)
    for place, each in enumerate(found.called_for, start=1):
        evidence = "; ".join(f"{result.id}: {result.evidence}" for result in each.criteria)
        verb = "is called for" if place == 1 else "would be called for after it"
        hint = f"codeblue run {each.runbook} {options}" if place == 1 else None
        yield warning("criteria", f"{each.runbook} {verb} ({each.reason}): {evidence}", hint)


def _not_judged(found: Survey) -> Iterator[Finding]:
    """Criteria over minutes that nobody has looked at for long enough: said, never taken for health."""
    if not found.lacking:
        return
    text = f"{len(found.lacking)} criteria over minutes are not judged"
    hint = "codeblue watch -i INVENTORY keeps samples for them"
    if found.last_kept_at is None:
        yield ok("windows", f"{text}: no samples are kept", hint)
        return
    name, reason = next(iter(found.lacking.items()))
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.last_kept_at))
    yield ok("windows", f"{text}, the last look before was kept at {since}; {name}: {reason}", hint)


def _own_failures(observations: Sequence[CheckResult]) -> Iterator[Finding]:
    for each in [result for result in _last(observations) if result.error_class in _OWN_FAILURES][:_MOST_NAMED]:
        yield failed("criteria", f"{each.target}/{each.id} cannot be asked: {each.detail}", "see codeblue_checks")


def _last(observations: Sequence[CheckResult]) -> list[CheckResult]:
    return list({(each.target, each.id): each for each in observations}.values())
