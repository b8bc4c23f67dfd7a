"""A report as HTML or JSON. HTML is one file, needs nothing else, runs nothing, and escapes everything."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.output.style import local_time
from codeblue.report.content import Report
from codeblue.report.markdown import outcome_text, render_markdown
from codeblue.report.parts import DrillPart
from codeblue.report.timeline import ROW, WIDTH, timeline_of, timeline_of_drill
from codeblue.report.words import clean

__all__ = ["render_drill_html", "render_html", "render_index_html", "render_json", "render_markdown"]

_TEMPLATES = Path(__file__).parent
_FAULT = "the fault"


def render_html(report: Report) -> str:
    """One self-contained page about a run."""
    origin = _FAULT if report.drill and report.drill.struck_at else "the opening of the run"
    return _render("report.html.j2", report=report, timeline=timeline_of(report), origin=origin)


def render_drill_html(drill: DrillPart) -> str:
    """One self-contained page about a drill whose run never began."""
    return _render("drill.html.j2", drill=drill, timeline=timeline_of_drill(drill), origin=_FAULT)


def render_index_html(content: Mapping[str, t.Any], rows: Sequence[Mapping[str, t.Any]]) -> str:
    """The page that leads to those of all drills of a campaign.

    :param content: what the template asks for: `conclusion`, `passed`, `facts`, `matrix`, `phases`.
    :param rows: one for each drill, with the name of its page.
    """
    return _render("index.html.j2", **content, rows=rows)


def render_json(report: Report) -> str:
    """Everything, for programs."""
    content: dict[str, t.Any] = dataclasses.asdict(report)
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def _render(template: str, **values: t.Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": format_duration, "local": local_time, "outcome": outcome_text, "clean": clean}
    return environment.get_template(template).render(**values, width=WIDTH, row=ROW)
