"""Where everything in the picture of a run is: outages and steps as bars, moments as lines, against the clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.report.content import Report
from codeblue.report.parts import DrillPart, ReportStep

WIDTH = 960
LABELS = 262
ROW = 22
_RIGHT = 24
_AXIS = 20
_LEVEL = 17
_LEAST_BAR = 3.0
# Rows beyond this are left out of the picture; the table has them all.
_MOST_ROWS = 120
_TICKS = 8
# An average character of the picture's font, in pixels; good enough to keep labels apart.
_CHARACTER = 6.4
_LONGEST_LABEL = 40
# A target that lies further away than this many lengths of the run would squeeze everything else.
_FARTHEST_TARGET = 3.0


@dataclass(frozen=True)
class Bar:
    """One row; positions in pixels. `kind` is a class of the style sheet and a word of the legend."""

    label: str
    title: str
    kind: str
    x: float
    y: float
    width: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A moment: a line over all rows with its name above."""

    kind: str
    label: str
    x: float
    text_x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Timeline:
    """The whole picture.

    :param stripes: the upper edges of every second row.
    :param top: where the rows begin.
    :param legend: class and word of every kind of bar that is there.
    :param beyond: said below the picture, when the target lies outside of it.
    """

    bars: list[Bar]
    stripes: list[float]
    ticks: list[Tick]
    marks: list[Mark]
    top: float
    height: float
    legend: list[tuple[str, str]]
    left_out: int
    beyond: str | None
    summary: str


_WORDS = {
    "away": "away, seen from outside",
    "changed": "step that changed something",
    "ok": "step that only looked",
    "failed": "failed step",
    "doubt": "step in doubt",
}


def timeline_of(report: Report) -> Timeline:
    """The picture of a run, and of the drill that it belongs to."""
    target, begins = _target(report)
    return _timeline(report.steps, report.drill, _moments(report), report.offset + report.seconds, target, begins)


def timeline_of_drill(drill: DrillPart) -> Timeline:
    """The picture of a drill whose run never began."""
    moments = [(0.0, "fault", "fault"), *_drill_moments(drill)]
    end = max([at for at, _kind, _label in moments] + [each.ends or 0.0 for each in drill.away])
    return _timeline([], drill, moments, end, drill.rto_target_seconds, _first_failure(drill))


def _timeline(
    steps: Sequence[ReportStep],
    drill: DrillPart | None,
    moments: list[tuple[float, str, str]],
    end: float,
    target: float | None,
    target_from: float,
) -> Timeline:
    away = drill.away if drill else ()
    ends = [end, *(step.ends for step in steps), *(each.ends for each in away if each.ends is not None)]
    span = max([*ends, *(at for at, _kind, _label in moments), 0.001])
    beyond = None
    if target is not None:
        if target_from + target <= span * _FARTHEST_TARGET:
            span = max(span, (target_from + target) * 1.02)
            moments = [*moments, (target_from + target, "rto", f"target {format_duration(target)}")]
        else:
            beyond = f"The target of {format_duration(target)} lies outside of the picture."
    scale = (WIDTH - LABELS - _RIGHT) / span
    marks, levels = _place(moments, scale)
    top = _AXIS + levels * _LEVEL + 8
    rows = [*_away_rows(drill, span), *_step_rows(steps[:_MOST_ROWS])]
    lines = list(dict.fromkeys(row[0] if row[2] == "away" else f"{number}" for number, row in enumerate(rows)))
    bars: list[Bar] = []
    for number, (label, title, kind, at, until, text) in enumerate(rows):
        line = lines.index(label if kind == "away" else f"{number}")
        named = label if not any(bar.label == label and kind == bar.kind == "away" for bar in bars) else ""
        width = max(_LEAST_BAR, (until - at) * scale)
        bars.append(Bar(named, title, kind, LABELS + at * scale, top + line * ROW, width, text))
    kinds = list(dict.fromkeys(bar.kind for bar in bars))
    changes = sum(step.changed for step in steps)
    return Timeline(
        bars=bars,
        stripes=[top + number * ROW for number in range(0, len(lines), 2)],
        ticks=[Tick(LABELS + at * scale, _clock(at)) for at in _ticks(span)],
        marks=marks,
        top=top,
        height=top + ROW * max(1, len(lines)) + 6,
        legend=[(kind, _WORDS[kind]) for kind in kinds],
        left_out=max(0, len(steps) - _MOST_ROWS),
        beyond=beyond,
        summary=f"{len(steps)} steps, {changes} of them changes, in {format_duration(span)}",
    )


def _target(report: Report) -> tuple[float | None, float]:
    """The target for being away, and from when it counts."""
    if report.drill:
        return report.drill.rto_target_seconds, _first_failure(report.drill)
    return min((each.rto_seconds for each in report.targets if each.rto_seconds), default=None), 0.0


def _first_failure(drill: DrillPart) -> float:
    return min((each.begins for each in drill.away), default=0.0)


def _moments(report: Report) -> list[tuple[float, str, str]]:
    found = []
    if report.drill:
        found = [(0.0, "fault", "fault"), *_drill_moments(report.drill)]
    found.append((report.offset, "moment", "run opened"))
    if report.first_action_seconds is not None:
        found.append((report.offset + report.first_action_seconds, "first", "first change"))
    if report.run.closed_at:
        found.append((report.offset + report.seconds, "moment", "closed"))
    return found


def _drill_moments(drill: DrillPart) -> Iterator[tuple[float, str, str]]:
    if drill.detected is not None:
        yield drill.detected, "moment", "detected"
    ends = [each.ends for each in drill.away]
    if ends and None not in ends:
        yield max(each for each in ends if each is not None), "back", "back for good"


def _place(moments: Iterable[tuple[float, str, str]], scale: float) -> tuple[list[Mark], int]:
    """Labels beside each other where they fit, else on a level of their own."""
    taken: list[list[tuple[float, float]]] = []
    marks = []
    for at, kind, label in sorted(moments):
        x = LABELS + max(0.0, at) * scale
        width = len(label) * _CHARACTER + 10
        anchor = "end" if x + width > WIDTH else "start"
        left, right = (x - width, x) if anchor == "end" else (x, x + width)
        level = next(
            (number for number, spans in enumerate(taken) if all(right <= a or left >= b for a, b in spans)), len(taken)
        )
        if level == len(taken):
            taken.append([])
        taken[level].append((left, right))
        text_x = x - 4 if anchor == "end" else x + 4
        marks.append(Mark(kind, label, x, text_x, _AXIS + (level + 1) * _LEVEL - 4, anchor))
    return marks, len(taken)


Row = tuple[str, str, str, float, float, str]


def _away_rows(drill: DrillPart | None, span: float) -> Iterator[Row]:
    for each in drill.away if drill else ():
        ends = span if each.ends is None else each.ends
        text = "still away" if each.ends is None else format_duration(ends - each.begins)
        yield f"{each.endpoint} away", f"{each.endpoint} away: {text}", "away", each.begins, ends, text


def _step_rows(steps: Iterable[ReportStep]) -> Iterator[Row]:
    for step in steps:
        kind = "changed" if step.changed else "ok"
        if step.outcome in ("failed", "in doubt"):
            kind = "failed" if step.outcome == "failed" else "doubt"
        named = [machine for machine in step.machines if machine not in step.action.split("_")]
        where = f" at {', '.join(named)}" if named else ""
        label = f"{step.target}: {step.action.replace('_', ' ')}{where}"
        title = f"{step.target} {step.stage} {step.action}{where}: {step.outcome}, {format_duration(step.seconds)}"
        short = label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
        yield short, title, kind, max(0.0, step.begins), step.ends, format_duration(step.seconds)


def _ticks(span: float) -> list[float]:
    """Round moments from 0 to the end."""
    raw = span / _TICKS
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    return [position * step for position in range(int(span / step) + 1)]


def _clock(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else format_duration(seconds)
