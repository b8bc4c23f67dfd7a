"""The catalog for people, and as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import TreeEntry
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot

from codeblue.snapshots.catalog import all_snapshots, find_snapshot
from codeblue.state_output import json_line, local_time, show_fields, show_table, summary_line


def show_list(service: str | None, as_json: bool) -> None:
    """One line per snapshot."""
    found = all_snapshots(service)
    if as_json:
        for snapshot in found:
            json_line("snapshot", **snapshot.__dict__)
        summary_line(snapshots=len(found))
        return
    show_table(
        ("SNAPSHOT", "SERVICE", "TAKEN", "STATE", "KIND", "SIZE", "LEVELS"),
        [
            (
                snapshot.snapshot_id,
                snapshot.target,
                local_time(snapshot.created_at),
                snapshot.state,
                snapshot.kind,
                f"{snapshot.size_bytes / 1_000_000:.1f} MB",
                snapshot.level,
            )
            for snapshot in found
        ],
        "There are no snapshots.",
    )


def show_one(snapshot_id: str, identity: Path | None, as_json: bool) -> None:
    """One snapshot, and with an identity what is in it.

    :raises BadInput: there is none, or no copy in a store that an identity could read.
    """
    snapshot = find_snapshot(snapshot_id)
    entries = _entries(snapshot, identity) if identity is not None else []
    if as_json:
        json_line("snapshot", **snapshot.__dict__)
        for entry in entries:
            json_line("file", level=entry.level, path=entry.path, type=entry.type, size=entry.size)
        summary_line(files=len(entries))
        return
    levels = snapshot.meta.get("levels") or {}
    show_fields(
        {
            "snapshot": snapshot.snapshot_id,
            "service": snapshot.target,
            "taken": local_time(snapshot.created_at),
            "state": snapshot.state,
            "kind": snapshot.kind,
            "size": f"{snapshot.size_bytes / 1_000_000:.1f} MB",
            "location": snapshot.location,
            "store": snapshot.meta.get("store"),
            "built upon": snapshot.parent_id,
            "run": snapshot.run_id,
            "sha256": snapshot.manifest_sha256,
            **{level: json.dumps(facts, sort_keys=True) if facts else "yes" for level, facts in levels.items()},
        }
    )
    for entry in entries:
        click.echo(f"{entry.level:13} {entry.size:>12} {json.dumps(entry.path, ensure_ascii=False)[1:-1]}")


def _entries(snapshot: Snapshot, identity: Path) -> list[TreeEntry]:
    if not snapshot.meta.get("store"):
        raise BadInput(
            f"snapshot {snapshot.snapshot_id} has no copy in a store", f"it lies in {snapshot.location} only"
        )
    store = ContentStore.open(Path(snapshot.meta["store"]), identity=identity)
    manifest = store.manifest(snapshot.snapshot_id, snapshot.manifest_sha256)
    return [entry for entry in store.entries(manifest) if entry.type != "directory"]
