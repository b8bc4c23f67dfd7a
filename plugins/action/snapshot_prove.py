# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves a snapshot: restores it into a place of its own, counts what is there, and removes the copy again."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_infrastructure import (
        INFRASTRUCTURE,
        differences,
        in_force,
        scopes_of_kept,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import (
        BackupPlace,
        backup_root,
        choose_snapshot,
        refuse_corrupt,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_restore import restore_snapshot
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
except ImportError:
    # StepAction says which package is missing.
    pass

_START_SECONDS = 10.0
_REMOVE_SECONDS = 120.0
# Differences of the infrastructure: in the line for people, and in the result.
_MOST_SAID = 3
_MOST_RETURNED = 200
# Asked in any case: a restored cluster without a single table proves nothing.
_TABLES = "tables"
_TABLES_QUERY = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384"


class ActionModule(StepAction):
    """See plugins/modules/snapshot_prove.py."""

    STAGE = "snapshot"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "snapshot_id": {"type": "str"},
        "identity": {"type": "path"},
        "queries": {"type": "dict", "default": {}},
        "timeout": {"type": "float", "default": 3600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        found = self.store.snapshots(self.target)
        snapshot = refuse_corrupt(choose_snapshot(found, self.target, arguments["snapshot_id"]))
        place = BackupPlace.of(snapshot)
        if place is None and not arguments["identity"]:
            raise BadInput(
                f"{self.target}: snapshot {snapshot.snapshot_id} can be restored only by an identity",
                "name the age identity file: codeblue snapshot prove --identity FILE",
            )
        self._differences: list[str] = []
        levels = snapshot.level.split("+")
        counted = self._database(snapshot, place, arguments) if place is not None else {}
        if place is not None:
            # The database is proven from its base backup; what stands around it lies in the store alone.
            levels = [INFRASTRUCTURE] if INFRASTRUCTURE in levels and arguments["identity"] else []
        counted.update(self._files(snapshot, levels, arguments) if levels else {})
        if self.check_mode:
            return {"changed": True, "codeblue": {"summary": f"would restore {snapshot.snapshot_id} beside and count"}}
        run = self.open_run()
        said = f"{snapshot.snapshot_id} is proven: " + ", ".join(f"{value} {name}" for name, value in counted.items())
        if snapshot.state != "proven":
            run.store.set_snapshot_state(snapshot.snapshot_id, "proven", said, run.run_id)
        if self._differences:
            more = len(self._differences) - _MOST_SAID
            said += "; different now: " + "; ".join(self._differences[:_MOST_SAID])
            said += f" and {more} more" if more > 0 else ""
        return {
            "changed": snapshot.state != "proven",
            "snapshot_id": snapshot.snapshot_id,
            "state": "proven",
            "counted": counted,
            "differences": self._differences[:_MOST_RETURNED],
            "codeblue": {"summary": said},
        }

    # -- databases ---------------------------------------------------------------------------------------------

    def _database(self, snapshot: Snapshot, place: BackupPlace, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Restore to the end of the archived log on the machine that has the backup."""
        database = self.service().require_host().postgresql
        if database is None or place.machine not in database.members:
            raise BadInput(
                f"{place.machine} is no member of {self.target} any more", "name the machine in the inventory"
            )
        directory = f"{backup_root(place.machine, self._variables['hostvars'][place.machine])}/.proof-{self.target}"
        login = login_arguments(database, database.members[place.machine])
        queries = {_TABLES: _TABLES_QUERY, **{str(name): str(query) for name, query in arguments["queries"].items()}}
        restore = {
            **login,
            "directory": directory,
            "destination": place.destination,
            "backup_id": place.backup_id,
            "expected_digest": place.digest,
            "target": {"kind": "latest" if database.archive_dir else "immediate"},
            "queries": queries,
            "timeout": arguments["timeout"],
            **({"archive_dir": database.archive_dir} if database.archive_dir else {}),
        }
        remove = {**login, "state": "absent", "directory": directory}
        # What another proof has left behind, killed in the middle, is no copy of this snapshot.
        self._beside(snapshot, place, "clear", remove, _REMOVE_SECONDS)
        try:
            result = self._beside(snapshot, place, "restore", restore, arguments["timeout"] + _START_SECONDS)
        finally:
            if not self.check_mode:
                self._beside(snapshot, place, "remove", remove, _REMOVE_SECONDS)
        if self.check_mode:
            return {}
        counted = dict(result["answers"])
        if not str(counted.get(_TABLES, "")).strip("0"):
            raise CodeblueError(
                f"snapshot {snapshot.snapshot_id} was restored and has no tables in {database.database}",
                "look whether codeblue_host.postgresql.database names the right one",
            )
        return counted

    def _beside(
        self, snapshot: Snapshot, place: BackupPlace, action: str, arguments: dict[str, t.Any], seconds: float
    ) -> dict[str, t.Any]:
        return (
            self.change(
                Change(
                    action=f"proof_{action}_{snapshot.snapshot_id}",
                    machine=place.machine,
                    module="postgresql_restore_beside",
                    arguments=arguments,
                    decision={"snapshot_id": snapshot.snapshot_id, "directory": arguments["directory"]},
                    seconds=seconds,
                )
            )
            .checked()
            .result
        )

    # -- files -------------------------------------------------------------------------------------------------

    def _files(self, snapshot: Snapshot, levels: list[str], arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Restore the levels, each into a directory of its own on the controller, which is removed again.

        Names and rules are not for putting back; how they differ from what is in force is all there is to prove.
        """
        if self.check_mode:
            return {}

        def work(_run: OpenRun) -> dict[str, t.Any]:
            store = ContentStore.open(Path(snapshot.meta["store"]), identity=Path(arguments["identity"]))
            counted: dict[str, t.Any] = {}
            with tempfile.TemporaryDirectory(prefix="codeblue-proof-") as place:
                for level in levels:
                    report = restore_snapshot(
                        store, snapshot.snapshot_id, level, Path(place) / level, digest=snapshot.manifest_sha256
                    )
                    counted[f"files of {level}"] = report.files
                if INFRASTRUCTURE in levels:
                    self._differences = self._compare(Path(place) / INFRASTRUCTURE)
            return {"counted": counted}

        decision = {"snapshot_id": snapshot.snapshot_id}
        return dict(self.local_change(f"proof_{snapshot.snapshot_id}", decision, work)["counted"])

    def _compare(self, restored: Path) -> list[str]:
        """How names and rules differ now from those of the restored level."""
        known = set(self._variables["hostvars"])
        scopes = scopes_of_kept(restored)
        asked = [scope for scope in scopes if scope.machine in known]
        now = in_force(self.look([scope.call() for scope in asked]))
        gone = [f"{each.machine} is not in the inventory any more" for each in scopes if each.machine not in known]
        return [*gone, *differences(restored, now)]
