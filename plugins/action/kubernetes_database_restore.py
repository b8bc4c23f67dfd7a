# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings damaged tables of a database in a cluster back from its last clean dump, by Jobs; the rest stays as it is."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, NotLeftSafe, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import DATA_LOSS, accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_database_step import (
    MISSING,
    DatabaseStepAction,
    last,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_database import ClusterDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_jobs import Report
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_volume_snapshots import (
        take_volume_snapshots,
    )

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0


class ActionModule(DatabaseStepAction):
    """See plugins/modules/kubernetes_database_restore.py."""

    STAGE = "restore"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "accept": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 900.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        seconds = arguments["timeout"]
        database = self.begin(service, _CALL_SECONDS + 4 * seconds)
        if self.check_mode:
            self._planned += ["volume_snapshots", "job_dump", "job_restore_beside", "job_swap"]
            summary = (
                f"would restore the newest clean dump of {database.name} beside it, compare, and swap what is damaged"
            )
            return {"changed": True, "codeblue": {"summary": summary}}
        found = self.assessed(database)
        tables = found["tables"]
        volumes = self._volumes(database)
        why = {"rules": found["rules"], "tables": tables}
        dump = self.job("dump", self._scripts.dump(tables), seconds, why, changes=False)
        beside = self._beside(database, tables, seconds)
        chosen = next(each for each in beside if each.get("clean"))
        age = max(0.0, time.time() - float(chosen["taken_at"]))
        self._accepted(service, chosen, age, arguments["accept"])
        swap = self._scripts.swap(database.integrity, tables, found["unreadable"])
        decision = {
            **why,
            "dump": chosen["dump"],
            "undo": f"the tables as they were are in {last(dump, 'file').get('file')}",
        }
        self.job("swap", swap, seconds, decision)
        differences = [each for each in beside if "table" in each]
        summary = self._summary(tables, chosen, age, differences, dump) + volumes
        return {
            "changed": self._changed,
            "tables": tables,
            "dump": str(chosen["dump"]),
            "dump_age_seconds": round(age),
            "differences": differences,
            "emergency_dump": dict(last(dump, "file")),
            "calls": self._client.calls,
            "codeblue": {"summary": summary},
        }

    def _beside(self, database: ClusterDatabase, tables: list[str], seconds: float) -> Report:
        script = self._scripts.restore_beside(database.integrity, tables)
        decision = {"tables": tables, "reason": "the newest dump on which every rule holds"}
        try:
            report = self.job("restore_beside", script, seconds, decision, changes=False)
        except CodeblueError as error:
            raise NotLeftSafe(
                f"{error.message}", "writes stay stopped, the damage is kept: look for an older dump elsewhere"
            ) from error
        if not any(each.get("clean") for each in report):
            raise NotLeftSafe(
                f"{self.target}: no dump holds a clean state", "writes stay stopped: look for one elsewhere"
            )
        return report

    def _accepted(self, service: Service, chosen: Mapping[str, t.Any], age: float, given: list[str]) -> None:
        """A dump that is older than what may be lost needs a person's word.

        :raises Refused: nobody gave it.
        """
        if age <= service.objectives.rpo or DATA_LOSS in accepted(self.open_run(), given):
            return
        raise Refused(
            f"{self.target}: the last clean dump {chosen['dump']} is {age / 3600:.1f} h old, and no more than"
            f" {service.objectives.rpo / 60:.0f} min may be lost: entries since then would leave the damaged tables",
            f"writes stay stopped; they are in the emergency dump. To go on run it again with --accept {DATA_LOSS}",
        )

    def _volumes(self, database: ClusterDatabase) -> str:
        """Snapshots of the volumes of its pods, where the cluster has them; what became of it, as an end of a line."""
        name = database.volume_snapshot_class
        if name is None:
            return "; no volume snapshots: codeblue_kubernetes.database.volume_snapshot_class names no class"

        def take(run: OpenRun) -> dict[str, t.Any]:
            made, said = take_volume_snapshots(self._client, self._place, name, run.run_id)
            return {"changed": bool(made), "snapshots": made, "said": said}

        done = self.local_change("volume_snapshots", {"class": name, "reason": "the volumes as they are"}, take)
        self._changed |= bool(done.get("changed"))
        return f"; {done['said']}"

    def _summary(
        self, tables: list[str], chosen: Mapping[str, t.Any], age: float, differences: Report, dump: Report
    ) -> str:
        said = [
            f"{each['table']}: {each.get('out', 'some')} rows out, {each.get('back', 'some')} back"
            for each in differences
            if each.get("out") != 0 or each.get("back") != 0
        ]
        kept = last(dump, "file")
        left = f" without rows of {kept['without']}, which could not be read" if kept.get("without") else ""
        return (
            f"{', '.join(tables)} brought back from {chosen['dump']}, {age / 60:.0f} min old"
            f" ({'; '.join(said) or 'same'});"
            f" all as it was is in {kept.get('file')}{left}"
        )
