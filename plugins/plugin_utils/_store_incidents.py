# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Incidents: what happened to the service, whichever runs dealt with it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import queue_head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import RunOpening, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import incidents, run_targets, runs
from sqlalchemy.engine import Connection

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

# In this order; a status is never taken back, and what is skipped has no time.
STATUSES = ("detected", "acknowledged", "investigating", "identified", "resolving", "resolved", "closed")
_RANK = {status: rank for rank, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class Incident:
    """One incident; `times` maps each status that it went through to when."""

    incident_id: str
    severity: str
    title: str
    status: str
    times: Mapping[str, str]
    runs: tuple[str, ...] = ()


def incident_for(connection: Connection, opening: RunOpening, now: str) -> str:
    """The unresolved incident that an earlier run on one of the targets opened, else a new one."""
    found = connection.scalar(
        sa.select(incidents.c.incident_id)
        .join(runs, runs.c.incident_id == incidents.c.incident_id)
        .join(run_targets, run_targets.c.run_id == runs.c.run_id)
        .where(
            run_targets.c.target.in_(opening.targets),
            runs.c.environment == opening.environment,
            incidents.c.status.not_in(("resolved", "closed")),
        )
        .order_by(incidents.c.detected_at.desc())
        .limit(1)
    )
    if found is not None:
        return str(found)
    incident_id = f"INC-{opening.run_id}"
    connection.execute(
        incidents.insert().values(
            incident_id=incident_id,
            severity=opening.severity,
            title=f"{opening.runbook}: {', '.join(opening.targets)}"[:300],
            status="acknowledged",
            detected_at=now,
            # Whoever starts a runbook has taken notice.
            acknowledged_at=now,
        )
    )
    return incident_id


def advance_incident(connection: Connection, run_id: str, status: str, now: str) -> bool:
    """Move the incident of a run on to a status, unless it is there or beyond."""
    row = connection.execute(
        sa.select(incidents).join(runs, runs.c.incident_id == incidents.c.incident_id).where(runs.c.run_id == run_id)
    ).one()
    if _RANK[row.status] >= _RANK[status]:
        return False
    connection.execute(
        incidents.update()
        .where(incidents.c.incident_id == row.incident_id)
        .values({"status": status, f"{status}_at": now})
    )
    return True


class IncidentStore:
    """The part of the store that keeps incidents."""

    database: Database
    ledger: Ledger

    def incident(self, incident_id: str) -> Incident | None:
        with self.database.read() as connection:
            row = connection.execute(sa.select(incidents).where(incidents.c.incident_id == incident_id)).one_or_none()
            return None if row is None else _incident(row, _runs_of(connection, incident_id))

    def incidents(self, limit: int = 50, status: str | None = None) -> list[Incident]:
        """The latest incidents first."""
        query = sa.select(incidents).order_by(incidents.c.detected_at.desc()).limit(limit)
        if status is not None:
            query = query.where(incidents.c.status == status)
        with self.database.read() as connection:
            return [_incident(row, _runs_of(connection, row.incident_id)) for row in connection.execute(query).all()]

    def move_incident(self, incident_id: str, status: str, operator: Operator, comment: str = "") -> Incident:
        """A person moves an incident on.

        :raises BadInput: there is no such incident or status, or it is beyond that status.
        """
        if status not in _RANK:
            raise BadInput(f"incident status {status!r} is unknown", f"one of {', '.join(STATUSES)}")
        with self.database.write() as transaction:
            connection = transaction.connection
            runs_of = _runs_of(connection, incident_id)
            row = connection.execute(
                sa.select(incidents).where(incidents.c.incident_id == incident_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise BadInput(f"there is no incident {incident_id}", "codeblue incident list")
            if _RANK[row.status] >= _RANK[status]:
                raise BadInput(f"incident {incident_id} is {row.status} already", "it only moves on")
            if status == "closed" and row.resolved_at is None:
                raise BadInput(f"incident {incident_id} is not resolved", f"codeblue incident resolve {incident_id}")
            connection.execute(
                incidents.update()
                .where(incidents.c.incident_id == incident_id)
                .values({"status": status, f"{status}_at": utc_now()})
            )
            head = self.ledger.append(
                connection,
                runs_of[-1],
                "incident_moved",
                {"incident_id": incident_id, "status": status, "by": str(operator), "comment": comment},
            )
            queue_head(t.cast("Store", self), transaction, head)
        return t.cast(Incident, self.incident(incident_id))


def _runs_of(connection: Connection, incident_id: str) -> Sequence[str]:
    return connection.scalars(
        sa.select(runs.c.run_id).where(runs.c.incident_id == incident_id).order_by(runs.c.opened_at)
    ).all()


def _incident(row: sa.Row[t.Any], run_ids: Sequence[str]) -> Incident:
    mapping = row._mapping
    times = {status: mapping[f"{status}_at"] for status in STATUSES if mapping[f"{status}_at"] is not None}
    return Incident(row.incident_id, row.severity, row.title, row.status, times, tuple(run_ids))
