# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Change tickets: opened and closed by the run itself, approved by policy or by somebody else.

SEV1 and SEV2 are emergencies that policy approves beforehand, operations are standard changes where their card
says so, and the lab is nobody's production; any other change waits for a person, and nobody approves their own.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._changes_risk import Risk, assess_risk, change_type
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import queue_head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    RunOpening,
    format_time,
    parse_time,
    utc_now,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import acceptances, approvals, changes, runs
from sqlalchemy.engine import Connection

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

REVIEW_WITHIN = timedelta(hours=24)
_SHORTEST_JUSTIFICATION = 10


@dataclass(frozen=True)
class Approval:
    """Why a change may go ahead.

    :param kind: `policy`, `person` or `break_glass`.
    """

    change_id: str
    kind: str
    approver: str
    source: str
    verified: bool
    comment: str
    approved_at: str


@dataclass(frozen=True)
class Acceptance:
    """A loss that was accepted explicitly, such as `data_loss`; `via` is `call` or `approval`."""

    kind: str
    via: str
    accepted_by: str
    accepted_at: str


@dataclass(frozen=True)
class ChangeTicket:
    """One change; `status` is `submitted`, `approved`, `implementing`, `completed` or `failed`."""

    change_id: str
    run_id: str
    incident_id: str
    type: str
    status: str
    requester: str
    requester_verified: bool
    justification: str
    targets: tuple[str, ...]
    risk: Risk
    plan: str
    rollback: str
    approvals: tuple[Approval, ...]
    acceptances: tuple[Acceptance, ...]
    validation: Mapping[str, t.Any] | None
    outcome: str | None
    opened_at: str
    closed_at: str | None
    review_due_at: str | None
    reviewed_at: str | None
    reviewed_by: str | None
    review: str | None


def open_change(connection: Connection, opening: RunOpening, incident_id: str, now: str) -> str:
    """The ticket of a run, with what policy and the call itself already decide."""
    change_id = f"CHG-{opening.run_id}"
    risk = assess_risk(opening)
    kind = change_type(opening.severity, opening.environment, opening.pre_approved)
    justification = opening.because or (
        f"operation {opening.runbook}"
        if opening.pre_approved
        else f"{opening.runbook}: its detection criteria decide whether anything is changed"
    )
    connection.execute(
        changes.insert().values(
            change_id=change_id,
            incident_id=incident_id,
            type=kind,
            status="submitted" if kind == "normal" else "approved",
            requester=opening.operator.name,
            requester_verified=opening.operator.verified,
            justification=bounded(justification, "change.justification"),
            targets=json.dumps(opening.targets),
            risk_score=risk.score,
            risk_level=risk.level,
            risk_reasons=json.dumps(risk.reasons),
            plan=bounded(opening.plan, "change.plan"),
            rollback=bounded(opening.rollback, "change.rollback"),
            opened_at=now,
        )
    )
    for accepted in dict.fromkeys(opening.accepts):
        connection.execute(
            acceptances.insert().values(
                change_id=change_id, kind=accepted, via="call", accepted_by=str(opening.operator), accepted_at=now
            )
        )
    if kind != "normal":
        policy = _policy_of(kind, opening)
        _add_approval(
            connection,
            change_id,
            "policy",
            Operator(policy, "policy", True),
            f"{kind} change, approved beforehand",
            now,
        )
    return change_id


def opening_records(connection: Connection, ledger: Ledger, opening: RunOpening, change_id: str) -> None:
    """What the run's chain says about its ticket."""
    risk = assess_risk(opening)
    ledger.append(
        connection,
        opening.run_id,
        "change_opened",
        {
            "change_id": change_id,
            "type": change_type(opening.severity, opening.environment, opening.pre_approved),
            "risk_score": risk.score,
            "risk_level": risk.level,
            "risk_reasons": risk.reasons,
            "requester": str(opening.operator),
        },
    )
    for approval in _approvals(connection, change_id):
        ledger.append(connection, opening.run_id, "change_approved", _approval_fields(approval))
    for acceptance in _acceptances(connection, change_id):
        ledger.append(
            connection,
            opening.run_id,
            "acceptance",
            {"kind": acceptance.kind, "via": acceptance.via, "accepted_by": acceptance.accepted_by},
        )


def close_change(
    connection: Connection, ledger: Ledger, run_id: str, outcome: str, exit_code: int, validation: Mapping[str, t.Any]
) -> None:
    """Close the ticket of a run with how each target was validated; its review is due within a day."""
    now = utc_now()
    change_id = connection.scalars(sa.select(runs.c.change_id).where(runs.c.run_id == run_id)).one()
    status = "completed" if exit_code in (0, 4) else "failed"
    connection.execute(
        changes.update()
        .where(changes.c.change_id == change_id)
        .values(
            status=status,
            outcome=outcome,
            validation=json.dumps(validation, sort_keys=True),
            closed_at=now,
            review_due_at=format_time(parse_time(now) + REVIEW_WITHIN),
        )
    )
    ledger.append(connection, run_id, "change_closed", {"change_id": change_id, "status": status, "outcome": outcome})


class ChangeStore:
    """The part of the store that keeps change tickets."""

    database: Database
    ledger: Ledger

    def change(self, change_id: str) -> ChangeTicket | None:
        with self.database.read() as connection:
            row = connection.execute(_with_run().where(changes.c.change_id == change_id)).one_or_none()
            return None if row is None else _ticket(connection, row)

    def changes(self, limit: int = 50, status: str | None = None) -> list[ChangeTicket]:
        """The latest tickets first."""
        query = _with_run().order_by(changes.c.opened_at.desc()).limit(limit)
        if status is not None:
            query = query.where(changes.c.status == status)
        with self.database.read() as connection:
            return [_ticket(connection, row) for row in connection.execute(query).all()]

    def approval_for(self, run_id: str) -> Approval | None:
        """What lets a run change something; None means that its gate stays closed.

        A normal change needs a person whose name somebody authenticated.
        """
        with self.database.read() as connection:
            change_id = connection.scalar(sa.select(runs.c.change_id).where(runs.c.run_id == run_id))
            if change_id is None:
                return None
            found = [entry for entry in _approvals(connection, change_id) if entry.verified]
        return found[0] if found else None

    def acceptances(self, run_id: str) -> tuple[Acceptance, ...]:
        """What was accepted explicitly for a run."""
        with self.database.read() as connection:
            change_id = connection.scalar(sa.select(runs.c.change_id).where(runs.c.run_id == run_id))
            return _acceptances(connection, change_id) if change_id is not None else ()

    def approve(
        self, change_id: str, approver: Operator, comment: str = "", accepts: t.Collection[str] = ()
    ) -> ChangeTicket:
        """Approve somebody else's change.

        :param accepts: losses that the approver accepts with it, such as `data_loss`.
        :raises Refused: it is the approver's own, it is closed, or nobody authenticated the approver.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            row = self._open_change(connection, change_id)
            if not approver.verified:
                raise Refused(f"nobody authenticated {approver.name}", "approve from an account of your own")
            if row.requester == approver.name:
                raise Refused(f"{approver.name} requested {change_id}: nobody approves their own change")
            now = utc_now()
            self._approve(connection, row.run_id, change_id, "person", approver, comment, now)
            for kind in accepts:
                self._accept(connection, row.run_id, change_id, kind, approver, now)
        return t.cast(ChangeTicket, self.change(change_id))

    def break_glass(self, change_id: str, operator: Operator, justification: str) -> ChangeTicket:
        """Go ahead without an approver; the review afterwards is somebody else's.

        :raises Refused: the name is unverified, the change is closed, or the justification says nothing.
        """
        if len(justification.strip()) < _SHORTEST_JUSTIFICATION:
            raise Refused("breaking the glass needs a justification", "say in a sentence what happens otherwise")
        with self.database.write() as transaction:
            connection = transaction.connection
            row = self._open_change(connection, change_id)
            if not operator.verified:
                raise Refused(f"nobody authenticated {operator.name}", "break the glass from an account of your own")
            self._approve(connection, row.run_id, change_id, "break_glass", operator, justification, utc_now())
        return t.cast(ChangeTicket, self.change(change_id))

    def review_change(self, change_id: str, reviewer: Operator, comment: str) -> ChangeTicket:
        """Close the review that follows every change.

        :raises Refused: the change is not closed, was reviewed, or is the reviewer's own.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            row = self._row(connection, change_id)
            if row.closed_at is None or row.reviewed_at is not None:
                state = "was reviewed already" if row.reviewed_at else "is still open"
                raise Refused(f"{change_id} {state}", f"codeblue change show {change_id}")
            if row.requester == reviewer.name:
                raise Refused(f"{reviewer.name} requested {change_id}: somebody else reviews it")
            connection.execute(
                changes.update()
                .where(changes.c.change_id == change_id)
                .values(reviewed_at=utc_now(), reviewed_by=str(reviewer), review=bounded(comment, "review.comment"))
            )
            head = self.ledger.append(
                connection,
                row.run_id,
                "change_reviewed",
                {"change_id": change_id, "reviewer": reviewer.name, "verified": reviewer.verified, "comment": comment},
            )
            queue_head(t.cast("Store", self), transaction, head)
        return t.cast(ChangeTicket, self.change(change_id))

    def _approve(
        self, connection: Connection, run_id: str, change_id: str, kind: str, who: Operator, comment: str, now: str
    ) -> None:
        known = {(entry.kind, entry.approver) for entry in _approvals(connection, change_id)}
        if (kind, who.name) in known:
            raise Refused(f"{who.name} approved {change_id} already")
        approval = _add_approval(connection, change_id, kind, who, bounded(comment, "approval.comment"), now)
        connection.execute(
            changes.update()
            .where(changes.c.change_id == change_id, changes.c.status == "submitted")
            .values(status="approved")
        )
        self.ledger.append(connection, run_id, "change_approved", _approval_fields(approval))

    def _accept(self, connection: Connection, run_id: str, change_id: str, kind: str, who: Operator, now: str) -> None:
        if kind in {entry.kind for entry in _acceptances(connection, change_id)}:
            return
        connection.execute(
            acceptances.insert().values(
                change_id=change_id, kind=kind, via="approval", accepted_by=str(who), accepted_at=now
            )
        )
        self.ledger.append(connection, run_id, "acceptance", {"kind": kind, "via": "approval", "accepted_by": str(who)})

    def _open_change(self, connection: Connection, change_id: str) -> sa.Row[t.Any]:
        row = self._row(connection, change_id)
        if row.closed_at is not None:
            raise Refused(f"{change_id} is closed", f"codeblue change show {change_id}")
        return row

    def _row(self, connection: Connection, change_id: str) -> sa.Row[t.Any]:
        row = connection.execute(_with_run().where(changes.c.change_id == change_id).with_for_update()).one_or_none()
        if row is None:
            raise BadInput(f"there is no change {change_id}", "codeblue change list")
        return row


def _policy_of(kind: str, opening: RunOpening) -> str:
    """By which rule a change was approved beforehand."""
    if kind == "emergency":
        return f"policy {opening.severity}"
    return "policy lab" if opening.environment == "lab" else f"policy operation {opening.runbook}"


def _with_run() -> sa.Select[t.Any]:
    return sa.select(changes, runs.c.run_id).join(runs, runs.c.change_id == changes.c.change_id)


def _add_approval(connection: Connection, change_id: str, kind: str, who: Operator, comment: str, now: str) -> Approval:
    connection.execute(
        approvals.insert().values(
            change_id=change_id,
            kind=kind,
            approver=who.name,
            source=who.source,
            verified=who.verified,
            comment=comment,
            approved_at=now,
        )
    )
    return Approval(change_id, kind, who.name, who.source, who.verified, comment, now)


def _approval_fields(approval: Approval) -> dict[str, t.Any]:
    return {name: value for name, value in approval.__dict__.items() if name != "approved_at"}


def _approvals(connection: Connection, change_id: str) -> tuple[Approval, ...]:
    rows = connection.execute(sa.select(approvals).where(approvals.c.change_id == change_id).order_by(approvals.c.id))
    return tuple(
        Approval(row.change_id, row.kind, row.approver, row.source, bool(row.verified), row.comment, row.approved_at)
        for row in rows
    )


def _acceptances(connection: Connection, change_id: str) -> tuple[Acceptance, ...]:
    rows = connection.execute(
        sa.select(acceptances).where(acceptances.c.change_id == change_id).order_by(acceptances.c.kind)
    )
    return tuple(Acceptance(row.kind, row.via, row.accepted_by, row.accepted_at) for row in rows)


def _ticket(connection: Connection, row: sa.Row[t.Any]) -> ChangeTicket:
    return ChangeTicket(
        change_id=row.change_id,
        run_id=row.run_id,
        incident_id=row.incident_id,
        type=row.type,
        status=row.status,
        requester=row.requester,
        requester_verified=bool(row.requester_verified),
        justification=row.justification,
        targets=tuple(json.loads(row.targets)),
        risk=Risk(row.risk_score, tuple(json.loads(row.risk_reasons))),
        plan=row.plan,
        rollback=row.rollback,
        approvals=_approvals(connection, row.change_id),
        acceptances=_acceptances(connection, row.change_id),
        validation=json.loads(row.validation) if row.validation else None,
        outcome=row.outcome,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        review_due_at=row.review_due_at,
        reviewed_at=row.reviewed_at,
        reviewed_by=row.reviewed_by,
        review=row.review,
    )
