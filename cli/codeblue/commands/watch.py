"""`codeblue watch`: look at an even pace, and say when a runbook is called for."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from codeblue.runner.options import inventory_option
from codeblue.state_output import json_line, json_option, summary_line

if TYPE_CHECKING:
    from codeblue.watch.watcher import Change, Watcher

_FIRES = 4


@click.command(epilog="Exit codes: 0 nothing fires at the end, 4 a criterion fires, 2 bad input.")
@inventory_option
@click.option("--every", metavar="DURATION", help="From look to look. Default: 30s; in a lab 500ms.")
@click.option("--for", "lasting", metavar="DURATION", help="How long. Default: until a signal ends it.")
@json_option
def command(inventory: tuple[str, ...], every: str | None, lasting: str | None, as_json: bool) -> int:
    """Look at all services at an even pace, and say when a card's criteria begin to fire or fall silent.

    Every check is asked once in each look, and the metrics in codeblue_metrics are read. What is seen is kept, so that
    `run` and `doctor` can judge criteria over minutes: error rates, percentiles, full memory. Nothing is changed and
    no runbook is started.

    \b
    codeblue watch -i production.yml
    codeblue watch -i production.yml --every 15s --for 10m --json
    """
    from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
    from codeblue.doctor.criteria import load_own_cards
    from codeblue.drill.interruption import Interruptions
    from codeblue.runner.machines import open_services
    from codeblue.runner.request import inventory_sources
    from codeblue.watch.watcher import Watcher

    if not inventory:
        raise BadInput("no inventory is given", "give one: -i INVENTORY")
    pace = parse_duration(every, "--every") if every is not None else None
    seconds = parse_duration(lasting, "--for") if lasting is not None else None
    services, machines = open_services(inventory_sources(inventory, Path.cwd()))
    with Interruptions() as interruptions:
        watcher = Watcher(load_own_cards(), services, machines.start, interruptions, pace)
        _began(watcher, len(services), as_json)
        # The usual end of a watch; a look that was under way does not count.
        with contextlib.suppress(KeyboardInterrupt):
            _watch(watcher, seconds, inventory, as_json)
    exit_code = _FIRES if watcher.firing else 0
    if as_json:
        summary_line(exit_code, looks=watcher.looks, firing=watcher.firing)
    else:
        fires = f"fires at the end: {', '.join(watcher.firing)}" if watcher.firing else "nothing fires at the end"
        click.echo(f"{watcher.looks} looks, {fires}")
    return exit_code


def _watch(watcher: Watcher, seconds: float | None, inventory: tuple[str, ...], as_json: bool) -> None:
    began = time.monotonic()
    number = 0
    while seconds is None or number == 0 or time.monotonic() - began < seconds:
        change = watcher.look()
        if change:
            _say(change, inventory, as_json)
        # A look that took longer than the pace is not made up for.
        number = max(number + 1, int((time.monotonic() - began) / watcher.every))
        ends = began + number * watcher.every
        if seconds is not None:
            ends = min(ends, began + seconds)
        time.sleep(max(0.0, ends - time.monotonic()))


def _began(watcher: Watcher, services: int, as_json: bool) -> None:
    if as_json:
        json_line("watch", services=services, checks=watcher.checks, every_seconds=watcher.every)
    else:
        click.echo(f"Watching {services} services with {watcher.checks} checks every {watcher.every:g} s.")


def _say(change: Change, inventory: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        json_line("watch_change", **vars(change))
        return
    clock = time.strftime("%H:%M:%S", time.localtime(change.at))
    for problem in change.problems:
        click.echo(f"{clock} cannot be read: {problem}")
    for name in change.silent:
        click.echo(f"{clock} {name} is silent again")
    for each in change.begins:
        click.echo(f"{clock} {each.runbook} fires: {each.evidence}")
    if change.begins and change.first is not None:
        options = " ".join(f"-i {source}" for source in inventory)
        click.echo(f"{clock} begin with: codeblue run {change.first} {options} ({change.reason})")
