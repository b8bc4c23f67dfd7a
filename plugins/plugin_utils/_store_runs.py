# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs: opened with their incident and their ticket, closed target by target."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes import (
    close_change,
    open_change,
    opening_records,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._leases import (
    holder_fields,
    holder_values,
    release_in_transaction,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import NO_RECORD, Head, Ledger, head_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator, current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import announce
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database, Transaction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_incidents import advance_incident, incident_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    EXIT_CODES,
    Run,
    RunOpening,
    StateWouldBeLost,
    TargetState,
    worst_outcome,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import run_targets, runs
from sqlalchemy.engine import Connection

_THROW_AWAY_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_THROW_AWAY_VARIABLES = ("KUBERNETES_SERVICE_HOST", "AWX_HOST", "TOWER_HOST")


def in_throw_away_container() -> bool:
    """Whether files written here are likely gone when the job has ended."""
    return any(mark.exists() for mark in _THROW_AWAY_MARKS) or any(name in os.environ for name in _THROW_AWAY_VARIABLES)


class RunStore:
    """The part of the store that keeps runs."""

    database: Database
    ledger: Ledger
    is_spool = False

    def create_run(self, opening: RunOpening) -> Run:
        """Open a run with its incident, its change ticket and the first records of its chain.

        :raises BadInput: no target, or a run of this id exists.
        :raises StoreUnavailable: it cannot be written.
        :raises StateWouldBeLost: it would be gone with this container.
        """
        if not opening.targets:
            raise BadInput("a run needs at least one target")
        self._refuse_throw_away(opening.environment)
        with self.database.write() as transaction:
            connection = transaction.connection
            now = self.database.now(connection)
            if connection.scalar(sa.select(runs.c.run_id).where(runs.c.run_id == opening.run_id)) is not None:
                raise BadInput(f"run {opening.run_id} exists", f"codeblue resume {opening.run_id}")
            incident_id = incident_for(connection, opening, now)
            change_id = open_change(connection, opening, incident_id, now)
            connection.execute(runs.insert().values(**_row_of(opening, incident_id, change_id, now)))
            connection.execute(
                run_targets.insert(),
                [
                    {"run_id": opening.run_id, "target": target, "position": position, "status": "open", "detail": "{}"}
                    for position, target in enumerate(dict.fromkeys(opening.targets))
                ],
            )
            self._record_opening(connection, opening, incident_id, change_id)
            opening_records(connection, self.ledger, opening, change_id)
            run = _load(connection, opening.run_id)
            self._announce(transaction, "run_opened", run, head_of(connection, opening.run_id))
            return run

    def run(self, run_id: str) -> Run | None:
        with self.database.read() as connection:
            return _find(connection, run_id)

    def runs(self, limit: int = 50, status: str | None = None) -> list[Run]:
        """The latest runs first."""
        query = sa.select(runs.c.run_id).order_by(runs.c.opened_at.desc()).limit(limit)
        if status is not None:
            query = query.where(runs.c.status == status)
        with self.database.read() as connection:
            return [_load(connection, run_id) for run_id in connection.scalars(query).all()]

    def reopen_run(self, run_id: str, holder: ProcessIdentity) -> Run:
        """Go on with a run after its process died. Leases are taken anew by `acquire_leases`.

        :raises Refused: it is closed, or its process still runs.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            run = _load(connection, run_id, lock=True)
            if run.status == "closed":
                raise Refused(f"run {run_id} is closed: {run.outcome}", "start a new run")
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(**holder_values(holder)))
            self.ledger.append(
                connection,
                run_id,
                "run_reopened",
                {"operator": str(current_operator()), "holder": holder_fields(holder)},
            )
            return _load(connection, run_id)

    def close_target(self, run_id: str, target: str, outcome: str, detail: Mapping[str, t.Any]) -> Run:
        """Close one target of a run and give it back; the last one closes the run with the worst outcome.

        Closing a closed target changes nothing.

        :param outcome: a row of the table of outcomes.
        :param detail: what validation found and what a person should do; goes to the ticket.
        """
        _known_outcome(outcome)
        with self.database.write() as transaction:
            run = _load(transaction.connection, run_id, lock=True)
            if target not in run.targets:
                raise BadInput(f"{target} is no target of run {run_id}", f"its targets: {', '.join(run.targets)}")
            if run.targets[target].status == "closed":
                return run
            self._close_one(transaction.connection, run_id, target, outcome, detail)
            return self._close_if_last(transaction, run_id, by=str(run.operator), detail={})

    def close_run(self, run_id: str, outcome: str, detail: Mapping[str, t.Any]) -> Run:
        """Close a run with all its targets that are still open, as `doctor` does with one that was left behind."""
        _known_outcome(outcome)
        with self.database.write() as transaction:
            run = _load(transaction.connection, run_id, lock=True)
            if run.status == "closed":
                return run
            for target in run.open_targets:
                self._close_one(transaction.connection, run_id, target, outcome, detail)
            return self._close_if_last(transaction, run_id, by=str(current_operator()), detail=detail)

    def _record_opening(self, connection: Connection, opening: RunOpening, incident_id: str, change_id: str) -> None:
        self.ledger.append(
            connection,
            opening.run_id,
            "run_opened",
            {
                "runbook": opening.runbook,
                "severity": opening.severity,
                "environment": opening.environment,
                "targets": opening.targets,
                "operator": _operator_fields(opening.operator),
                "because": opening.because,
                "accepts": opening.accepts,
                "origin": opening.origin,
                "collection_version": opening.collection_version,
                "fingerprint": opening.fingerprint,
                "objectives": opening.objectives,
                "incident_id": incident_id,
                "change_id": change_id,
                "holder": holder_fields(opening.holder),
            },
        )

    def _close_one(
        self, connection: Connection, run_id: str, target: str, outcome: str, detail: Mapping[str, t.Any]
    ) -> None:
        now = self.database.now(connection)
        kept = bounded(dict(detail), "target_closed.detail", replace_secrets=True)
        connection.execute(
            run_targets.update()
            .where(run_targets.c.run_id == run_id, run_targets.c.target == target)
            .values(status="closed", outcome=outcome, detail=json.dumps(kept, sort_keys=True), closed_at=now)
        )
        self.ledger.append(
            connection,
            run_id,
            "target_closed",
            {"target": target, "outcome": outcome, "detail": kept},
            replace_secrets=True,
        )
        generation = release_in_transaction(connection, now, target, run_id)
        if generation is not None:
            self.ledger.append(connection, run_id, "lease_released", {"target": target, "generation": generation})

    def _close_if_last(self, transaction: Transaction, run_id: str, by: str, detail: Mapping[str, t.Any]) -> Run:
        connection = transaction.connection
        run = _load(connection, run_id)
        if run.open_targets:
            return run
        outcome = worst_outcome(state.outcome or "failed_unsafe" for state in run.targets.values())
        exit_code = EXIT_CODES[outcome]
        now = self.database.now(connection)
        validation = {name: {"outcome": state.outcome, **state.detail} for name, state in run.targets.items()}
        close_change(connection, self.ledger, run_id, outcome, exit_code, validation)
        if exit_code in (0, 4) and advance_incident(connection, run_id, "resolved", now):
            self.ledger.append(
                connection, run_id, "incident_moved", {"incident_id": run.incident_id, "status": "resolved", "by": by}
            )
        connection.execute(
            runs.update()
            .where(runs.c.run_id == run_id)
            .values(status="closed", outcome=outcome, exit_code=exit_code, closed_at=now)
        )
        head = self.ledger.append(
            connection,
            run_id,
            "run_closed",
            {"outcome": outcome, "exit_code": exit_code, "by": by, "detail": detail},
            replace_secrets=True,
        )
        closed = _load(connection, run_id)
        self._announce(transaction, "run_closed", closed, head)
        return closed

    def _announce(self, transaction: Transaction, event: str, run: Run, head: Head) -> None:
        announce(t.cast(t.Any, self), transaction, event, run, head)

    def _refuse_throw_away(self, environment: str) -> None:
        if (
            # The lab goes with the container as well.
            environment != "lab"
            and self.database.dialect == "sqlite"
            and not self.is_spool
            and not os.environ.get("CODEBLUE_STATE_URL")
            and os.environ.get("CODEBLUE_ALLOW_LOCAL_STATE") != "1"
            and in_throw_away_container()
        ):
            raise StateWouldBeLost(
                "this looks like a throw-away container: the state of the run would be lost with it",
                "set CODEBLUE_STATE_URL=postgresql+psycopg://…, or CODEBLUE_ALLOW_LOCAL_STATE=1 "
                "when the state directory is kept",
            )


def _operator_fields(operator: Operator) -> dict[str, t.Any]:
    return {"name": operator.name, "source": operator.source, "verified": operator.verified}


def _known_outcome(outcome: str) -> None:
    if outcome not in EXIT_CODES:
        raise BadInput(f"outcome {outcome!r} is unknown", f"one of {', '.join(EXIT_CODES)}")


def _row_of(opening: RunOpening, incident_id: str, change_id: str, now: str) -> dict[str, t.Any]:
    return {
        "run_id": opening.run_id,
        "runbook": opening.runbook,
        "severity": opening.severity,
        "environment": opening.environment,
        "status": "open",
        "operator": opening.operator.name,
        "operator_source": opening.operator.source,
        "operator_verified": opening.operator.verified,
        "because": bounded(opening.because, "run.because"),
        "accepts": json.dumps(list(opening.accepts)),
        "fingerprint": json.dumps(bounded(dict(opening.fingerprint), "run.fingerprint"), sort_keys=True),
        "origin": opening.origin,
        "collection_version": opening.collection_version,
        "objectives": json.dumps(bounded(dict(opening.objectives), "run.objectives"), sort_keys=True),
        "incident_id": incident_id,
        "change_id": change_id,
        **holder_values(opening.holder),
        "opened_at": now,
        "segment": 0,
        "head_seq": -1,
        "head_hash": NO_RECORD,
    }


def _find(connection: Connection, run_id: str, lock: bool = False) -> Run | None:
    query = sa.select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    targets = connection.execute(
        sa.select(run_targets).where(run_targets.c.run_id == run_id).order_by(run_targets.c.position)
    )
    return Run(
        run_id=row.run_id,
        runbook=row.runbook,
        severity=row.severity,
        environment=row.environment,
        status=row.status,
        outcome=row.outcome,
        exit_code=row.exit_code,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        targets={
            state.target: TargetState(
                state.target, state.status, state.outcome, json.loads(state.detail), state.closed_at
            )
            for state in targets
        },
        operator=Operator(row.operator, row.operator_source, bool(row.operator_verified)),
        because=row.because,
        accepts=tuple(json.loads(row.accepts)),
        fingerprint=json.loads(row.fingerprint),
        origin=row.origin,
        collection_version=row.collection_version,
        objectives=json.loads(row.objectives),
        incident_id=row.incident_id,
        change_id=row.change_id,
        segment=row.segment,
    )


def _load(connection: Connection, run_id: str, lock: bool = False) -> Run:
    run = _find(connection, run_id, lock)
    if run is None:
        raise BadInput(f"there is no run {run_id}", "codeblue audit list shows the runs")
    return run
