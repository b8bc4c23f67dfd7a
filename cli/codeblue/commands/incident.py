"""codeblue incident: what happened, and how far it is from being over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from codeblue.state_output import json_line, json_option, local_time, show_fields, show_table, summary_line

if TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Incident

_STATUSES = ["detected", "acknowledged", "investigating", "identified", "resolving", "resolved", "closed"]


@click.group(name="incident")
def command() -> None:
    """Incidents: runs open them and move them on; people acknowledge, resolve and close.

    Example: codeblue incident list --status resolving
    """


@command.command(name="list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10000), default=50, show_default=True, help="The latest so many.")
@json_option
def list_(status: str | None, limit: int, as_json: bool) -> None:
    """List the incidents, the latest first.

    Example: codeblue incident list --status resolved
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    found = open_store().incidents(limit, status)
    if as_json:
        for incident in found:
            json_line("incident", **incident.__dict__)
        summary_line(incidents=len(found))
        return
    show_table(
        ("INCIDENT", "SEVERITY", "STATUS", "DETECTED", "RESOLVED", "TITLE"),
        [
            (
                incident.incident_id,
                incident.severity,
                incident.status,
                local_time(incident.times.get("detected")),
                local_time(incident.times.get("resolved")),
                incident.title,
            )
            for incident in found
        ],
        "There are no incidents.",
    )


@command.command()
@click.argument("incident")
@json_option
def show(incident: str, as_json: bool) -> None:
    """Show an INCIDENT with its times and runs.

    Example: codeblue incident show INC-01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    found = open_store().incident(incident)
    if found is None:
        raise BadInput(f"there is no incident {incident}", "codeblue incident list shows the incidents")
    _show(found, as_json)


@command.command()
@click.argument("incident")
@json_option
def acknowledge(incident: str, as_json: bool) -> None:
    """Say that somebody looks after an INCIDENT.

    Example: codeblue incident acknowledge INC-01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """
    _move(incident, "acknowledged", "", as_json)


@command.command()
@click.argument("incident")
@click.option("--comment", default="", help="What resolved it, when no run did.")
@json_option
def resolve(incident: str, comment: str, as_json: bool) -> None:
    """Say that an INCIDENT is over, when it ended without a run.

    Example: codeblue incident resolve INC-01JD3Q0J3V9W1X3C5Z7B9N2M4K --comment "the provider fixed it"
    """
    _move(incident, "resolved", comment, as_json)


@command.command()
@click.argument("incident")
@click.option("--comment", default="", help="What follows from it.")
@json_option
def close(incident: str, comment: str, as_json: bool) -> None:
    """Close a resolved INCIDENT after its review.

    Example: codeblue incident close INC-01JD3Q0J3V9W1X3C5Z7B9N2M4K --comment "pool limit raised"
    """
    _move(incident, "closed", comment, as_json)


def _move(incident: str, status: str, comment: str, as_json: bool) -> None:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator, open_store

    _show(open_store().move_incident(incident, status, current_operator(), comment), as_json)


def _show(incident: Incident, as_json: bool) -> None:
    if as_json:
        json_line("incident", **incident.__dict__)
        summary_line(incident=incident.incident_id, status=incident.status)
        return
    show_fields(
        {
            "incident": incident.incident_id,
            "title": incident.title,
            "severity": incident.severity,
            "status": incident.status,
        }
    )
    for status, moment in incident.times.items():
        click.echo(f"  {status:<14} {local_time(moment)}")
    for run in incident.runs:
        click.echo(f"  run {run}")
