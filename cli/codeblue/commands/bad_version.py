"""codeblue bad-version: versions that a run rolled away from, and that nobody goes back to until a person says so."""

from __future__ import annotations

import click
from codeblue.state_output import json_line, json_option, local_time, show_table, summary_line


@click.group(name="bad-version")
def command() -> None:
    """Versions that were rolled away from. A rollback never lands on one of them again, in later runs neither.

    Example: codeblue bad-version list
    """


@command.command(name="list")
@click.option("--service", help="Only those of this service.")
@json_option
def list_(service: str | None, as_json: bool) -> None:
    """List the versions that are marked bad, the oldest first.

    Example: codeblue bad-version list --service records
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    found = open_store().bad_versions(service)
    if as_json:
        for bad in found:
            json_line("bad_version", **bad.__dict__)
        summary_line(bad_versions=len(found))
        return
    show_table(
        ("SERVICE", "KIND", "VERSION", "MARKED", "RUN", "REASON"),
        [
            (bad.target, bad.kind, bad.version, local_time(bad.marked_at), bad.run_id or "-", bad.reason)
            for bad in found
        ],
        "No version is marked bad.",
    )


@command.command()
@click.argument("service")
@click.argument("version")
@click.option("--kind", default="release", show_default=True, help="What is versioned: release, config, schema, model.")
@click.option("--because", required=True, help="What was mended, for the record.")
@json_option
def clear(service: str, version: str, kind: str, because: str, as_json: bool) -> None:
    """Say that a VERSION of a SERVICE may be used again.

    Example: codeblue bad-version clear records 1.2.0 --because "the missing migration has been run"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import current_operator, open_store

    open_store().clear_bad(service, kind, version, current_operator(), because)
    if as_json:
        summary_line(service=service, kind=kind, version=version)
        return
    click.echo(f"{service}: {kind} {version} may be used again.")
