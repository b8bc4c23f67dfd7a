"""codeblue baseline: how long services take to answer while they are well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from codeblue.runner.options import inventory_option
from codeblue.state_output import json_line, json_option, local_time, show_table, summary_line

if TYPE_CHECKING:
    pass


@click.group()
def command() -> None:
    """How long services take to answer while they are well. After an incident they have to be as fast again.

    Example: codeblue baseline show
    """


@command.command()
@inventory_option
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(3, 1000), help="How often is asked.")
@click.option("--pace", default=0.5, show_default=True, type=click.FloatRange(0.05, 60.0), help="Seconds in between.")
@json_option
def record(inventory: tuple[str, ...], rounds: int, pace: float, as_json: bool) -> None:
    """Measure the answer times of all services and keep them, those of checks that failed excepted.

    Made for a timer, once an hour: what was normal an hour before an incident is what a recovery is held against.

    Example: codeblue baseline record -i production.yml
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._baseline import measure, summarise
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import add_answer_times
    from codeblue.runner.inventory_services import services_of

    services = services_of(inventory)
    checks = {name: service.checks for name, service in services.items()}
    results = measure(checks, rounds, pace, deadline=rounds * (pace + 5.0))
    well = summarise(results, only_well=True)
    kept = add_answer_times(open_store(), well, "command")
    left_out = len({(result.target, result.id) for result in results}) - kept
    if as_json:
        for each in well:
            json_line("answer_times", **each.__dict__)
        summary_line(kept=kept, left_out=left_out)
        return
    show_table(
        ("SERVICE", "CHECK", "ANSWERS", "P50", "P95", "SLOWEST"),
        [
            (e.target, e.check, str(e.samples), _milliseconds(e.p50), _milliseconds(e.p95), _milliseconds(e.slowest))
            for e in well
        ],
        "No check was answered well.",
    )
    if left_out:
        click.echo(f"{left_out} checks failed at least once and are no baseline.")


@command.command()
@click.option("--service", help="Only this service.")
@json_option
def show(service: str | None, as_json: bool) -> None:
    """Show what is normal: the median of the latest 95th percentiles of each check.

    Example: codeblue baseline show --service records
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import baselines_of

    found = sorted(
        baselines_of(open_store(), [service] if service else None).values(), key=lambda each: (each.target, each.check)
    )
    if as_json:
        for each in found:
            json_line("baseline", **each.__dict__)
        summary_line(baselines=len(found))
        return
    show_table(
        ("SERVICE", "CHECK", "P95", "KEPT", "LAST"),
        [(e.target, e.check, _milliseconds(e.p95), str(e.kept), local_time(e.last_at)) for e in found],
        "No baseline is kept; make one with: codeblue baseline record -i INVENTORY",
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
