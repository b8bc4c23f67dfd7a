"""A report as HTML, Markdown or JSON. HTML is one file, needs nothing else, and escapes everything."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.output.style import OUTCOME_TEXTS, local_time
from codeblue.report.content import Report
from codeblue.report.timeline import LABELS, ROW, TOP, WIDTH, timeline_of

_TEMPLATES = Path(__file__).parent
# What has a meaning in Markdown, or in the HTML that it becomes.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


def render_html(report: Report) -> str:
    """One self-contained page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": format_duration, "local": local_time, "outcome": _outcome}
    return environment.get_template("report.html.j2").render(
        report=report, timeline=timeline_of(report), width=WIDTH, labels=LABELS, row=ROW, top=TOP
    )


def render_json(report: Report) -> str:
    """Everything, for programs."""
    content: dict[str, t.Any] = dataclasses.asdict(report)
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def render_markdown(report: Report) -> str:
    """The same for tickets and wikis."""
    run = report.run
    lines = [
        f"# {_escaped(run.runbook)}: {_escaped(_outcome(run.outcome or 'open'))}",
        "",
        f"- Run {_escaped(run.run_id)}, {_escaped(run.severity)}, {_escaped(run.environment)}",
        f"- Opened {local_time(run.opened_at)} by {_escaped(str(run.operator))}",
        f"- Incident {_escaped(run.incident_id)}, change {_escaped(run.change_id)}",
        f"- Took {format_duration(report.seconds)}" + _first_action_words(report),
        *([f"- Because: {_escaped(run.because)}"] if run.because else []),
        "",
        *_table(
            ("Target", "Outcome", "Time", "Objective", "Within"),
            [
                (
                    target.name,
                    _outcome(target.outcome),
                    format_duration(target.seconds) if target.seconds is not None else "",
                    format_duration(target.rto_seconds) if target.rto_seconds else "",
                    {True: "yes", False: "no", None: ""}[target.within],
                )
                for target in report.targets
            ],
        ),
    ]
    if report.reasons:
        lines += ["## Why", ""]
        lines += _table(
            ("At", "What", "Target", "Finding"),
            [(format_duration(reason.at), reason.kind, reason.target, reason.text) for reason in report.reasons],
        )
    lines += ["## Steps", ""]
    lines += _table(
        ("At", "Target", "Step", "Outcome", "Time", "Decided on"),
        [
            (
                format_duration(step.begins),
                step.target,
                f"{step.stage} {step.action}",
                step.outcome + (", changed" if step.changed else ""),
                format_duration(step.seconds),
                step.reason,
            )
            for step in report.steps
        ],
    )
    if report.measurements:
        lines += ["## Measured", ""]
        lines += _table(
            ("What", "Value", "Target"),
            [(name, f"{value} {unit}".strip(), target) for name, value, unit, target in report.measurements],
        )
    lines += ["## Record", ""]
    lines += [f"- Segment {chain.segment}: {chain.records} records, head `{chain.head}`" for chain in report.chains]
    lines += [
        f"- Check it: `codeblue audit export {run.run_id} -o run.jsonl`, then `codeblue audit verify run.jsonl`",
        *(f"- {_escaped(text)}" for text in report.missing),
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
    return [*lines, ""]


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def _outcome(outcome: str) -> str:
    return OUTCOME_TEXTS.get(outcome, "still open" if outcome == "open" else outcome)


def _first_action_words(report: Report) -> str:
    if report.first_action_seconds is None:
        return ""
    return f", first change after {format_duration(report.first_action_seconds)}"
