# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Messages to the outside, written in the same transaction as the event that they tell of.

A row says what to tell and by which channel; where that goes and with which credentials is known only to the
one who delivers.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._anchors import copy_head_at_once
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import Head
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_destinations import configured_anchors
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Transaction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import Run, StoreUnavailable, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import changes, outbox
from sqlalchemy.engine import Connection

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

TICKET, NOTIFY, ANCHOR = "ticket", "notify", "anchor"


def announce(store: Store, transaction: Transaction, event: str, run: Run, head: Head) -> None:
    """Queue the ticket, the notification and the copy of the head for an opened or closed run.

    Places that a head can be copied to without waiting get it as soon as the transaction is on disk.
    """
    connection = transaction.connection
    enqueue(connection, run.run_id, event, TICKET, _ticket(connection, event, run))
    enqueue(connection, run.run_id, event, NOTIFY, {"title": _title(event, run), "body": _body(event, run)})
    queue_head(store, transaction, head)


def queue_head(store: Store, transaction: Transaction, head: Head) -> None:
    """Queue a head for all anchors, and copy it to the quick ones once the transaction is on disk."""
    message_id = enqueue(transaction.connection, head.run_id, f"head-{head.segment}-{head.seq}", ANCHOR, head.as_dict())

    def copy() -> None:
        try:
            receipts, all_done = copy_head_at_once(configured_anchors(), head.as_dict())
        except BadInput as error:
            # A recovery does not end because an anchor is written wrongly; the head waits in the outbox.
            store.warnings.append(str(error))
            return
        if not receipts:
            return
        values: dict[str, t.Any] = {"receipt": json.dumps(receipts, sort_keys=True)}
        if all_done:
            values |= {"state": "delivered", "delivered_at": utc_now()}
        try:
            with store.database.write() as later:
                later.connection.execute(outbox.update().where(outbox.c.message_id == message_id).values(**values))
        except StoreUnavailable:
            # The head is where it belongs; only the note of it is missing, and delivering it again is harmless.
            store.warnings.append("a head was copied, but the outbox could not note it")

    transaction.after_commit.append(copy)


def enqueue(connection: Connection, run_id: str | None, event: str, channel: str, payload: Mapping[str, t.Any]) -> str:
    """One message; the same event is queued once only.

    :returns: its id, which receivers get as the idempotency key.
    """
    message_id = f"{run_id}:{event}:{channel}"
    if connection.scalar(sa.select(outbox.c.message_id).where(outbox.c.message_id == message_id)) is None:
        now = utc_now()
        connection.execute(
            outbox.insert().values(
                message_id=message_id,
                run_id=run_id,
                kind=event,
                channel=channel,
                payload=json.dumps(payload, sort_keys=True),
                state="pending",
                attempts=0,
                created_at=now,
                next_attempt_at=now,
            )
        )
    return message_id


def _ticket(connection: Connection, event: str, run: Run) -> dict[str, t.Any]:
    change = connection.execute(sa.select(changes).where(changes.c.change_id == run.change_id)).one()
    ticket = {
        "event": event,
        "change_id": change.change_id,
        "incident_id": change.incident_id,
        "run_id": run.run_id,
        "type": change.type,
        "status": change.status,
        "title": _title(event, run),
        "requester": str(run.operator),
        "justification": change.justification,
        "environment": run.environment,
        "severity": run.severity,
        "targets": list(run.targets),
        "risk": {
            "score": change.risk_score,
            "level": change.risk_level,
            "reasons": json.loads(change.risk_reasons),
        },
        "plan": change.plan,
        "rollback": change.rollback,
        "opened_at": run.opened_at,
    }
    if run.status == "closed":
        ticket |= {
            "closed_at": run.closed_at,
            "outcome": run.outcome,
            "exit_code": run.exit_code,
            "validation": json.loads(change.validation) if change.validation else {},
            "review_due_at": change.review_due_at,
        }
    return ticket


def _title(event: str, run: Run) -> str:
    what = "started" if event == "run_opened" else f"ended: {run.outcome}"
    return f"[{run.severity}] {run.environment}: {run.runbook} {what}"


def _body(event: str, run: Run) -> str:
    lines = [f"Targets: {', '.join(run.targets)}", f"Run: {run.run_id}", f"By: {run.operator}"]
    if event != "run_opened":
        lines += [f"{name}: {state.outcome}" for name, state in run.targets.items()]
    return "\n".join(lines)
