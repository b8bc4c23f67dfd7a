"""What a report says, taken from a run's record alone."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ChangeTicket, Incident, Run, Step
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

# Kinds of records that say why something was done or left.
_REASONS = {
    "detection": "detection",
    "diagnosis": "diagnosis",
    "acceptance": "acceptance",
    "validation": "validation",
    "evidence": "evidence",
    "note": "note",
    "version_marked_bad": "version marked bad",
}
_NOTHING: tuple[t.Any, ...] = (None, "", [], {}, ())
_MOST_DETAIL_CHARACTERS = 400


@dataclass(frozen=True)
class ReportStep:
    """One journalled step; times are seconds since the run was opened."""

    target: str
    stage: str
    action: str
    outcome: str
    changed: bool
    attempts: int
    begins: float
    ends: float
    reason: str
    started_at: str

    @property
    def seconds(self) -> float:
        return self.ends - self.begins


@dataclass(frozen=True)
class Reason:
    """Something that was found, decided or accepted; `at` is seconds since the run was opened."""

    at: float
    kind: str
    target: str
    text: str


@dataclass(frozen=True)
class Target:
    """One target; seconds, None when unknown."""

    name: str
    outcome: str
    seconds: float | None
    rto_seconds: float | None
    rpo_seconds: float | None

    @property
    def within(self) -> bool | None:
        """Whether it was back within its objective; None when that cannot be said."""
        if (
            self.seconds is None
            or not self.rto_seconds
            or self.outcome not in ("recovered", "nothing_to_do", "degraded")
        ):
            return None
        return self.seconds <= self.rto_seconds


@dataclass(frozen=True)
class Chain:
    """One segment of the signed record and its end."""

    segment: int
    records: int
    head: str


@dataclass(frozen=True)
class Report:
    """All of it.

    :param seconds: from the opening to the closing, or to the last thing that was recorded.
    :param first_action_seconds: from the opening to the first change that a machine accepted.
    :param measurements: (name, value, unit, target) that were recorded.
    """

    run: Run
    seconds: float
    first_action_seconds: float | None
    targets: list[Target]
    steps: list[ReportStep]
    reasons: list[Reason]
    measurements: list[tuple[str, t.Any, str, str]]
    chains: list[Chain]
    change: ChangeTicket | None = None
    incident: Incident | None = None
    missing: list[str] = field(default_factory=list)


def collect(store: ResilientStore, run_id: str) -> Report:
    """The report on a run.

    :raises BadInput: there is no such run.
    """
    run = store.run(run_id)
    if run is None:
        raise BadInput(f"there is no run {run_id}", "codeblue audit list shows the runs")
    opened = _moment(run.opened_at)
    records = store.ledger_records(run_id)
    steps = [_step(step, opened) for step in store.steps(run_id)]
    closed_at = {
        str(_fields(record).get("target")): str(record["at"]) for record in records if record["kind"] == "target_closed"
    }
    last = max([(_moment(str(record["at"])) - opened).total_seconds() for record in records], default=0.0)
    end = (_moment(run.closed_at) - opened).total_seconds() if run.closed_at else last
    main = store.main
    return Report(
        run=run,
        seconds=end,
        first_action_seconds=_first_action(store.steps(run_id), opened),
        targets=[_target(run, name, closed_at.get(name), opened) for name in run.targets],
        steps=steps,
        reasons=[_reason(record, opened) for record in records if record["kind"] in _REASONS],
        measurements=[_measurement(_fields(record)) for record in records if record["kind"] == "measurement"],
        chains=list(_chains(records)),
        change=main.change(run.change_id) if main else None,
        incident=main.incident(run.incident_id) if main else None,
        missing=[] if main else ["the state store could not be read: ticket and incident are missing"],
    )


def _step(step: Step, opened: datetime) -> ReportStep:
    begins = (_moment(step.started_at) - opened).total_seconds()
    ends = (_moment(step.finished_at) - opened).total_seconds() if step.finished_at else begins
    return ReportStep(
        target=step.target,
        stage=step.stage,
        action=step.action,
        outcome=step.outcome or "in doubt",
        changed=step.changed,
        attempts=step.attempts,
        begins=begins,
        ends=max(begins, ends),
        reason=_why(step.decision),
        started_at=step.started_at,
    )


def _first_action(steps: Iterable[Step], opened: datetime) -> float | None:
    moments = [
        float(step.result["accepted_at"])
        for step in steps
        if step.result and isinstance(step.result.get("accepted_at"), (int, float))
    ]
    return min(moments) - opened.timestamp() if moments else None


def _target(run: Run, name: str, closed_at: str | None, opened: datetime) -> Target:
    state = run.targets[name]
    moment = state.closed_at or closed_at
    objective = run.objectives.get(name)
    known = objective if isinstance(objective, Mapping) else {}
    return Target(
        name=name,
        outcome=state.outcome or "open",
        seconds=(_moment(moment) - opened).total_seconds() if moment else None,
        rto_seconds=known.get("rto_seconds"),
        rpo_seconds=known.get("rpo_seconds"),
    )


def _reason(record: Mapping[str, t.Any], opened: datetime) -> Reason:
    # The single checks of a finding are in the record; the finding names what they come to.
    fields = {name: value for name, value in _fields(record).items() if name != "checks" or not isinstance(value, list)}
    named = fields.pop("target", None) or ", ".join(fields.pop("targets", None) or [])
    summary = fields.pop("summary", None) or fields.pop("statement", None) or fields.pop("text", None)
    return Reason(
        at=(_moment(str(record["at"])) - opened).total_seconds(),
        kind=_REASONS[str(record["kind"])],
        target=str(named or ""),
        text=_cut(str(summary)) if summary else words(fields),
    )


def _measurement(fields: Mapping[str, t.Any]) -> tuple[str, t.Any, str, str]:
    return (
        str(fields.get("name")),
        fields.get("value"),
        str(fields.get("unit") or ""),
        str(fields.get("target") or ""),
    )


def _chains(records: list[dict[str, t.Any]]) -> Iterable[Chain]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import digest

    segments: dict[int, list[dict[str, t.Any]]] = {}
    for record in records:
        segments.setdefault(int(record["segment"]), []).append(record)
    for segment, members in sorted(segments.items()):
        yield Chain(segment, len(members), digest(members[-1]))


def words(fields: Mapping[str, t.Any]) -> str:
    """A mapping as one line for people."""
    parts = [f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in fields.items() if value not in _NOTHING]
    return _cut("; ".join(parts))


def _why(decision: Mapping[str, t.Any]) -> str:
    """The reason that was written down with a decision, else all of the decision."""
    if not decision.get("reason"):
        return words(decision)
    machine = f" ({decision['machine']})" if decision.get("machine") else ""
    return _cut(f"{decision['reason']}{machine}")


def _plain(value: t.Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items() if item not in _NOTHING)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MOST_DETAIL_CHARACTERS else flat[: _MOST_DETAIL_CHARACTERS - 1] + "…"


def _fields(record: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    return t.cast("Mapping[str, t.Any]", record["fields"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
