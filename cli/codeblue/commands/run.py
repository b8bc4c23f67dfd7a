"""`codeblue run`: do it."""

from __future__ import annotations

import os
import typing as t

import click
from codeblue.runner.options import make_request, run_options, run_request


@click.command(
    epilog="The exit code says how it ended: 0 recovered or nothing to do, 1 failed but left safe, 2 bad input, "
    "3 refused or waiting, 4 recovered but degraded, 5 failed and not left safe, 130 interrupted."
)
@click.argument("runbook")
@run_options
def command(runbook: str, as_json: bool, **options: t.Any) -> int:
    """Run a runbook.

    RUNBOOK is a name that `codeblue list` shows, or namespace.collection.name for one of another collection.

    \b
    codeblue run database_connection_failure -i production.yml
    codeblue run complete_system_outage -i production.yml --limit 'patient_db,records'
    codeblue run database_connection_failure -i production.yml --accept data_loss
    """
    # A drill starts this very command, and says so in its environment.
    origin = "drill" if os.environ.get("CODEBLUE_ORIGIN") == "drill" else "cli"
    return run_request(make_request("run", runbook, origin=origin, **options), as_json)
