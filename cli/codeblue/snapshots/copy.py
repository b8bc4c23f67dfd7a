"""Copies of the store in other places."""

from __future__ import annotations

from pathlib import Path

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_copy import copy_snapshots
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import store_directory

from codeblue.state_output import json_line, summary_line


def copy(snapshot_id: str | None, place: Path, store_path: Path | None, as_json: bool) -> None:
    """Copy one snapshot or all into another place.

    :raises CodeblueError: some could not be copied; the others are there.
    """
    source = ContentStore.open(store_path or store_directory(None))
    report = copy_snapshots(source, place.expanduser().absolute(), [snapshot_id] if snapshot_id else None)
    if as_json:
        for each in report.copied:
            json_line("copied", snapshot=each)
        summary_line(
            copied=len(report.copied),
            there=report.there,
            objects=report.objects,
            bytes=report.bytes_written,
            problems=list(report.problems),
        )
    else:
        for each in report.copied:
            click.echo(f"copied {each}")
        size = report.bytes_written / 1_000_000
        click.echo(f"{len(report.copied)} copied, {report.there} were there, {size:.1f} MB written and read back")
    if report.problems:
        raise CodeblueError(
            f"{len(report.problems)} snapshots were not copied: {report.problems[0]}",
            "verify them: codeblue snapshot verify; what is damaged here is not copied",
        )
