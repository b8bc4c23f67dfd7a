"""Single records of a run, and steps of its journal, as parts of a report."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from codeblue.report.parts import Chain, Criterion, Delivery, Evidence, Reason, ReportStep, Validated
from codeblue.report.words import clean, difference, words

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Step

Record = Mapping[str, t.Any]

_KIND_TEXTS = {"version_marked_bad": "marked bad"}
_EVIDENCE_TEXTS = {"evidence": "taken", "evidence_access": "opened", "snapshot_added": "snapshot"}
_MOST_MACHINES = 4


def moment(text: str) -> datetime:
    """A time of the record."""
    return datetime.fromisoformat(text)


def fields_of(record: Record) -> Record:
    """What a record says beside its kind and time."""
    return t.cast("Record", record["fields"])


def step_of(step: Step, origin: datetime) -> ReportStep:
    """A step of the journal."""
    begins = (moment(step.started_at) - origin).total_seconds()
    ends = (moment(step.finished_at) - origin).total_seconds() if step.finished_at else begins
    result = step.result or {}
    said = difference(result.get("before"), result.get("after")) or clean(result.get("summary") or "", 200)
    return ReportStep(
        target=clean(step.target),
        stage=clean(step.stage),
        action=clean(step.action),
        outcome=step.outcome or "in doubt",
        changed=step.changed,
        attempts=step.attempts,
        begins=begins,
        ends=max(begins, ends),
        reason=_why(step.decision),
        started_at=step.started_at,
        machines=_machines(step),
        result=clean(result.get("error") or "", 200) or said,
    )


def _machines(step: Step) -> tuple[str, ...]:
    found = [step.decision.get("machine"), *(step.decision.get("machines") or ()), (step.result or {}).get("machine")]
    return tuple(dict.fromkeys(clean(each) for each in found if isinstance(each, str)))[:_MOST_MACHINES]


def _why(decision: Mapping[str, t.Any]) -> str:
    """The reason that was written down with a decision, else the cause that it rests on, else all of it."""
    if decision.get("reason"):
        return clean(decision["reason"])
    diagnosis = decision.get("diagnosis")
    if isinstance(diagnosis, Mapping) and diagnosis.get("cause"):
        return f"{clean(diagnosis['cause'])}, see the decisions"
    return words(decision)


def reason_of(record: Record, origin: datetime) -> Reason:
    """What was found, decided or accepted."""
    fields = dict(fields_of(record))
    kind = str(record["kind"])
    named = fields.pop("target", None) or ", ".join(fields.pop("targets", None) or [])
    evidence = fields.pop("evidence", None)
    confidence = fields.pop("confidence", None)
    text = next((fields[name] for name in ("summary", "statement", "text", "cause") if fields.get(name)), None)
    return Reason(
        at=(moment(str(record["at"])) - origin).total_seconds(),
        kind=_KIND_TEXTS.get(kind, kind),
        target=clean(named or ""),
        text=clean(text) if text else words(fields),
        evidence=tuple(clean(each) for each in evidence) if isinstance(evidence, (list, tuple)) else (),
        confidence=float(confidence) if isinstance(confidence, (int, float)) else None,
    )


def criteria_of(detections: Sequence[Record], card: Card | None) -> list[Criterion]:
    """The criteria of the last detection, those that fired first."""
    if not detections:
        return []
    descriptions = {each.id: each.description for each in card.criteria} if card else {}
    found = [
        Criterion(
            id=clean(each.get("id")),
            description=descriptions.get(str(each.get("id")), ""),
            fired=bool(each.get("fired")),
            targets=tuple(clean(name) for name in each.get("targets") or ()),
            evidence=clean(each.get("evidence") or ""),
        )
        for each in fields_of(detections[-1]).get("criteria") or ()
        if isinstance(each, Mapping)
    ]
    return sorted(found, key=lambda each: not each.fired)


def validated_of(record: Record, origin: datetime) -> Validated:
    """A validation of one service."""
    fields = fields_of(record)
    checks = fields.get("checks")
    return Validated(
        at=(moment(str(record["at"])) - origin).total_seconds(),
        target=clean(fields.get("target") or ""),
        level=clean(fields.get("level") or ""),
        status=clean(fields.get("status") or ("passed" if fields.get("passed") else "failed")),
        checks=checks if isinstance(checks, int) else len(checks or ()),
        failed=tuple(clean(words(each) if isinstance(each, Mapping) else each) for each in fields.get("failed") or ()),
    )


def evidence_of(record: Record, origin: datetime) -> Evidence:
    """A piece of evidence: its hash, who took it, where the custody record has it."""
    fields = fields_of(record)
    seq, digest = fields.get("custody_seq"), fields.get("custody_sha256")
    custody = f"line {seq}, {digest}" if seq is not None else ""
    size = fields.get("size_bytes")
    return Evidence(
        at=(moment(str(record["at"])) - origin).total_seconds(),
        what=_EVIDENCE_TEXTS[str(record["kind"])],
        target=clean(fields.get("target") or ""),
        name=clean(fields.get("name") or fields.get("snapshot_id") or fields.get("summary") or ""),
        machine=clean(fields.get("machine") or ""),
        by=clean(fields.get("by") or ""),
        sha256=clean(fields.get("sha256") or fields.get("manifest_sha256") or ""),
        size_bytes=size if isinstance(size, int) else None,
        custody=clean(custody),
    )


def chains_of(records: list[dict[str, t.Any]], deliveries: Iterable[Delivery]) -> Iterable[Chain]:
    """The segments of the signed record, and whether a copy of their head is where nobody here can rewrite it."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import digest

    copies = {each.kind: each for each in deliveries if each.channel == "anchor"}
    segments: dict[int, list[dict[str, t.Any]]] = {}
    for record in records:
        segments.setdefault(int(record["segment"]), []).append(record)
    for segment, members in sorted(segments.items()):
        copy = copies.get(f"head-{segment}-{members[-1]['seq']}")
        if copy is None:
            anchored = "no copy of this head was asked for"
        elif copy.state == "delivered":
            anchored = f"copied to {copy.receipt or 'the anchor'}"
        else:
            anchored = "no anchor holds this head yet: that the record is complete cannot be proven without one"
        yield Chain(segment, len(members), digest(members[-1]), anchored)
