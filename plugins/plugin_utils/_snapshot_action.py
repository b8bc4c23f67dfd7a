# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What actions that take a snapshot into the store on the controller have in common."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_copy import copy_snapshots
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
except ImportError:
    # StepAction says which package is missing.
    pass

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import SnapshotManifest


class SnapshotAction(StepAction):
    """Base of them; `ARGUMENTS` has at least `kind`, `recipients` and `copies`."""

    STAGE = "snapshot"

    def require_recipients(self, arguments: dict[str, t.Any]) -> None:
        """:raises BadInput: nobody could read what would be kept."""
        if not arguments["recipients"]:
            raise BadInput(
                f"{self.target}: a snapshot of files needs somebody who can read it",
                "set codeblue_snapshot_recipients to an age recipient (age1…), as age-keygen prints it",
            )

    def into_catalog(self, run: OpenRun, snapshot_id: str, kind: str, kept: dict[str, t.Any]) -> Snapshot:
        """Write a snapshot that lies in the store alone into the catalog; once.

        :param kept: as `kept_of` told it.
        """
        snapshot = Snapshot(
            snapshot_id=snapshot_id,
            target=self.target,
            level="+".join(kept["levels"]),
            kind=kind,
            created_at=kept["created_at"],
            location=kept["store"],
            manifest_sha256=kept["digest"],
            size_bytes=kept["size_bytes"],
            run_id=run.run_id,
            meta={"store": kept["store"], "levels": kept["levels"]},
        )
        run.store.add_snapshot(snapshot)
        return snapshot

    def copy(self, snapshot: Snapshot, arguments: dict[str, t.Any]) -> str:
        """Copy it into the other places, each a journalled step; what is to be said of it.

        :raises CodeblueError: a place could not be written. The snapshot itself is in the catalog.
        """
        # A recovery that waits for another site waits for nothing: `codeblue snapshot copy` brings it there later.
        places = [] if arguments["kind"] == "emergency" else list(arguments["copies"])
        failed = []
        for place in places:

            def work(_run: OpenRun, place: str = place) -> dict[str, t.Any]:
                source = ContentStore.open(Path(snapshot.meta["store"]))
                report = copy_snapshots(source, Path(place), [snapshot.snapshot_id])
                if report.problems:
                    raise CodeblueError(report.problems[0])
                return {"place": place, "bytes": report.bytes_written, "changed": bool(report.copied)}

            try:
                self.local_change(f"copy_to_{place}", {"snapshot_id": snapshot.snapshot_id, "place": place}, work)
            except CodeblueError as error:
                failed.append(f"{place}: {error.message}")
        if failed:
            raise CodeblueError(
                f"snapshot {snapshot.snapshot_id} is taken, and its copy failed: {'; '.join(failed)}"[:900],
                f"codeblue snapshot copy {snapshot.snapshot_id} --to DIR, once the place can be written",
            )
        return f", copies in {len(places)} other places" if places else ""

    @staticmethod
    def result_of(snapshot: Snapshot, changed: bool, summary: str) -> dict[str, t.Any]:
        """What the task returns."""
        return {
            "changed": changed,
            "snapshot_id": snapshot.snapshot_id,
            "level": snapshot.level,
            "location": snapshot.location,
            "size_bytes": snapshot.size_bytes,
            "codeblue": {"summary": summary},
        }


def kept_of(manifest: SnapshotManifest, store: str, changed: bool) -> dict[str, t.Any]:
    """What a step records of a snapshot in the store: nothing of its content."""
    return {
        "snapshot_id": manifest.snapshot_id,
        "store": store,
        "digest": manifest.digest,
        "created_at": manifest.created_at,
        "files": manifest.files,
        "size_bytes": manifest.size_bytes,
        "stored_bytes": manifest.stored_bytes,
        "levels": {level: dict(manifest.levels[level].facts) for level in sorted(manifest.levels)},
        "changed": changed,
    }


def size_of(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1_000_000:.1f} MB"
