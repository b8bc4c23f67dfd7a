# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All rows of one run, to be carried from one store to another."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import (
    acceptances,
    approvals,
    bad_versions,
    breaches,
    changes,
    incidents,
    journal,
    leases,
    ledger,
    outbox,
    run_targets,
    runs,
    snapshots,
)
from sqlalchemy.engine import Connection

Row = dict[str, t.Any]
# Table name -> its rows, in an order in which they can be inserted.
RunRows = dict[str, list[Row]]

TABLES = {
    table.name: table
    for table in (
        incidents,
        changes,
        approvals,
        acceptances,
        runs,
        run_targets,
        leases,
        journal,
        bad_versions,
        snapshots,
        breaches,
        outbox,
        ledger,
    )
}
# Numbered by each store for itself.
_NUMBERED = frozenset({"approvals", "journal", "bad_versions"})


def rows_of_run(connection: Connection, run_id: str, *, with_record: bool) -> RunRows | None:
    """The rows of a run, and what is known of its targets; None when there is no such run.

    :param with_record: also its ledger and its messages, which a store that goes on with the run does not need.
    """
    run = connection.execute(sa.select(runs).where(runs.c.run_id == run_id)).one_or_none()
    if run is None:
        return None
    targets = connection.scalars(sa.select(run_targets.c.target).where(run_targets.c.run_id == run_id)).all()
    conditions: dict[str, sa.ColumnElement[bool]] = {
        "incidents": incidents.c.incident_id == run.incident_id,
        "changes": changes.c.change_id == run.change_id,
        "approvals": approvals.c.change_id == run.change_id,
        "acceptances": acceptances.c.change_id == run.change_id,
        "runs": runs.c.run_id == run_id,
        "run_targets": run_targets.c.run_id == run_id,
        "leases": leases.c.run_id == run_id,
        "journal": journal.c.run_id == run_id,
        "bad_versions": bad_versions.c.target.in_(targets),
        "snapshots": snapshots.c.target.in_(targets),
        "breaches": breaches.c.run_id == run_id,
        "outbox": outbox.c.run_id == run_id,
        "ledger": ledger.c.run_id == run_id,
    }
    found: RunRows = {}
    for name, condition in conditions.items():
        if name in ("outbox", "ledger") and not with_record:
            continue
        table = TABLES[name]
        columns = [column for column in table.c if not (name in _NUMBERED and column.name == "id")]
        order = [table.c.id] if name in _NUMBERED else list(table.primary_key.columns)
        found[name] = [
            dict(row._mapping) for row in connection.execute(sa.select(*columns).where(condition).order_by(*order))
        ]
    return found


def insert_missing(connection: Connection, table_name: str, rows: Sequence[Mapping[str, t.Any]], *key: str) -> int:
    """Insert the rows whose key is not there yet.

    :param key: the columns that tell one row from another.
    :returns: how many were missing.
    """
    table = TABLES[table_name]
    inserted = 0
    for row in rows:
        same = sa.and_(*(table.c[name].is_not_distinct_from(row[name]) for name in key))
        if connection.execute(sa.select(sa.literal(1)).select_from(table).where(same).limit(1)).first() is None:
            connection.execute(table.insert().values(**row))
            inserted += 1
    return inserted
