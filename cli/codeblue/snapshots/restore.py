"""Restores files of a snapshot into a directory of the controller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_infrastructure import IN_FORCE, INFRASTRUCTURE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import refuse_corrupt
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_restore import restore_snapshot
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot, open_store

from codeblue.snapshots.catalog import find_snapshot
from codeblue.state_output import json_line, summary_line


def restore(
    snapshot_id: str,
    paths: Sequence[str],
    destination: Path,
    level: str | None,
    identity: Path,
    store_path: Path | None,
    as_json: bool,
) -> None:
    """Restore one level, or some paths of it.

    :param store_path: given, the catalog is not asked, because it may be what was lost.
    :raises BadInput: no such snapshot, level or path, or the destination is in use.
    :raises Refused: a verification found the snapshot damaged.
    :raises CodeblueError: it is damaged; the destination was not touched.
    """
    known = None if store_path is not None else refuse_corrupt(find_snapshot(snapshot_id))
    store = ContentStore.open(store_path or _store_of(known), identity=identity)
    digest = known.manifest_sha256 if known is not None else None
    manifest = store.manifest(snapshot_id, digest)
    chosen = level or _only_level(snapshot_id, sorted(manifest.levels))
    report = restore_snapshot(store, snapshot_id, chosen, destination.absolute(), paths, digest)
    if known is not None and known.run_id is not None:
        # Who took a look at what may hold patient data stands beside who took it.
        text = f"{current_operator()} restored {report.files} files of level {chosen} of snapshot {snapshot_id}"
        open_store().record(known.run_id, "note", {"target": known.target, "text": text})
    if as_json:
        json_line("restored", level=chosen, destination=str(report.destination), files=report.files, bytes=report.bytes)
        summary_line(snapshot=snapshot_id, requires=list(manifest.requires))
        return
    click.echo(f"{report.files} files of level {chosen} are in {report.destination}")
    if chosen == INFRASTRUCTURE and (report.destination / IN_FORCE).is_dir():
        click.echo(f"{IN_FORCE}/ is what names and rules were; `codeblue snapshot prove` says what is different now")
    if manifest.requires:
        click.echo(f"An incremental backup: pg_combinebackup also needs {', '.join(manifest.requires)}")


def _store_of(snapshot: Snapshot | None) -> Path:
    if snapshot is None or not snapshot.meta.get("store"):
        where = f"it lies in {snapshot.location} only" if snapshot is not None else "name it with --store"
        raise BadInput("the snapshot has no copy in a store", where)
    return Path(snapshot.meta["store"])


def _only_level(snapshot_id: str, levels: Sequence[str]) -> str:
    if len(levels) != 1:
        raise BadInput(f"snapshot {snapshot_id} has {', '.join(levels)}", f"choose one: --level {levels[0]}")
    return levels[0]
