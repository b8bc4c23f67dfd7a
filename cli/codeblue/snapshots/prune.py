"""Retention of the store, with the catalog kept in step."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import BackupPlace, store_directory
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_retention import RetentionPolicy
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_retention import prune as prune_content
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

from codeblue.state_output import json_line, summary_line


def prune(newest: int, days: float, dry_run: bool, store_path: Path | None, as_json: bool) -> None:
    """Remove what the policy does not keep.

    The catalog follows the store that it names; a copy of it is pruned without a word there.

    :raises Refused: the store is append-only or in use.
    :raises CodeblueError: a header is damaged, so that nothing can be removed safely.
    """
    catalog = open_store()
    known = {snapshot.snapshot_id: snapshot for snapshot in catalog.snapshots()}
    proven = {snapshot_id for snapshot_id, snapshot in known.items() if snapshot.state == "proven"}
    damaged = {snapshot_id for snapshot_id, snapshot in known.items() if snapshot.state == "corrupt"}
    store = ContentStore.open(store_path or store_directory(None))
    report = prune_content(store, RetentionPolicy(newest, days), datetime.now(UTC), proven, dry_run, damaged)
    left = []
    for snapshot_id in report.removed:
        snapshot = known.get(snapshot_id)
        place = BackupPlace.of(snapshot) if snapshot is not None else None
        if place is not None:
            left.append(f"{place.machine}:{place.destination}/{place.backup_id}")
        if snapshot is not None and not dry_run and snapshot.meta.get("store") == str(store.path):
            catalog.set_snapshot_state(snapshot_id, "deleted", "removed by retention")
        if as_json:
            json_line("removed", snapshot=snapshot_id, service=snapshot.target if snapshot else None, dry_run=dry_run)
        else:
            click.echo(f"{'would remove' if dry_run else 'removed'} {snapshot_id}")
    if as_json:
        summary_line(
            removed=len(report.removed), kept=len(report.kept), bytes=report.removed_bytes, left_on_machines=left
        )
        return
    for path in left:
        click.echo(f"a base backup is still there: {path}; see codeblue snapshot prune-machines")
    click.echo(
        f"{len(report.removed)} removed, {len(report.kept)} kept, {report.removed_bytes / 1_000_000:.1f} MB freed"
    )
