"""How drills are shown: while they go on, and their report."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.drill.campaign import Campaign
from codeblue.drill.result import DrillResult
from codeblue.output.stream import write_line
from codeblue.output.style import colours_wanted, paint

_PHASE_COLOURS = {"fault": "yellow", "drill": None, "undone": "green", "interrupted": "bold yellow"}
# With these a table fits into 80 columns; what they mean is in docs/drills.md.
_HEADINGS = ("fault", "detected", "changed", "away", "lost", "control", "undone", "result")
_FIGURES = ("detected", "changed", "away", "lost")


def phase_line(phase: str, text: str, stream: t.TextIO) -> str:
    """One line of a drill that goes on."""
    colour = _PHASE_COLOURS.get(phase)
    if phase == "result":
        colour = "bold green" if text == "passed" else "bold red"
    indent = "" if phase in ("lab", "profile", "drill", "interrupted") else "  "
    return paint(f"{indent}{phase:<{11 - len(indent)}} {text}", colour, colours_wanted(stream))


def show_report(campaign: Campaign, stream: t.TextIO) -> None:
    """A table on a terminal, a line per drill in a pipe."""
    if stream.isatty() and campaign.results:
        _show_table(campaign, stream)
    else:
        for result in campaign.results:
            write_line(stream, plain_line(result))
    if len(campaign.results) > 1:
        for line in campaign.matrix.plain_lines():
            write_line(stream, line)
    for result in campaign.results:
        for problem in result.problems:
            write_line(stream, f"{result.drill.fault}: {problem}")
    write_line(stream, conclusion(campaign))


def plain_line(result: DrillResult) -> str:
    """One drill in one line, with times against targets."""
    drill = result.drill
    return ", ".join(
        (
            f"{'passed' if result.passed else 'FAILED'}: {drill.runbook} {drill.fault}",
            f"control {'silent' if result.control_silent else 'NOT SILENT'}",
            f"detected after {_seconds(result.detect_seconds)}" if result.detected else "NOT DETECTED",
            f"first change after {_seconds(result.first_action_seconds)}",
            f"{'recovered' if result.recovered else 'NOT RECOVERED'}",
            f"away {result.back_text} of {drill.rto_target_seconds:g} s",
            f"{_count(result.writes_lost)} writes lost",
            *((f"simulated: {', '.join(result.simulated)}",) if result.simulated else ()),
            "undone" if result.undone else "NOT UNDONE",
        )
    )


def conclusion(campaign: Campaign) -> str:
    """The last line."""
    text = f"{campaign.passed} of {len(campaign.results)} drills passed in {format_duration(campaign.seconds)}"
    return f"{text}, then interrupted" if campaign.interrupted else text


def markdown(campaign: Campaign) -> str:
    """The report as a file."""
    lines = ["# Drills", ""]
    lines += [f"- {name}: {value}" for name, value in campaign.facts.items()]
    lines += [f"- {campaign.profile}", f"- {conclusion(campaign)}", ""]
    lines += ["| runbook | " + " | ".join(_HEADINGS) + " |", "|---|" + "---|" * len(_HEADINGS)]
    lines += [f"| {result.drill.runbook} | {' | '.join(_cells(result))} |" for result in campaign.results]
    details = [
        f"- {result.drill.fault}: {detail}" for result in campaign.results for detail in (*_details(result),) if detail
    ]
    return "\n".join([*lines, "", "## What was seen", "", *details, ""])


def _show_table(campaign: Campaign, stream: t.TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False)
    for runbook in dict.fromkeys(result.drill.runbook for result in campaign.results):
        table = Table(
            title=runbook,
            title_style="bold",
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="dim",
        )
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading in _FIGURES else "left", no_wrap=True)
        for result in campaign.results:
            if result.drill.runbook == runbook:
                table.add_row(*_cells(result), style=None if result.passed else "red")
        console.print()
        console.print(table)
    console.print()


def _cells(result: DrillResult) -> Sequence[str]:
    drill = result.drill
    return (
        drill.fault,
        _seconds(result.detect_seconds),
        _seconds(result.first_action_seconds),
        f"{result.back_text} of {drill.rto_target_seconds:g} s",
        _count(result.writes_lost),
        "silent" if result.control_silent else "not silent",
        "yes" if result.undone else "NO",
        "passed" if result.passed else "FAILED",
    )


def _details(result: DrillResult) -> Sequence[str]:
    away = ", ".join(f"{name} {_seconds(seconds)}" for name, seconds in result.outages.items() if seconds != 0.0)
    return (
        f"fired {', '.join(result.fired)}" if result.fired else "",
        f"found {result.cause}" if result.cause else "",
        f"away {away}" if away else "",
        f"simulated {', '.join(result.simulated)}" if result.simulated else "",
        f"run {result.run} ended as {result.outcome}" if result.run else "",
        *result.problems,
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
