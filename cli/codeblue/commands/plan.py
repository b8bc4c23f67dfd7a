"""`codeblue plan`: look, decide, and change nothing."""

from __future__ import annotations

import typing as t

import click
from codeblue.runner.options import make_request, run_options, run_request


@click.command()
@click.argument("runbook")
@run_options
def command(runbook: str, as_json: bool, **options: t.Any) -> int:
    """Show what a runbook would do now.

    It runs in Ansible's check mode with --diff: steps that are decided are shown as they would be done, and
    those that are not taken as things stand are listed with their conditions.

    \b
    codeblue plan database_connection_failure -i production.yml
    """
    return run_request(make_request("plan", runbook, **options), as_json)
