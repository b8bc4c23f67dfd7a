"""`codeblue doctor`: is everything in order for an emergency?"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from codeblue.runner.options import inventory_option, json_option

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import Survey
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs import Lack
    from codeblue.doctor.finding import Finding


@click.command(epilog="Exit codes: 0 all is well, 2 something is broken, 4 something needs attention.")
@inventory_option
@click.option(
    "--reach", is_flag=True, help="Also try to reach every machine of the inventory, and find out who uses its secrets."
)
@click.option(
    "--criteria/--no-criteria",
    default=None,
    help="Say which runbook the services call for now. Default: with -i, when they can be reached from here.",
)
@click.option("--close", is_flag=True, help="Close runs that were left open, once all their processes are dead.")
@json_option
def command(inventory: tuple[str, ...], reach: bool, criteria: bool | None, close: bool, as_json: bool) -> int:
    """Check what an emergency will need.

    Versions, the collection and stale copies of it, cards, the state store, keys, spool, outbox, anchors, notices of
    breaches, runs that were left open. With -i also the inventory, which keys it lacks for which runbook or operation
    and what those cannot do without them, snapshots that are overdue or not copied, and the criteria of all runbooks
    over its checks: which runbook would be called for now. Nothing is changed; what is seen is kept for criteria over
    minutes.

    \b
    codeblue doctor -i production.yml --reach
    codeblue doctor -i production.yml --criteria --json
    codeblue doctor --close
    """
    from codeblue.doctor.finding import exit_code_of
    from codeblue.output.style import colours_wanted, paint

    if reach and not inventory:
        raise click.UsageError("--reach needs -i INVENTORY")
    if criteria and not inventory:
        raise click.UsageError("--criteria needs -i INVENTORY")
    coloured = colours_wanted(sys.stdout)
    signs = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "failed": ("✗", "bold red")}
    findings = []
    surveys: list[Survey] = []
    missed: list[Lack] = []
    for finding in _findings(inventory, reach, criteria, close, surveys, missed):
        findings.append(finding)
        if as_json:
            click.echo(json.dumps({"message_type": "finding", **dataclasses.asdict(finding)}, ensure_ascii=False))
            continue
        sign, colour = signs[finding.status]
        click.echo(f"{paint(sign, colour, coloured)} {finding.check}: {finding.text}")
        if finding.hint:
            click.echo(f"    {finding.hint}")
    exit_code = exit_code_of(findings)
    if as_json:
        for lack in missed:
            click.echo(json.dumps({"message_type": "need", **lack.as_dict()}, ensure_ascii=False))
        for survey in surveys:
            click.echo(json.dumps({"message_type": "criteria", **survey.as_dict()}, ensure_ascii=False))
        counts = {status: sum(finding.status == status for finding in findings) for status in signs}
        click.echo(json.dumps({"message_type": "summary", **counts, "exit_code": exit_code}))
    return exit_code


def _findings(
    inventory: tuple[str, ...],
    reach: bool,
    criteria: bool | None,
    close: bool,
    surveys: list[Survey],
    missed: list[Lack],
) -> Iterator[Finding]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs import lacks
    from codeblue.doctor import breaches, installation, snapshots, state
    from codeblue.doctor import inventory as inventories
    from codeblue.doctor.criteria import criteria_findings, evaluate_criteria, load_own_cards
    from codeblue.doctor.finding import Finding
    from codeblue.doctor.needs import needs_findings
    from codeblue.runner.record import open_record
    from codeblue.runner.request import inventory_sources

    here = Path.cwd()
    yield from installation.check_versions()
    yield from installation.check_collection(here)
    yield from installation.check_cards()
    store = open_record()
    yield from state.check_store(store)
    yield from state.check_key()
    yield from state.check_spool()
    yield from state.check_anchors()
    if store.main is not None:
        yield from state.check_outbox(store)
        yield from breaches.check_breaches(store)
        yield from state.check_open_runs(store, close)
    yield from state.check_leftovers()
    schedule = None
    if inventory:
        sources = inventory_sources(inventory, here)
        look = inventories.InventoryCheck(sources, here)
        yield from look.findings()
        schedule = look.schedule
        if look.services:
            missed += lacks(look.variables, look.machines)
            yield from needs_findings(missed, len(look.services))
        if reach:
            yield from inventories.check_reach(sources, here)
            if any(each.host is not None for each in look.services.values()):
                yield from inventories.check_secrets(sources, here)
        if look.services and store.main is not None:
            yield from snapshots.check_snapshots(store.main, look.services, look.variables)
        if look.services and criteria is not False:
            for each in evaluate_criteria(load_own_cards(), look.services, sources):
                if isinstance(each, Finding):
                    yield each
                    continue
                surveys.append(each)
                yield from criteria_findings(each, inventory, bool(criteria))
    yield from state.check_drills(store, schedule)
