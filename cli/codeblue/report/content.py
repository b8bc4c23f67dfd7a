"""What a report says, taken from a run's record, its card, and, for a drill, what was measured from outside."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.report.parts import (
    Chain,
    Criterion,
    Delivery,
    DrillPart,
    Evidence,
    Figure,
    FollowUp,
    Reason,
    ReportStep,
    Target,
    Validated,
)
from codeblue.report.record import (
    chains_of,
    criteria_of,
    evidence_of,
    fields_of,
    moment,
    reason_of,
    step_of,
    validated_of,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ChangeTicket, Incident, Run, Step
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

# Kinds of records that say what was found, decided or accepted.
_REASONS = ("diagnosis", "acceptance", "note", "version_marked_bad")
_EVIDENCE = ("evidence", "evidence_access", "snapshot_added")
_MOST_MESSAGES = 1000
_RUNS_LOOKED_AT = 100


@dataclass(frozen=True)
class Report:
    """All of it.

    :param title: of the card; the name of the runbook when there is none.
    :param offset: seconds from the beginning that times count from (the fault of a drill) to the opening of the run.
    :param seconds: from the opening to the closing, or to the last thing that was recorded.
    :param first_action_seconds: from the opening to the first change that a machine accepted.
    :param measurements: (name, value, unit, target) that were recorded.
    :param missing: what cannot be said here, and why.
    """

    run: Run
    title: str
    offset: float
    seconds: float
    first_action_seconds: float | None
    figures: list[Figure]
    targets: list[Target]
    criteria: list[Criterion]
    steps: list[ReportStep]
    reasons: list[Reason]
    validations: list[Validated]
    evidence: list[Evidence]
    deliveries: list[Delivery]
    follow_ups: list[FollowUp]
    measurements: list[tuple[str, t.Any, str, str]]
    chains: list[Chain]
    change: ChangeTicket | None = None
    incident: Incident | None = None
    drill: DrillPart | None = None
    missing: list[str] = field(default_factory=list)


def collect(store: ResilientStore, run_id: str, drill: DrillPart | None = None) -> Report:
    """The report on a run.

    :param drill: what was measured from outside, when the run belongs to a drill.
    :raises BadInput: there is no such run.
    """
    run = store.run(run_id)
    if run is None:
        raise BadInput(f"there is no run {run_id}", "codeblue audit list shows the runs")
    opened = moment(run.opened_at)
    origin = moment(drill.struck_at) if drill and drill.struck_at else opened
    records = store.ledger_records(run_id)
    by_kind: dict[str, list[dict[str, t.Any]]] = {}
    for record in records:
        by_kind.setdefault(str(record["kind"]), []).append(record)
    journal = store.steps(run_id)
    last = max((moment(str(record["at"])) for record in records), default=opened)
    seconds = ((moment(run.closed_at) if run.closed_at else last) - opened).total_seconds()
    first = _first_action(journal, opened)
    main = store.main
    card = _card_of(run.runbook)
    deliveries = list(_deliveries(store, run)) if main else []
    missing = [] if main else ["the state store could not be read: ticket, incident and messages are missing"]
    if card is None:
        missing.append(f"{run.runbook} has no card here: its title and the actions afterwards are missing")
    return Report(
        run=run,
        title=card.title if card else run.runbook,
        offset=(opened - origin).total_seconds(),
        seconds=seconds,
        first_action_seconds=first,
        figures=[*(drill.figures if drill else ()), *_figures(store, run, journal, seconds, first)],
        targets=[_target(run, name, by_kind, opened) for name in run.targets],
        criteria=criteria_of(by_kind.get("detection", []), card),
        steps=[step_of(step, origin) for step in journal],
        reasons=[reason_of(record, origin) for record in records if record["kind"] in _REASONS],
        validations=[validated_of(record, origin) for record in by_kind.get("validation", [])],
        evidence=[evidence_of(record, origin) for record in records if record["kind"] in _EVIDENCE],
        deliveries=deliveries,
        follow_ups=_follow_ups(card, run),
        measurements=[_measurement(fields_of(record)) for record in by_kind.get("measurement", [])],
        chains=list(chains_of(records, deliveries)),
        change=main.change(run.change_id) if main else None,
        incident=main.incident(run.incident_id) if main else None,
        drill=drill,
        missing=missing,
    )


def _first_action(steps: Iterable[Step], opened: datetime) -> float | None:
    moments = [
        float(step.result["accepted_at"])
        for step in steps
        if step.result and isinstance(step.result.get("accepted_at"), (int, float))
    ]
    return min(moments) - opened.timestamp() if moments else None


def _figures(
    store: ResilientStore, run: Run, journal: Iterable[Step], seconds: float, first: float | None
) -> Iterable[Figure]:
    """Times and losses against what was wanted of them."""
    objectives = [each for each in run.objectives.values() if isinstance(each, Mapping)]
    rto = min((each["rto_seconds"] for each in objectives if each.get("rto_seconds")), default=None)
    rpo = min((each["rpo_seconds"] for each in objectives if each.get("rpo_seconds") is not None), default=None)
    met = seconds <= rto if rto and run.closed_at and run.exit_code in (0, 4) else None
    yield Figure(
        "Run, opened to closed",
        format_duration(seconds),
        f"within {format_duration(rto)}" if rto else "",
        met,
        f"{seconds / rto:.0%} of the RTO" if rto else "",
    )
    planned, runs = _planned(store, run)
    if planned is not None:
        more = seconds / planned - 1 if planned else 0.0
        yield Figure(
            "Planned for it",
            format_duration(planned),
            "",
            None,
            f"median of {runs} earlier recovered runs; this one took {abs(more):.0%} {'more' if more > 0 else 'less'}",
        )
    if first is not None:
        yield Figure("First change, from the opening", format_duration(first), "", None)
    loss = _decided_loss(journal)
    if loss is not None:
        wanted = f"at most {format_duration(rpo)}" if rpo else "nothing lost" if rpo == 0 else ""
        yield Figure(
            "Loss that the run decided on", format_duration(loss), wanted, loss <= rpo if rpo is not None else None
        )


def _planned(store: ResilientStore, run: Run) -> tuple[float | None, int]:
    """What was forecast for the run when it began: the median of those before it, and how many those were."""
    before = [
        (moment(each.closed_at) - moment(each.opened_at)).total_seconds()
        for each in store.runs(limit=_RUNS_LOOKED_AT, status="closed")
        if each.runbook == run.runbook
        and each.closed_at
        and each.opened_at < run.opened_at
        and each.outcome in ("recovered", "completed", "degraded")
    ]
    return (statistics.median(before), len(before)) if before else (None, 0)


def _decided_loss(journal: Iterable[Step]) -> float | None:
    """Seconds of commits that a promotion gave up, as it was decided; None when there was no such decision."""
    found = [
        choice["loss_seconds"]
        for step in journal
        if isinstance(choice := step.decision.get("choice"), Mapping)
        and isinstance(choice.get("loss_seconds"), (int, float))
    ]
    return max(found, default=None)


def _target(run: Run, name: str, by_kind: Mapping[str, list[dict[str, t.Any]]], opened: datetime) -> Target:
    state = run.targets[name]
    closed = [record for record in by_kind.get("target_closed", []) if fields_of(record).get("target") == name]
    at = state.closed_at or (str(closed[-1]["at"]) if closed else None)
    objective = run.objectives.get(name)
    known = objective if isinstance(objective, Mapping) else {}
    validated = [fields_of(record) for record in by_kind.get("validation", [])]
    own = [each for each in validated if each.get("target") == name]
    return Target(
        name=name,
        outcome=state.outcome or "open",
        seconds=(moment(at) - opened).total_seconds() if at else None,
        rto_seconds=known.get("rto_seconds"),
        rpo_seconds=known.get("rpo_seconds"),
        checks=f"{own[-1].get('status', '')}, {own[-1].get('checks', 0)} {own[-1].get('level', '')} checks"
        if own
        else "",
    )


def _card_of(runbook: str) -> Card | None:
    """The card as it is now; None for an operation, and for a runbook that is not here."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card

    from codeblue.runner.collection import find_runbook

    try:
        return load_card(find_runbook(runbook, "").card_path)
    except BadInput:
        return None


def _follow_ups(card: Card | None, run: Run) -> list[FollowUp]:
    from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration

    if card is None:
        return []
    end = moment(run.closed_at or run.opened_at)
    return [
        FollowUp(
            str(each["action"]),
            str(each["owner"]),
            (end + timedelta(seconds=parse_duration(each["within"], "within"))).isoformat(),
        )
        for each in card.content["post_incident"]
    ]


def _deliveries(store: ResilientStore, run: Run) -> Iterable[Delivery]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox import messages

    if store.main is None:
        return
    own = [each for each in messages(store.main, limit=_MOST_MESSAGES) if each.run_id == run.run_id]
    for each in reversed(own):
        receipt = ", ".join(f"{place}: {said}" for place, said in each.receipts.items())
        state = each.state
        if state == "pending":
            state = (
                "waits: no destination took it yet" if each.attempts == 0 else f"waits: {each.last_error or 'failed'}"
            )
        at = each.delivered_at or each.created_at
        yield Delivery(each.kind, each.channel, state, at, each.attempts, receipt)


def _measurement(fields: Mapping[str, t.Any]) -> tuple[str, t.Any, str, str]:
    return (
        str(fields.get("name")),
        fields.get("value"),
        str(fields.get("unit") or ""),
        str(fields.get("target") or ""),
    )
