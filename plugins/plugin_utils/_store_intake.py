# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taking spools back into the store once it works again; doing so twice changes nothing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import queue_head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_rows import (
    TABLES,
    Row,
    RunRows,
    insert_missing,
    rows_of_run,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_spool import (
    SpoolStore,
    open_spool,
    remove_seed,
    remove_spool,
    seeded_runs,
    spool_paths,
)
from sqlalchemy.engine import Connection

_INCIDENT_ORDER = ("detected", "acknowledged", "investigating", "identified", "resolving", "resolved", "closed")


@dataclass(frozen=True)
class TakenIn:
    """What became of one spool; `taken` is False while its run is still under way, or when it failed."""

    run_id: str
    taken: bool
    reason: str


def take_in_spools(store: Store) -> list[TakenIn]:
    """Bring every spool of this controller into the store, and remove it once that is on disk.

    A spool whose run is open and whose process is alive stays where it is.

    :raises StoreUnavailable: the store itself fails.
    """
    done = []
    for path in spool_paths():
        spool = open_spool(path)
        try:
            with spool.database.read() as connection:
                rows = rows_of_run(connection, spool.run_id, with_record=True)
        except StoreUnavailable as error:
            done.append(TakenIn(spool.run_id, False, error.message))
            continue
        if rows is None:
            # Its run was refused before it opened.
            remove_spool(spool)
            continue
        if rows["runs"][0]["status"] == "open" and _is_under_way(spool):
            done.append(TakenIn(spool.run_id, False, "its run is still under way"))
            continue
        with store.database.write() as transaction:
            _take_in(store, transaction.connection, rows)
            branch = rows["ledger"][-1]
            if branch["segment"] and not _was_taken_in(transaction.connection, rows):
                head = store.ledger.append(
                    transaction.connection,
                    spool.run_id,
                    "segment_taken_in",
                    {"taken_segment": branch["segment"], "last_seq": branch["seq"], "last_hash": branch["hash"]},
                )
                queue_head(store, transaction, head)
        remove_spool(spool)
        done.append(TakenIn(spool.run_id, True, "taken in"))
    for run_id in seeded_runs():
        run = store.run(run_id)
        if run is None or run.status == "closed":
            # Closed from elsewhere: nobody will go on with it.
            remove_seed(run_id)
    return done


def _is_under_way(spool: SpoolStore) -> bool:
    return any(lease.holder.is_alive() is not False for lease in spool.leases_of_run(spool.run_id))


def _was_taken_in(connection: Connection, rows: RunRows) -> bool:
    ledger = TABLES["ledger"]
    last = rows["ledger"][-1]
    bodies = connection.scalars(
        sa.select(ledger.c.body).where(ledger.c.run_id == last["run_id"], ledger.c.kind == "segment_taken_in")
    )
    return any(last["hash"] in body for body in bodies)


def _take_in(store: Store, connection: Connection, rows: RunRows) -> None:
    run = rows["runs"][0]
    insert_missing(connection, "incidents", rows["incidents"], "incident_id")
    insert_missing(connection, "changes", rows["changes"], "change_id")
    insert_missing(connection, "approvals", rows["approvals"], "change_id", "kind", "approver")
    insert_missing(connection, "acceptances", rows["acceptances"], "change_id", "kind")
    if not insert_missing(connection, "runs", rows["runs"], "run_id"):
        _advance_run(connection, run)
        _advance_change(connection, rows["changes"][0])
    _advance_incident(connection, rows["incidents"][0])
    if not insert_missing(connection, "run_targets", rows["run_targets"], "run_id", "target"):
        for row in rows["run_targets"]:
            _close_target(connection, row)
    _settle_leases(connection, rows["leases"], run["run_id"], run["status"] == "closed")
    for row in rows["journal"]:
        _take_step(connection, row)
    insert_missing(connection, "bad_versions", rows["bad_versions"], "target", "kind", "version", "marked_at")
    insert_missing(connection, "snapshots", rows["snapshots"], "snapshot_id")
    for row in rows["snapshots"]:
        _update(connection, "snapshots", {"snapshot_id": row["snapshot_id"]}, row, older_by="state_at")
    if not insert_missing(connection, "breaches", rows["breaches"], "breach_id"):
        for row in rows["breaches"]:
            _update(connection, "breaches", {"breach_id": row["breach_id"]}, row, older_by="updated_at")
    insert_missing(connection, "outbox", rows["outbox"], "message_id")
    insert_missing(connection, "ledger", rows["ledger"], "run_id", "segment", "seq")


def _advance_run(connection: Connection, run: Row) -> None:
    runs = TABLES["runs"]
    ended = {name: run[name] for name in ("status", "outcome", "exit_code", "closed_at")}
    connection.execute(runs.update().where(runs.c.run_id == run["run_id"], runs.c.status == "open").values(**ended))


def _advance_change(connection: Connection, change: Row) -> None:
    changes = TABLES["changes"]
    names = ("status", "validation", "outcome", "closed_at", "review_due_at")
    connection.execute(
        changes.update()
        .where(changes.c.change_id == change["change_id"], changes.c.closed_at.is_(None))
        .values(**{name: change[name] for name in names})
    )


def _advance_incident(connection: Connection, incident: Row) -> None:
    incidents = TABLES["incidents"]
    row = connection.execute(
        sa.select(incidents).where(incidents.c.incident_id == incident["incident_id"]).with_for_update()
    ).one()
    values: Row = {
        f"{status}_at": incident[f"{status}_at"]
        for status in _INCIDENT_ORDER
        if row._mapping[f"{status}_at"] is None and incident[f"{status}_at"] is not None
    }
    if _INCIDENT_ORDER.index(incident["status"]) > _INCIDENT_ORDER.index(row.status):
        values["status"] = incident["status"]
    if values:
        connection.execute(
            incidents.update().where(incidents.c.incident_id == incident["incident_id"]).values(**values)
        )


def _close_target(connection: Connection, row: Row) -> None:
    targets = TABLES["run_targets"]
    connection.execute(
        targets.update()
        .where(targets.c.run_id == row["run_id"], targets.c.target == row["target"], targets.c.status == "open")
        .values(**{name: row[name] for name in ("status", "outcome", "detail", "closed_at")})
    )


def _settle_leases(connection: Connection, rows: list[Row], run_id: str, closed: bool) -> None:
    leases = TABLES["leases"]
    insert_missing(connection, "leases", rows, "target")
    for row in rows:
        # Taken anew in the spool: the higher generation stands, unless somebody else holds the target by now.
        connection.execute(
            leases.update()
            .where(
                leases.c.target == row["target"],
                leases.c.generation < row["generation"],
                sa.or_(leases.c.run_id.is_(None), leases.c.run_id == run_id),
            )
            .values(**row)
        )
    still_held = {row["target"] for row in rows}
    held = connection.scalars(sa.select(leases.c.target).where(leases.c.run_id == run_id)).all()
    for target in held:
        if closed or target not in still_held:
            connection.execute(leases.update().where(leases.c.target == target).values(run_id=None))


def _take_step(connection: Connection, row: Row) -> None:
    if not insert_missing(connection, "journal", [row], "key"):
        _update(connection, "journal", {"key": row["key"]}, row, older_by="started_at")


def _update(connection: Connection, table_name: str, key: Row, row: Row, older_by: str) -> None:
    """Replace a row that is not newer than the spool's."""
    table = TABLES[table_name]
    same: list[t.Any] = [table.c[name] == value for name, value in key.items()]
    connection.execute(table.update().where(*same, table.c[older_by] <= row[older_by]).values(**row))
