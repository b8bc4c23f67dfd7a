# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes a snapshot of a database in RDS, and copies it to other regions."""

from __future__ import annotations

import datetime
import hashlib
import typing as t

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
        missing_key,
        own_tags,
        snapshot_identifier,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_places import snapshot_id_of
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Snapshot
except ImportError:
    # AwsStepAction says which package is missing.
    pass

_EMERGENCY = "emergency"
_DATABASE = "database"
_BYTES = 1_000_000_000


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_snapshot.py."""

    STAGE = "snapshot"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "kind": {
            "type": "str",
            "choices": ["scheduled", "on_demand", "pre_deployment", _EMERGENCY],
            "default": "on_demand",
        },
        "timeout": {"type": "float", "default": 3600.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_positive(arguments, "timeout")
        self.open_database(2 * arguments["timeout"])
        place = self._database.place
        # A recovery that waits for another region waits for nothing.
        regions = () if arguments["kind"] == _EMERGENCY else self._database.copies
        seen = self._databases.require(place)
        for region in regions:
            if seen.encrypted and region not in self._database.keys:
                raise missing_key(place, region)
        if self.check_mode:
            copies = f", and copy it to {', '.join(regions)}" if regions else ""
            self._planned += ["take_snapshot", *(f"copy_to_{region}" for region in regions)]
            return self._said(True, f"would take a snapshot of {place}{copies}")
        self._snapshots = RdsSnapshots(self._databases, place)
        run = self.open_run()
        identifier = snapshot_identifier(place.identifier, run.run_id, arguments["kind"])
        taken = self._take(identifier, arguments)
        self._into_catalog(run, identifier, arguments["kind"], taken)
        for region in regions:
            self._copy(identifier, region, arguments["timeout"])
        copied = f", copies in {', '.join(regions)}" if regions else ""
        ready = "" if taken["complete"] else ", which RDS goes on with"
        return {
            **self._said(self._changed, f"snapshot {identifier} of {place}{ready}{copied}"),
            "identifier": identifier,
            "arn": taken["arn"],
            "complete": taken["complete"],
            "copies": list(regions),
        }

    def _take(self, identifier: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        place, run_id = self._database.place, self.open_run().run_id
        undo = "aws rds delete-db-cluster-snapshot" if place.cluster else "aws rds delete-db-snapshot"

        def take(_run: OpenRun) -> dict[str, t.Any]:
            return accepted_at(self._snapshots.take(identifier, own_tags(self.target, run_id)))

        reason = {"reason": f"a snapshot of kind {arguments['kind']}", "undo": f"{undo} … {identifier}"}
        self.step("take_snapshot", {"snapshot": identifier, **reason}, take)

        def look(_run: OpenRun) -> dict[str, t.Any]:
            # Of its moment it is as soon as RDS has begun it; what is waited for is that it can be restored from.
            complete = arguments["kind"] != _EMERGENCY
            seen = self._snapshots.until_available(identifier, place.region, arguments["timeout"], complete)
            return {"changed": False, **_facts(seen)}

        return self.local_change("await_snapshot", {"snapshot": identifier}, look)

    def _copy(self, identifier: str, region: str, seconds: float) -> None:
        run_id = self.open_run().run_id

        def copy(_run: OpenRun) -> dict[str, t.Any]:
            source = self._snapshots.until_available(identifier, self._database.place.region, seconds)
            key = self._database.keys.get(region)
            begun = self._snapshots.copy(source, region, key, own_tags(self.target, run_id))
            self._snapshots.until_available(identifier, region, seconds)
            return accepted_at(begun)

        decision = {"snapshot": identifier, "region": region, "reason": "a copy in another region"}
        self.step(f"copy_to_{region}", decision, copy)

    def _into_catalog(self, run: OpenRun, identifier: str, kind: str, taken: dict[str, t.Any]) -> None:
        run.store.add_snapshot(
            Snapshot(
                snapshot_id=snapshot_id_of(run.run_id, self.target, kind),
                target=self.target,
                level=_DATABASE,
                kind=kind,
                created_at=taken["created_at"],
                location=taken["arn"],
                # RDS gives no digest of its snapshots: this one tells only which snapshot is meant.
                manifest_sha256=hashlib.sha256(f"{taken['arn']} {taken['created_at']}".encode()).hexdigest(),
                size_bytes=taken["gigabytes"] * _BYTES,
                run_id=run.run_id,
                meta={"rds": identifier, "region": self._database.place.region},
            )
        )

    def _said(self, changed: bool, summary: str) -> dict[str, t.Any]:
        return {"changed": changed, "calls": self._account.calls, "codeblue": {"summary": summary}}


def _facts(seen: RdsSnapshot) -> dict[str, t.Any]:
    # RDS says when it was begun only once it is under way.
    created = seen.created_at or datetime.datetime.now(datetime.UTC)
    return {
        "arn": seen.arn,
        "created_at": created.astimezone(datetime.UTC).isoformat(),
        "gigabytes": seen.size,
        "complete": seen.usable,
    }
