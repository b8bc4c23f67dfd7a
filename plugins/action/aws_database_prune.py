# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removes snapshots of a database in RDS that this collection has taken and that are not kept any longer."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_database_step import (
    MISSING,
    AwsDatabaseAction,
    accepted_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_snapshots import (
        RdsSnapshot,
        RdsSnapshots,
        superseded,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
except ImportError:
    # AwsStepAction says which package is missing.
    pass

# One run removes no more; the next one goes on.
_MOST = 100


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_prune.py."""

    STAGE = "prune"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "newest": {"type": "int", "default": 10},
        "days": {"type": "float", "default": 30.0},
        "timeout": {"type": "float", "default": 600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        if arguments["newest"] < 1 or arguments["days"] < 0:
            raise BadInput(
                f"newest {arguments['newest']}, days {arguments['days']:g}: would keep nothing",
                "keep at least one snapshot and no negative days",
            )
        self.require_positive(arguments, "timeout")
        self.open_database(arguments["timeout"])
        place = self._database.place
        self._snapshots = RdsSnapshots(self._databases, place)
        old: list[RdsSnapshot] = []
        for region in (place.region, *self._database.copies):
            found = self._snapshots.all(region, manual=True)
            now = datetime.datetime.now(datetime.UTC)
            old += superseded(found, self.target, arguments["newest"], arguments["days"], now)
        proven = self._proven()
        removed = [each for each in old if each.identifier not in proven][:_MOST]
        for each in removed:
            self._remove(each)
        verb = "would remove" if self.check_mode else "removed"
        said = f"{verb} {len(removed)} snapshots of {place}" if removed else f"no snapshot of {place} is too old"
        return {
            "changed": self._changed,
            "removed": [f"{each.identifier} in {each.region}" for each in removed],
            "calls": self._account.calls,
            "codeblue": {"summary": said},
        }

    def _proven(self) -> set[str]:
        """The last one that a restore has proven stays, however old it is."""
        store = open_store() if self.check_mode else self.open_run().store.main
        known = store.snapshots(self.target) if store is not None else []
        return {str(each.meta.get("rds")) for each in [one for one in known if one.state == "proven"][:1]}

    def _remove(self, snapshot: RdsSnapshot) -> None:
        def remove(run: OpenRun) -> dict[str, t.Any]:
            gone = self._snapshots.delete(snapshot)
            if snapshot.region == self._database.place.region:
                for each in run.store.snapshots(self.target):
                    if each.meta.get("rds") == snapshot.identifier:
                        run.store.set_snapshot_state(each.snapshot_id, "deleted", "removed by retention", run.run_id)
            return accepted_at(gone)

        decision = {"reason": "not among the newest, and too old", "undo": "none: it is gone"}
        self.step(f"remove_{snapshot.identifier}_{snapshot.region}", decision, remove)
