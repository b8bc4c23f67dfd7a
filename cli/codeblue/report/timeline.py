"""Where the bars of the timeline are: one row per step, against the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.report.content import Report, ReportStep

WIDTH = 960
LABELS = 300
ROW = 22
TOP = 28
_LEAST_BAR = 2.0
# Rows beyond this are left out of the picture; the table has them all.
_MOST_ROWS = 200
_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """One step; positions in pixels."""

    label: str
    title: str
    kind: str
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Timeline:
    """The whole picture; `rto_x` is None when the objective lies beyond its end."""

    bars: list[Bar]
    ticks: list[Tick]
    height: float
    rto_x: float | None
    left_out: int


def timeline_of(report: Report) -> Timeline:
    """The picture of a run."""
    steps = report.steps[:_MOST_ROWS]
    span = max([report.seconds, *(step.ends for step in steps), 0.001])
    rto = min((target.rto_seconds for target in report.targets if target.rto_seconds), default=None)
    scale = (WIDTH - LABELS - 20) / span
    return Timeline(
        bars=[_bar(step, position, scale) for position, step in enumerate(steps)],
        ticks=[Tick(LABELS + at * scale, format_duration(at)) for at in _ticks(span)],
        height=TOP + ROW * max(1, len(steps)) + 10,
        rto_x=LABELS + rto * scale if rto is not None and rto <= span else None,
        left_out=len(report.steps) - len(steps),
    )


def _bar(step: ReportStep, position: int, scale: float) -> Bar:
    kind = (
        "failed"
        if step.outcome == "failed"
        else "doubt"
        if step.outcome == "in doubt"
        else "changed"
        if step.changed
        else "ok"
    )
    label = f"{step.target} {step.stage} {step.action}"
    return Bar(
        label=label if len(label) <= 44 else label[:43] + "…",
        title=f"{label}: {step.outcome}, {format_duration(step.seconds)}",
        kind=kind,
        x=LABELS + max(0.0, step.begins) * scale,
        y=TOP + position * ROW,
        width=max(_LEAST_BAR, step.seconds * scale),
    )


def _ticks(span: float) -> list[float]:
    """Round moments from 0 to the end."""
    raw = span / _TICKS
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    return [position * step for position in range(int(span / step) + 1)]
