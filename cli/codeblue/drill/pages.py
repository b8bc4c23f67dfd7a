"""The reports of a campaign: a page and a Markdown file for each drill, and an index of them."""

from __future__ import annotations

import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.drill.campaign import Campaign
from codeblue.drill.catalogue import summary_of
from codeblue.drill.render import conclusion, markdown
from codeblue.drill.result import TRAFFIC, DrillResult
from codeblue.report.content import collect
from codeblue.report.markdown import render_drill_markdown
from codeblue.report.parts import DrillPart, Figure
from codeblue.report.render import render_drill_html, render_html, render_index_html, render_markdown
from codeblue.report.words import clean

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore


def write_pages(campaign: Campaign, store: ResilientStore, directory: Path) -> Path:
    """Write all of it; files of the same name are replaced.

    :returns: the index.
    """
    rows = []
    for number, result in enumerate(campaign.results, start=1):
        name = f"{number:02}-{result.drill.runbook}-{result.drill.fault}"
        page, text = _page(campaign, result, store)
        (directory / f"{name}.html").write_text(page, encoding="utf-8")
        (directory / f"{name}.md").write_text(text, encoding="utf-8")
        rows.append({**_row(result), "page": f"{name}.html"})
    content = {
        "conclusion": conclusion(campaign),
        "passed": campaign.outcome == "recovered",
        "facts": campaign.facts,
        "profile": campaign.profile,
        "matrix": campaign.matrix,
        "phases": campaign.phases,
    }
    index = directory / "index.html"
    index.write_text(render_index_html(content, rows), encoding="utf-8")
    (directory / "index.md").write_text(markdown(campaign), encoding="utf-8")
    return index


def drill_part(campaign: Campaign, result: DrillResult) -> DrillPart:
    """What a drill measured, as its report shows it."""
    drill = result.drill
    struck = datetime.fromtimestamp(result.struck_at, UTC).isoformat() if result.struck_at is not None else None
    called_for = result.survey.called_for if result.survey else ()
    return DrillPart(
        runbook=drill.runbook,
        fault=drill.fault,
        summary=summary_of(drill.fault, result.platform),
        passed=result.passed,
        struck_at=struck,
        away=tuple(result.away),
        detected=result.detect_seconds,
        command_at=result.command_at,
        rto_seconds=result.rto_seconds,
        rto_target_seconds=drill.rto_target_seconds,
        figures=tuple(_figures(result)),
        called_for=tuple((each.runbook, each.reason) for each in called_for),
        phases=result.phases,
        problems=tuple(clean(each) for each in result.problems),
        facts=campaign.facts,
        profile=campaign.profile,
    )


def _page(campaign: Campaign, result: DrillResult, store: ResilientStore) -> tuple[str, str]:
    part = drill_part(campaign, result)
    if result.run is not None:
        try:
            report = collect(store, result.run, part)
        except BadInput:
            # It was refused before it was opened: there is no record of it, and the drill's own problems say why.
            return render_drill_html(part), render_drill_markdown(part)
        return render_html(report), render_markdown(report)
    return render_drill_html(part), render_drill_markdown(part)


def _figures(result: DrillResult) -> t.Iterator[Figure]:
    drill = result.drill
    away = "not back" if result.back_seconds is None else format_duration(result.back_seconds)
    what = "Workload good again after the fault" if TRAFFIC in result.simulated else "Away, seen from outside"
    yield Figure(what, away, f"within {format_duration(drill.rto_target_seconds)}", result.in_time)
    if result.simulated:
        yield Figure("Simulated, or not looked at", ", ".join(result.simulated), "", None)
    lost = "not counted" if result.writes_lost is None else str(result.writes_lost)
    span = f"the oldest {format_duration(result.rpo_seconds)} before the fault" if result.writes_lost else ""
    wanted = format_duration(drill.rpo_target_seconds) if drill.rpo_target_seconds else "none"
    yield Figure("Acknowledged writes lost", lost, wanted, result.kept_enough, span)
    detected = "not detected" if result.detect_seconds is None else format_duration(result.detect_seconds)
    yield Figure("Detected after the fault", detected, ", ".join(result.fired), None if result.detected else False)
    if result.first_action_seconds is not None:
        yield Figure("First change, from the command", format_duration(result.first_action_seconds), "", None)
    yield Figure("Control run", "silent" if result.control_silent else "not silent", "silent", result.control_silent)
    yield Figure("Undone", "yes" if result.undone else "NO", "proven normal", result.undone)


def _row(result: DrillResult) -> dict[str, t.Any]:
    drill = result.drill
    target = drill.rto_target_seconds
    share = None if result.back_seconds is None or not target else result.back_seconds / target
    return {
        "runbook": drill.runbook,
        "fault": drill.fault,
        "detected": _seconds(result.detect_seconds),
        "changed": _seconds(result.first_action_seconds),
        "away": result.back_text,
        "share": share,
        "share_text": f"of {target:g} s" if share is None else f"{share:.0%} of {target:g} s",
        "lost": "-" if result.writes_lost is None else result.writes_lost,
        "silent": result.control_silent,
        "undone": result.undone,
        "passed": result.passed,
        "problems": [clean(each) for each in result.problems],
    }


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"
