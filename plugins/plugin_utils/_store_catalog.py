# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What outlives a run: versions known to be bad, and the catalog of snapshots."""

from __future__ import annotations

import json
import typing as t

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import queue_head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import BadVersion, Snapshot, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import bad_versions, snapshots

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

SNAPSHOT_STATES = ("taken", "verified", "proven", "corrupt", "deleted")


class CatalogStore:
    """The part of the store that keeps bad versions and snapshots."""

    database: Database
    ledger: Ledger

    def mark_bad(self, target: str, kind: str, version: str, run_id: str, reason: str) -> None:
        """A version that was rolled away from. Marking it twice changes nothing.

        :param kind: what is versioned: `release`, `config`, `schema`, `model`, …
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            if self._bad_row(connection, target, kind, version) is not None:
                return
            connection.execute(
                bad_versions.insert().values(
                    target=target,
                    kind=kind,
                    version=version,
                    run_id=run_id,
                    reason=bounded(reason, "bad_version.reason"),
                    marked_at=utc_now(),
                )
            )
            self.ledger.append(
                connection,
                run_id,
                "version_marked_bad",
                {"target": target, "kind": kind, "version": version, "reason": reason},
            )

    def bad_versions(self, target: str | None = None, kind: str | None = None) -> list[BadVersion]:
        """The versions that must not be gone back to, of one target or of all."""
        query = sa.select(bad_versions).where(bad_versions.c.cleared_at.is_(None))
        if target is not None:
            query = query.where(bad_versions.c.target == target)
        if kind is not None:
            query = query.where(bad_versions.c.kind == kind)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(bad_versions.c.id)).all()
        return [BadVersion(row.target, row.kind, row.version, row.run_id, row.reason, row.marked_at) for row in rows]

    def clear_bad(self, target: str, kind: str, version: str, operator: Operator, because: str) -> None:
        """A person says that a version may be used again.

        :raises BadInput: it is not marked, or no reason is given.
        """
        if not because.strip():
            raise BadInput("clearing a bad version needs a reason", "say what was fixed")
        with self.database.write() as transaction:
            connection = transaction.connection
            row = self._bad_row(connection, target, kind, version)
            if row is None:
                raise BadInput(f"{target}: {kind} {version} is not marked bad")
            connection.execute(
                bad_versions.update()
                .where(bad_versions.c.id == row.id)
                .values(cleared_at=utc_now(), cleared_by=str(operator), cleared_because=bounded(because, "because"))
            )
            if row.run_id is not None:
                head = self.ledger.append(
                    connection,
                    row.run_id,
                    "bad_version_cleared",
                    {"target": target, "kind": kind, "version": version, "by": str(operator), "because": because},
                )
                queue_head(t.cast("Store", self), transaction, head)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Put a snapshot into the catalog. Adding the same one twice changes nothing.

        :raises BadInput: another snapshot has this id.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            row = connection.execute(
                sa.select(snapshots).where(snapshots.c.snapshot_id == snapshot.snapshot_id)
            ).one_or_none()
            if row is not None:
                if row.manifest_sha256 != snapshot.manifest_sha256:
                    raise BadInput(f"snapshot {snapshot.snapshot_id} exists with another manifest")
                return
            values = {**snapshot.__dict__, "meta": json.dumps(bounded(dict(snapshot.meta), "snapshot.meta"))}
            values["location"] = bounded(snapshot.location, "snapshot.location")
            connection.execute(snapshots.insert().values(**values, state_at=utc_now()))
            if snapshot.run_id is not None:
                names = ("snapshot_id", "target", "level", "kind", "location", "manifest_sha256", "size_bytes")
                self.ledger.append(
                    connection, snapshot.run_id, "snapshot_added", {name: values[name] for name in names}
                )

    def snapshots(self, target: str | None = None, level: str | None = None) -> list[Snapshot]:
        """The snapshots that were not deleted, the latest first."""
        query = sa.select(snapshots).where(snapshots.c.state != "deleted")
        if target is not None:
            query = query.where(snapshots.c.target == target)
        if level is not None:
            query = query.where(snapshots.c.level == level)
        with self.database.read() as connection:
            rows = connection.execute(
                query.order_by(snapshots.c.created_at.desc(), snapshots.c.snapshot_id.desc())
            ).all()
        return [_snapshot(row) for row in rows]

    def set_snapshot_state(self, snapshot_id: str, state: str, summary: str = "", run_id: str | None = None) -> None:
        """What was found out about a snapshot.

        :param run_id: whose record says so; the run that took it by default.
        :raises BadInput: unknown snapshot or state, or a corrupt one is called good again.
        """
        if state not in SNAPSHOT_STATES:
            raise BadInput(f"snapshot state {state!r} is unknown", f"one of {', '.join(SNAPSHOT_STATES)}")
        with self.database.write() as transaction:
            connection = transaction.connection
            row = connection.execute(
                sa.select(snapshots).where(snapshots.c.snapshot_id == snapshot_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise BadInput(f"there is no snapshot {snapshot_id}")
            if row.state == state:
                return
            if row.state in ("corrupt", "deleted") and state != "deleted":
                raise BadInput(f"snapshot {snapshot_id} is {row.state}", "take a new one")
            connection.execute(
                snapshots.update().where(snapshots.c.snapshot_id == snapshot_id).values(state=state, state_at=utc_now())
            )
            recorded_by = run_id or row.run_id
            if recorded_by is not None:
                self.ledger.append(
                    connection,
                    recorded_by,
                    "snapshot_state",
                    {"snapshot_id": snapshot_id, "state": state, "summary": summary},
                )

    def backup_removed(self, snapshot_id: str, run_id: str) -> None:
        """Retention removed a snapshot's base backup from its machine. A copy in the store stays the snapshot.

        Telling it twice changes nothing, nor does telling it of a backup that the catalog never had.

        :param run_id: the run that removed it.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            row = connection.execute(
                sa.select(snapshots).where(snapshots.c.snapshot_id == snapshot_id).with_for_update()
            ).one_or_none()
            meta = json.loads(row.meta) if row is not None else {}
            if row is None or meta.pop("backup", None) is None:
                return
            state = row.state if meta.get("store") or row.state == "deleted" else "deleted"
            values = {"meta": json.dumps(meta), "state": state, "state_at": utc_now()}
            if meta.get("store"):
                values["location"] = bounded(str(meta["store"]), "snapshot.location")
            connection.execute(snapshots.update().where(snapshots.c.snapshot_id == snapshot_id).values(**values))
            summary = "base backup removed by retention" + (
                "; the copy in the store stays" if meta.get("store") else ""
            )
            self.ledger.append(
                connection, run_id, "snapshot_state", {"snapshot_id": snapshot_id, "state": state, "summary": summary}
            )

    @staticmethod
    def _bad_row(connection: sa.Connection, target: str, kind: str, version: str) -> sa.Row[t.Any] | None:
        return connection.execute(
            sa.select(bad_versions).where(
                bad_versions.c.target == target,
                bad_versions.c.kind == kind,
                bad_versions.c.version == version,
                bad_versions.c.cleared_at.is_(None),
            )
        ).one_or_none()


def _snapshot(row: sa.Row[t.Any]) -> Snapshot:
    return Snapshot(
        row.snapshot_id,
        row.target,
        row.level,
        row.kind,
        row.created_at,
        row.location,
        row.manifest_sha256,
        row.size_bytes,
        row.state,
        row.run_id,
        row.parent_id,
        json.loads(row.meta),
    )
