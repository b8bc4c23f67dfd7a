"""`codeblue drill history` and `codeblue drill record`: drills over time, and exercises that no lab can do."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codeblue.runner.options import inventory_option, json_option

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

    from codeblue.drill.history import Trend
    from codeblue.drill.schedule import Due


@click.command()
@click.option("--fault", metavar="FAULT", help="Only this fault, with every drill of it.")
@inventory_option
@json_option
def history(fault: str | None, inventory: tuple[str, ...], as_json: bool) -> int:
    """What drills measured over time, and which are overdue.

    The schedule is the inventory's codeblue_drill_schedule, such as {component: 7d, full: 31d, region: never}.

    \b
    codeblue drill history
    codeblue drill history --fault primary_dead --json
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import exercises_of

    from codeblue.drill.history import trends

    store = _store()
    found = [
        each for each in exercises_of(store, limit=5_000) if fault is None or each.subject.partition("/")[2] == fault
    ]
    dues = look_at_schedule(store, _schedule_of(inventory))
    if as_json:
        for each in found if fault else ():
            click.echo(json.dumps({"message_type": "drill_record", **dataclasses.asdict(each)}))
        for trend in trends(found):
            click.echo(json.dumps(trend.as_message()))
        for each_due in dues:
            click.echo(json.dumps({"message_type": "drill_due", **dataclasses.asdict(each_due)}))
        overdue = [each_due.kind for each_due in dues if each_due.overdue is not None]
        click.echo(json.dumps({"message_type": "summary", "drills": len(found), "overdue": overdue, "exit_code": 0}))
        return 0
    _show(list(trends(found)), dues)
    return 0


@click.command()
@click.argument("kind", type=click.Choice(["region", "rebuild", "full", "component"]))
@click.option("--passed/--failed", required=True, default=None, help="How it ended.")
@click.option("--note", required=True, help="What was done, where, and where its protocol lies; no patient data.")
@click.option("--rto", metavar="DURATION", help="How long it was away, such as 25m.")
def record(kind: str, passed: bool, note: str, rto: str | None) -> int:
    """Record an exercise that was done outside of a lab, so that the schedule knows of it.

    \b
    codeblue drill record region --passed --rto 25m --note "failover to site B, protocol in the wiki under DR-12"
    """
    from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import add_exercise

    detail: dict[str, Any] = {"note": note, "rto_seconds": parse_duration(rto, "--rto") if rto else None}
    operator = current_operator()
    add_exercise(_store(), kind, kind, passed, operator, detail)
    click.echo(f"recorded: {kind}, {'passed' if passed else 'failed'}, by {operator}")
    return 0


def look_at_schedule(store: Store, given: object) -> list[Due]:
    """Every kind of exercise of the schedule, with what the store knows of it."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import (
        first_recorded,
        latest_passed,
    )

    from codeblue.drill.schedule import due, read_schedule

    schedule = read_schedule(given)
    return due(schedule, latest_passed(store), first_recorded(store), datetime.now(UTC), explicit=given is not None)


def _store() -> Store:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    return open_store()


def _schedule_of(inventory: tuple[str, ...]) -> object:
    if not inventory:
        return None
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

    from codeblue.doctor.inventory import InventoryCheck
    from codeblue.runner.request import inventory_sources

    look = InventoryCheck(inventory_sources(inventory, Path.cwd()), Path.cwd())
    wrong = [finding for finding in look.findings() if finding.status == "failed"]
    if wrong:
        raise BadInput(wrong[0].text, wrong[0].hint)
    return look.schedule


def _show(found: list[Trend], dues: list[Due]) -> None:
    from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

    from codeblue.drill.schedule import WORDS
    from codeblue.output.style import colours_wanted, local_time, paint

    coloured = colours_wanted(sys.stdout)
    if not found:
        click.echo("no drill is on record: codeblue drill --all")
    width = max((len(trend.fault) for trend in found), default=0)
    runbook = ""
    for trend in found:
        if trend.runbook != runbook:
            runbook = trend.runbook
            click.echo(paint(runbook, "bold", coloured))
        target = trend.last.detail.get("rto_target_seconds")
        median = "-" if trend.median is None else f"{trend.median:.1f} s"
        line = (
            f"  {trend.fault:<{width}}  {trend.passed}/{trend.drills} passed  away {median:>7} of {target or '-'} s"
            f"  {trend.word:<14} {trend.bars}"
        )
        click.echo(paint(line.rstrip(), None if trend.last.passed else "red", coloured))
    for each in dues:
        last = f"passed last {local_time(each.last)}" if each.last else "never passed"
        state = "OVERDUE" if each.overdue is not None else "in time" if each.last else "not yet"
        text = f"{state:<8} {each.kind} ({WORDS[each.kind]}), every {each.every / 86_400:g} days: {last}"
        if each.overdue:
            text += f", due {format_duration(each.overdue)} ago"
        click.echo(paint(text, "yellow" if each.overdue is not None else None, coloured))
