"""Snapshots as the catalog has them."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot, open_store


def all_snapshots(service: str | None = None) -> list[Snapshot]:
    """Those that were not deleted, the latest first."""
    return open_store().snapshots(service)


def find_snapshot(snapshot_id: str) -> Snapshot:
    """One snapshot.

    :raises BadInput: the catalog has none of this id.
    """
    for snapshot in all_snapshots():
        if snapshot.snapshot_id == snapshot_id:
            return snapshot
    raise BadInput(f"there is no snapshot {snapshot_id}", "see codeblue snapshot list")
