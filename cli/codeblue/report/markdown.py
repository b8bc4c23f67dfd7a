"""A report as Markdown, for tickets and wikis: the same content as the page, without the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.output.style import OUTCOME_TEXTS, local_time
from codeblue.report.content import Report
from codeblue.report.parts import DrillPart, Figure
from codeblue.report.words import clean

# What has a meaning in Markdown, or in the HTML that it becomes.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!~&])")
_MET = {True: "met", False: "MISSED", None: ""}

Lines = Iterator[str]


def outcome_text(outcome: str) -> str:
    """An outcome in words."""
    return OUTCOME_TEXTS.get(outcome, "still open" if outcome == "open" else outcome)


def render_markdown(report: Report) -> str:
    """The report on a run."""
    parts = (_head, _drill, _criteria, _decisions, _steps, _services, _evidence, _messages, _change, _after, _record)
    return "\n".join(line for part in parts for line in part(report)) + "\n"


def render_drill_markdown(drill: DrillPart) -> str:
    """The report on a drill whose run never began."""
    lines = [
        f"# Drill: {escaped(drill.runbook)}, {escaped(drill.fault)}",
        "",
        *_figures(drill.figures),
        *_drill_lines(drill),
    ]
    return "\n".join(lines) + "\n"


def _head(report: Report) -> Lines:
    run = report.run
    verdict = outcome_text(run.outcome or "open")
    if report.drill:
        verdict = f"drill {'passed' if report.drill.passed else 'FAILED'}; run {verdict}"
    yield f"# {escaped(report.title)}: {escaped(verdict)}"
    yield ""
    yield f"- Run {escaped(run.run_id)}, {escaped(run.runbook)}, {escaped(run.severity)}, {escaped(run.environment)}"
    yield f"- Opened {local_time(run.opened_at)} by {escaped(str(run.operator))} through {escaped(run.origin)}"
    if run.because:
        yield f"- Because: {escaped(clean(run.because))}"
    yield from (f"- {escaped(text)}" for text in report.missing)
    yield ""
    yield from _figures(report.figures)


def _figures(figures: Sequence[Figure]) -> Lines:
    rows = [(each.name, each.measured, each.wanted, _MET[each.met], each.note) for each in figures]
    yield from _table(("Figure", "Measured", "Wanted", "", "Note"), rows)


def _drill(report: Report) -> Lines:
    if report.drill:
        yield from _drill_lines(report.drill)


def _drill_lines(drill: DrillPart) -> Lines:
    yield "## The drill"
    yield ""
    yield f"- Fault {escaped(drill.fault)}: {escaped(drill.summary)}"
    for runbook, reason in drill.called_for:
        yield f"- Called for: {escaped(runbook)} ({escaped(reason)})"
    for each in drill.away:
        ended = (
            "it did not come back" if each.ends is None else f"back after {format_duration(each.ends - each.begins)}"
        )
        yield f"- {escaped(each.endpoint)} away from {format_duration(each.begins)} after the fault, {ended}"
    phases = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in drill.phases.items())
    yield f"- Time went to: {phases}"
    if drill.profile:
        yield f"- {escaped(drill.profile)}"
    yield from (f"- {escaped(name)}: {escaped(value)}" for name, value in drill.facts.items())
    yield from (f"- **{escaped(problem)}**" for problem in drill.problems)
    yield ""


def _criteria(report: Report) -> Lines:
    if report.criteria:
        yield from _section("Why it was called for")
        rows = [
            (each.id, "fired" if each.fired else "no", ", ".join(each.targets), each.evidence)
            for each in report.criteria
        ]
        yield from _table(("Criterion", "Fired", "For", "What was seen"), rows)


def _decisions(report: Report) -> Lines:
    if report.reasons:
        yield from _section("Decisions")
        rows = []
        for each in report.reasons:
            sure = f" ({each.confidence:.0%} sure)" if each.confidence is not None else ""
            evidence = f": {'; '.join(each.evidence)}" if each.evidence else ""
            rows.append((format_duration(each.at), each.kind, each.target, f"{each.text}{sure}{evidence}"))
        yield from _table(("At", "What", "Target", "Decision and what it rests on"), rows)


def _steps(report: Report) -> Lines:
    yield from _section("Steps")
    rows = [
        (
            format_duration(step.begins),
            step.target,
            f"{step.stage} {step.action}",
            ", ".join(step.machines),
            step.outcome + (", changed" if step.changed else "") + (f": {step.result}" if step.result else ""),
            format_duration(step.seconds),
            step.reason,
        )
        for step in report.steps
    ]
    yield from _table(("At", "Target", "Step", "Machine", "Result", "Took", "Decided on"), rows)


def _services(report: Report) -> Lines:
    yield from _section("Services")
    rows = [
        (
            each.name,
            outcome_text(each.outcome),
            format_duration(each.seconds) if each.seconds is not None else "",
            format_duration(each.rto_seconds) if each.rto_seconds else "",
            _MET[each.within],
            each.checks,
        )
        for each in report.targets
    ]
    yield from _table(("Service", "Outcome", "Back after", "RTO", "Within", "Last validation"), rows)
    failed = [
        (format_duration(each.at), each.target, each.level, each.status, "; ".join(each.failed))
        for each in report.validations
    ]
    if failed:
        yield from _table(("At", "Validated", "Level", "Status", "Failed"), failed)
    measured = [(name, f"{clean(value)} {unit}".strip(), target) for name, value, unit, target in report.measurements]
    if measured:
        yield from _table(("Measured", "Value", "Target"), measured)


def _evidence(report: Report) -> Lines:
    if report.evidence:
        yield from _section("Evidence and custody")
        rows = [
            (format_duration(each.at), each.what, each.target, each.name, each.by, each.sha256, each.custody)
            for each in report.evidence
        ]
        yield from _table(("At", "What", "Of", "Name", "By", "SHA-256", "Custody record"), rows)


def _messages(report: Report) -> Lines:
    if report.deliveries:
        yield from _section("Communication")
        rows = [
            (each.kind, each.channel, clean(each.state), local_time(each.at), clean(each.receipt))
            for each in report.deliveries
        ]
        yield from _table(("Message", "Channel", "State", "At", "Receipt"), rows)


def _change(report: Report) -> Lines:
    yield from _section("Incident and change")
    run, change = report.run, report.change
    if report.incident:
        times = ", ".join(f"{status} {local_time(at)}" for status, at in report.incident.times.items() if at)
        yield f"- Incident {escaped(run.incident_id)}, {escaped(report.incident.status)}: {escaped(times)}"
    if change:
        yield f"- Change {escaped(change.change_id)}, {escaped(change.type)}, {escaped(change.status)}"
        yield f"- Risk {change.risk.score} of 10, {escaped(change.risk.level)}"
        for each in change.approvals:
            verified = "" if each.verified else " (unverified)"
            by = f"{escaped(each.approver)}{verified}, {escaped(each.kind)}"
            yield f"- Approved {local_time(each.approved_at)} by {by}"
        for accepted in change.acceptances:
            yield f"- Accepted {escaped(accepted.kind)} by {escaped(accepted.accepted_by)}"
        if change.reviewed_at:
            yield f"- Reviewed {local_time(change.reviewed_at)} by {escaped(str(change.reviewed_by))}"
        elif change.review_due_at:
            yield f"- Review due {local_time(change.review_due_at)}"
    yield ""


def _after(report: Report) -> Lines:
    if report.follow_ups:
        yield from _section("Afterwards")
        if report.run.origin == "drill":
            yield "This was a drill, and all of it was undone; after an incident these would be due."
            yield ""
        rows = [(each.action, each.owner, local_time(each.due_at)) for each in report.follow_ups]
        yield from _table(("Action", "Owner", "Due"), rows)


def _record(report: Report) -> Lines:
    yield from _section("Record")
    for chain in report.chains:
        anchored = escaped(clean(chain.anchored))
        yield f"- Segment {chain.segment}: {chain.records} records, head `{chain.head}`; {anchored}"
    run_id = report.run.run_id
    yield f"- Check it: `codeblue audit export {run_id} -o run.jsonl`, then `codeblue audit verify run.jsonl`"


def _section(title: str) -> Lines:
    yield f"## {title}"
    yield ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Lines:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
    yield ""


def escaped(text: str) -> str:
    """A text as Markdown, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))
