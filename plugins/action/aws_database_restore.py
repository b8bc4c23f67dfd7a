# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores a database in RDS beside itself."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_database_step import (
    MISSING,
    AwsDatabaseAction,
    accepted_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_restore import (
        Restore,
        RestorePoint,
        beside,
        restore_point,
        writer_template,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_snapshots import RdsSnapshots, own_tags
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import WRITES_TAG
except ImportError:
    # AwsStepAction says which package is missing.
    pass


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_restore.py."""

    STAGE = "restore"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "to_time": {"type": "str", "default": ""},
        "snapshot": {"type": "str", "default": ""},
        "latest_is_good": {"type": "bool", "default": True},
        "name": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "timeout": {"type": "float", "default": 3600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_positive(arguments, "timeout")
        if arguments["to_time"] and arguments["snapshot"]:
            raise BadInput("to_time and snapshot: one of them says what is restored", "leave one out")
        self.open_database(3 * arguments["timeout"])
        if not (arguments["latest_is_good"] or arguments["to_time"] or arguments["snapshot"]):
            raise Refused(
                f"{self.target}: the last clean moment has to be named: what RDS has of now may be damaged as well",
                "give codeblue_restore_to a moment before the damage, like 2026-01-15T10:00:00Z",
            )
        original = self._databases.require(self._database.place)
        decided = self._decide(original, arguments)
        place = f"{decided['target']} beside {original.place}"
        if self.check_mode:
            self._planned.append("restore")
            return self._result(True, decided, {}, f"would restore {decided['from']} as {place}")
        run = self.open_run()
        # What a restored one inherits is how its original is now: closed for writes, where it is.
        kept = {WRITES_TAG: original.tags[WRITES_TAG]} if WRITES_TAG in original.tags else {}
        restore = Restore(self._databases, original, decided["target"], {**own_tags(self.target, run.run_id), **kept})
        self._begin_restore(restore, decided, arguments)
        if original.place.cluster:
            self._add_instance(restore, original)
        ready = self._await(restore, arguments["timeout"])
        said = f"restored {decided['from']} as {place}; it has the settings of the original"
        return self._result(self._changed, decided, ready, said)

    def _decide(self, original: DatabaseLook, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """What is restored under which name, checked before anything is asked for: RDS may take hours to say no."""

        def work() -> dict[str, t.Any]:
            run_id = "run" if self.check_mode else self.open_run().run_id
            target = arguments["name"] or beside(original.place.identifier, run_id)
            if arguments["snapshot"]:
                snapshots = RdsSnapshots(self._databases, original.place)
                found = snapshots.find(arguments["snapshot"], original.place.region)
                if found is None or not found.usable:
                    state = "there is none of that name" if found is None else f"it is {found.status}"
                    raise BadInput(f"snapshot: {arguments['snapshot']}: {state}", "see aws rds describe-db-snapshots")
                point = RestorePoint(snapshot=found.identifier, at=found.created_at)
            else:
                point = restore_point(original, arguments["to_time"])
            at = point.at.isoformat() if point.at is not None else ""
            return {"target": target, "snapshot": point.snapshot, "at": at, "from": str(point)}

        asked = {"reason": arguments["reason"] or "it is restored beside itself"}
        return dict(self.decide("choose_restore_point", asked, work))

    def _begin_restore(self, restore: Restore, decided: dict[str, t.Any], arguments: dict[str, t.Any]) -> None:
        word = "cluster" if restore.place.cluster else "instance"
        target, region = restore.place.identifier, restore.place.region
        undo = f"aws rds delete-db-{word} --db-{word}-identifier {target} --region {region} --skip-final-snapshot"
        decision = {"from": decided["from"], "to": target, "reason": arguments["reason"], "undo": undo}
        point = RestorePoint.of(decided["snapshot"], decided["at"])
        self.step("restore", decision, lambda _run: accepted_at(restore.begin(point)))

    def _add_instance(self, restore: Restore, original: DatabaseLook) -> None:
        template = writer_template(self._databases, original)
        decision = {"reason": "a cluster is restored without instances"}

        def add(_run: OpenRun) -> dict[str, t.Any]:
            return accepted_at(restore.add_instance(template))

        self.step("add_instance", decision, add)

    def _await(self, restore: Restore, seconds: float) -> dict[str, t.Any]:
        def wait(_run: OpenRun) -> dict[str, t.Any]:
            restore.require_own()
            seen = restore.until_ready(seconds)
            changed = restore.align(seen)
            if changed:
                seen = restore.until_ready(seconds)
            lacking = sorted(restore.differences(seen))
            if lacking:
                # RDS says `available` for some moments before it begins to change what it was told to.
                seen = self._databases.until(
                    restore.place, lambda now: _lacking(restore, now), seconds, "like the original"
                )
            return {"changed": bool(changed), "aligned": changed, "address": seen.address, "port": seen.port}

        return self.step("await_restored", {"reason": "it has to have the settings of the original"}, wait)

    def _result(
        self, changed: bool, decided: dict[str, t.Any], ready: dict[str, t.Any], summary: str
    ) -> dict[str, t.Any]:
        return {
            "changed": changed,
            "identifier": decided["target"],
            "from": decided["from"],
            "at": decided["at"],
            "address": ready.get("address", ""),
            "port": ready.get("port", 0),
            "calls": self._account.calls,
            "codeblue": {"summary": summary},
        }


def _lacking(restore: Restore, seen: DatabaseLook | None) -> str:
    if seen is None:
        return "it is not there"
    return seen.unsettled or ", ".join(sorted(restore.differences(seen)))
