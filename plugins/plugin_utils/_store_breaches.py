# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Breaches of protected health information: their clocks, what was decided, and what was sent.

Holds numbers, times and digests. Who is affected is known to the encrypted evidence only.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_clock import (
    DUTIES,
    REQUIRED,
    Duty,
    duties,
    retain_until,
    zone_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Ledger
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import NOTIFY, TICKET, enqueue, queue_head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import breach_notices, breaches
from sqlalchemy.engine import Connection

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

# `exercise` is a drill's: it has clocks that can be looked at, and obliges nobody.
OPEN, NOT_A_BREACH, CLOSED, EXERCISE = "open", "not_a_breach", "closed", "exercise"
STATUSES = (OPEN, NOT_A_BREACH, CLOSED, EXERCISE)


@dataclass(frozen=True)
class Notice:
    """A notice that was sent; `reference` says where the proof of it lies (45 CFR 164.414(b))."""

    duty: str
    sent_at: str
    sent_by: str
    reference: str


@dataclass(frozen=True)
class Breach:
    """One breach.

    :param affected: how many people, as the extract counted them; None while it is not known.
    :param residents: State or jurisdiction -> how many of them.
    :param facts: what is known about the factors of 45 CFR 164.402(2), without patient data.
    :param hold: why its records are kept beyond their time; None without a hold.
    """

    breach_id: str
    run_id: str
    incident_id: str
    target: str
    environment: str
    cause: str
    entity: str
    time_zone: str
    status: str
    discovered_at: str
    exposure_began_at: str | None
    exposure_ended_at: str | None
    affected: int | None
    residents: Mapping[str, int]
    delayed_until: str | None
    facts: Mapping[str, t.Any]
    hold: str | None
    decision: str | None
    decided_by: str | None
    decided_at: str | None
    updated_at: str
    notices: tuple[Notice, ...] = ()

    def duties(self) -> tuple[Duty, ...]:
        """Who has to be told, and by when."""
        return duties(
            parse_time(self.discovered_at),
            zone_of(self.time_zone),
            self.entity,
            self.affected,
            self.residents,
            date.fromisoformat(self.delayed_until) if self.delayed_until else None,
        )

    def outstanding(self) -> tuple[Duty, ...]:
        """What is required and was not sent, the next one first; nothing for an exercise or once it was decided."""
        if self.status != OPEN:
            return ()
        sent = {notice.duty for notice in self.notices}
        left = [each for each in self.duties() if each.state == REQUIRED and each.id not in sent]
        return tuple(sorted(left, key=lambda each: t.cast(datetime, each.due_at)))

    def retain_until(self) -> date:
        """The day until which its records are kept: six years from the last thing that happened to it."""
        return retain_until(parse_time(self.updated_at), zone_of(self.time_zone))


class BreachStore:
    """The part of the store that keeps breaches."""

    database: Database
    ledger: Ledger

    def open_breach(self, breach: Breach, title: str, body: str) -> Breach:
        """Start the clocks and tell the compliance officer. Opening it twice changes nothing.

        :param title: of the message, without patient data; `body` likewise.
        """
        with self.database.write() as transaction:
            connection = transaction.connection
            if _row(connection, breach.breach_id) is None:
                values = {name: getattr(breach, name) for name in _COLUMNS}
                values |= {"residents": json.dumps(dict(breach.residents)), "facts": _facts(breach.facts)}
                connection.execute(breaches.insert().values(**values))
                head = self.ledger.append(
                    connection,
                    breach.run_id,
                    "breach_opened",
                    {
                        **{name: getattr(breach, name) for name in _OPENED},
                        "duties": _as_record(breach.duties()),
                        "retain_until": breach.retain_until().isoformat(),
                    },
                )
                message = {
                    "title": title,
                    "body": body,
                    "audience": "compliance_officer",
                    "breach_id": breach.breach_id,
                }
                # Twice: the notification is quick and expires after a day, the ticket waits as long as it takes.
                event = f"breach-{breach.breach_id}"
                enqueue(connection, breach.run_id, event, NOTIFY, message)
                enqueue(connection, breach.run_id, event, TICKET, {**message, "event": "breach_opened"})
                queue_head(t.cast("Store", self), transaction, head)
        return t.cast(Breach, self.breach(breach.breach_id))

    def breach(self, breach_id: str) -> Breach | None:
        with self.database.read() as connection:
            row = _row(connection, breach_id)
            return None if row is None else _breach(connection, row)

    def breaches(self, status: str | None = None, limit: int = 100) -> list[Breach]:
        """The latest first."""
        query = sa.select(breaches).order_by(breaches.c.discovered_at.desc()).limit(limit)
        if status is not None:
            query = query.where(breaches.c.status == status)
        with self.database.read() as connection:
            return [_breach(connection, row) for row in connection.execute(query).all()]

    def exposure_ended(self, breach_id: str, at: str) -> None:
        """It was proven that nothing is exposed any more; the first such moment stands."""
        with self.database.write() as transaction:
            row = _row(transaction.connection, breach_id)
            if row is None or row.exposure_ended_at is not None:
                return
            self._update(transaction.connection, row, "exposure_ended", "codeblue", True, "", exposure_ended_at=at)

    def amend_breach(
        self,
        breach_id: str,
        operator: Operator,
        comment: str,
        affected: int | None = None,
        residents: Mapping[str, int] | None = None,
        discovered_at: datetime | None = None,
        delayed_until: date | None = None,
        hold: str | None = None,
    ) -> Breach:
        """A person knows better: the number, where people live, an earlier discovery, a delay, a hold.

        :param hold: why records are kept; an empty text takes the hold away.
        :raises BadInput: there is no such breach, no reason is given, or a value makes no sense.
        """
        if not comment.strip():
            raise BadInput("a change of a breach needs a reason", "say how it is known: --because TEXT")
        values: dict[str, t.Any] = {}
        if affected is not None:
            values["affected"] = affected
        if residents is not None:
            values["residents"] = json.dumps(dict(residents))
        if discovered_at is not None:
            if discovered_at.tzinfo is None or discovered_at > datetime.now(UTC):
                raise BadInput("the time of discovery needs an offset and lies in the past")
            values["discovered_at"] = discovered_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if delayed_until is not None:
            values["delayed_until"] = delayed_until.isoformat()
        if hold is not None:
            values["hold"] = hold or None
        if not values:
            raise BadInput("nothing to change was given")
        with self.database.write() as transaction:
            row = _required(transaction.connection, breach_id)
            what = ", ".join(sorted(values))
            self._update(transaction.connection, row, what, str(operator), operator.verified, comment, **values)
        return t.cast(Breach, self.breach(breach_id))

    def decide_breach(self, breach_id: str, status: str, operator: Operator, decision: str) -> Breach:
        """A person decides: `not_a_breach` (a low probability of compromise, 164.402(2)), or `closed`.

        :raises BadInput: without a reason, or with notices outstanding.
        """
        if status not in (NOT_A_BREACH, CLOSED):
            raise BadInput(f"status {status!r} is unknown", f"one of {NOT_A_BREACH}, {CLOSED}")
        if not decision.strip():
            raise BadInput("the decision needs its reason", "it is what an auditor will ask for (45 CFR 164.414(b))")
        with self.database.write() as transaction:
            connection = transaction.connection
            breach = _breach(connection, _required(connection, breach_id))
            if status == CLOSED and breach.outstanding():
                names = ", ".join(each.id for each in breach.outstanding())
                raise BadInput(f"breach {breach_id}: not sent yet: {names}", f"codeblue breach sent {breach_id} NOTICE")
            self._update(
                connection,
                _required(connection, breach_id),
                status,
                str(operator),
                operator.verified,
                decision,
                status=status,
                decision=bounded(decision, "breach.decision"),
                decided_by=str(operator),
                decided_at=utc_now(),
            )
        return t.cast(Breach, self.breach(breach_id))

    def notice_sent(self, breach_id: str, duty: str, operator: Operator, sent_at: str, reference: str) -> Breach:
        """A person has sent a notice. Said twice, the first time stands.

        :raises BadInput: there is no such duty, or no reference to the proof.
        """
        if duty not in DUTIES:
            raise BadInput(f"notice {duty!r} is unknown", f"one of {', '.join(DUTIES)}")
        if not reference.strip():
            raise BadInput("a sent notice needs a reference to its proof", "such as the number of the mailing")
        with self.database.write() as transaction:
            connection = transaction.connection
            row = _required(connection, breach_id)
            if duty in {notice.duty for notice in _notices(connection, breach_id)}:
                return _breach(connection, row)
            values = {"sent_at": sent_at, "reference": bounded(reference, "breach.reference")}
            connection.execute(
                breach_notices.insert().values(breach_id=breach_id, duty=duty, sent_by=str(operator), **values)
            )
            connection.execute(breaches.update().where(breaches.c.breach_id == breach_id).values(updated_at=utc_now()))
            head = self.ledger.append(
                connection,
                row.run_id,
                "breach_notice_sent",
                {"breach_id": breach_id, "duty": duty, "by": str(operator), "verified": operator.verified, **values},
            )
            queue_head(t.cast("Store", self), transaction, head)
        return t.cast(Breach, self.breach(breach_id))

    def _update(
        self,
        connection: Connection,
        row: sa.Row[t.Any],
        what: str,
        by: str,
        verified: bool,
        comment: str,
        **values: t.Any,
    ) -> None:
        connection.execute(
            breaches.update().where(breaches.c.breach_id == row.breach_id).values(**values, updated_at=utc_now())
        )
        now = _breach(connection, _required(connection, row.breach_id))
        self.ledger.append(
            connection,
            row.run_id,
            "breach_updated",
            {
                "breach_id": row.breach_id,
                "what": what,
                "by": by,
                "verified": verified,
                "comment": comment,
                "affected": now.affected,
                "residents": dict(now.residents),
                "discovered_at": now.discovered_at,
                "exposure_ended_at": now.exposure_ended_at,
                "delayed_until": now.delayed_until,
                "duties": _as_record(now.duties()),
            },
        )


_COLUMNS = tuple(column.name for column in breaches.c)
_OPENED = ("breach_id", "target", "cause", "entity", "discovered_at", "exposure_began_at", "affected")


def _row(connection: Connection, breach_id: str) -> sa.Row[t.Any] | None:
    return connection.execute(sa.select(breaches).where(breaches.c.breach_id == breach_id)).one_or_none()


def _required(connection: Connection, breach_id: str) -> sa.Row[t.Any]:
    row = connection.execute(
        sa.select(breaches).where(breaches.c.breach_id == breach_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise BadInput(f"there is no breach {breach_id}", "codeblue breach list shows them")
    return row


def _notices(connection: Connection, breach_id: str) -> tuple[Notice, ...]:
    rows = connection.execute(
        sa.select(breach_notices).where(breach_notices.c.breach_id == breach_id).order_by(breach_notices.c.sent_at)
    )
    return tuple(Notice(row.duty, row.sent_at, row.sent_by, row.reference) for row in rows)


def _breach(connection: Connection, row: sa.Row[t.Any]) -> Breach:
    values = dict(row._mapping)
    values |= {"residents": json.loads(row.residents), "facts": json.loads(row.facts)}
    return Breach(**values, notices=_notices(connection, row.breach_id))


def _facts(facts: Mapping[str, t.Any]) -> str:
    return json.dumps(bounded(dict(facts), "breach.facts"), sort_keys=True)


def _as_record(found: tuple[Duty, ...]) -> list[dict[str, t.Any]]:
    return [
        {
            "duty": each.id,
            "rule": each.rule,
            "state": each.state,
            "due_on": each.due_on.isoformat() if each.due_on else None,
        }
        for each in found
    ]
