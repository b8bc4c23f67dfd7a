# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Delivering messages: bounded, with growing pauses, each to each destination once as far as that can be known."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_destinations import (
    Destination,
    load_destinations,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._outbox_queue import NOTIFY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import format_time, parse_time, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import outbox
from sqlalchemy.engine import Connection

_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)
# Longer than one attempt at every destination takes; a deliverer that died keeps a message no longer than this.
_CLAIM = timedelta(seconds=120)
# News of yesterday would mislead. Tickets and heads wait as long as it takes.
_NOTIFY_WITHIN = timedelta(hours=24)


@dataclass(frozen=True)
class Message:
    """One message; `state` is `pending`, `delivered` or `expired`."""

    message_id: str
    run_id: str | None
    kind: str
    channel: str
    state: str
    attempts: int
    created_at: str
    next_attempt_at: str
    delivered_at: str | None
    receipts: Mapping[str, str]
    last_error: str | None


@dataclass(frozen=True)
class DeliveryReport:
    """What a delivery did.

    :param unconfigured: channel -> how many messages wait for a destination to be configured.
    """

    delivered: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    waiting: int
    unconfigured: Mapping[str, int]


def messages(store: Store, state: str | None = None, limit: int = 100) -> list[Message]:
    """Messages, the latest first."""
    query = sa.select(outbox).order_by(outbox.c.created_at.desc()).limit(limit)
    if state is not None:
        query = query.where(outbox.c.state == state)
    with store.database.read() as connection:
        return [_message(row) for row in connection.execute(query)]


def deliver(store: Store, seconds: float = 30.0, limit: int = 200, *, now_due: bool = False) -> DeliveryReport:
    """Hand over what is due.

    :param seconds: no message is begun after this time.
    :param limit: the most messages that are tried.
    :param now_due: do not wait for the pauses after failures.
    :raises BadInput: a destination is written wrongly.
    """
    destinations = load_destinations()
    deadline = time.monotonic() + seconds
    delivered: list[str] = []
    failed: list[tuple[str, str]] = []
    _expire(store)
    while len(delivered) + len(failed) < limit and time.monotonic() < deadline:
        row = _claim(store, list(destinations), [message_id for message_id, _error in failed], now_due)
        if row is None:
            break
        error = _hand_over(store, row, destinations[row.channel])
        if error is None:
            delivered.append(row.message_id)
        else:
            failed.append((row.message_id, error))
    with store.database.read() as connection:
        counts = connection.execute(
            sa.select(outbox.c.channel, sa.func.count()).where(outbox.c.state == "pending").group_by(outbox.c.channel)
        ).all()
    waiting = {str(channel): int(count) for channel, count in counts}
    unconfigured = {channel: count for channel, count in waiting.items() if channel not in destinations}
    return DeliveryReport(tuple(delivered), tuple(failed), sum(waiting.values()), unconfigured)


def _claim(store: Store, channels: list[str], tried: list[str], now_due: bool) -> sa.Row[t.Any] | None:
    """The oldest message that is due, so marked that no other deliverer takes it."""
    earlier = outbox.alias("earlier")
    with store.database.write() as transaction:
        connection = transaction.connection
        now = utc_now()
        query = (
            sa.select(outbox)
            .where(
                outbox.c.state == "pending",
                outbox.c.channel.in_(channels),
                outbox.c.message_id.not_in(tried),
                sa.or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until < now),
                # What was opened must be told before what was closed.
                ~sa.exists().where(
                    earlier.c.state == "pending",
                    earlier.c.channel == outbox.c.channel,
                    earlier.c.run_id == outbox.c.run_id,
                    earlier.c.created_at < outbox.c.created_at,
                ),
            )
            .order_by(outbox.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if not now_due:
            query = query.where(outbox.c.next_attempt_at <= now)
        row = connection.execute(query).one_or_none()
        if row is not None:
            _set(connection, row.message_id, claimed_until=_after(now, _CLAIM), attempts=row.attempts + 1)
        return row


def _hand_over(store: Store, row: sa.Row[t.Any], destinations: list[Destination]) -> str | None:
    receipts: dict[str, str] = json.loads(row.receipt) if row.receipt else {}
    payload = json.loads(row.payload)
    error: str | None = None
    for destination in destinations:
        if destination.name in receipts:
            continue
        try:
            receipts[destination.name] = destination.send(row.message_id, payload)
        except CodeblueError as failure:
            error = failure.message
    now = utc_now()
    values: dict[str, t.Any] = {"claimed_until": None, "receipt": json.dumps(receipts, sort_keys=True)}
    if error is None:
        values |= {"state": "delivered", "delivered_at": now, "last_error": None}
    else:
        pause = min(_FIRST_PAUSE * 2 ** min(row.attempts, 20), _LONGEST_PAUSE)
        values |= {"next_attempt_at": _after(now, pause), "last_error": error[:300]}
    with store.database.write() as transaction:
        _set(transaction.connection, row.message_id, **values)
    return error


def _expire(store: Store) -> None:
    oldest = _after(utc_now(), -_NOTIFY_WITHIN)
    late = (outbox.c.state == "pending", outbox.c.channel == NOTIFY, outbox.c.created_at < oldest)
    with store.database.read() as connection:
        if connection.execute(sa.select(outbox.c.message_id).where(*late).limit(1)).first() is None:
            return
    with store.database.write() as transaction:
        transaction.connection.execute(outbox.update().where(*late).values(state="expired"))


def _set(connection: Connection, message_id: str, **values: t.Any) -> None:
    connection.execute(outbox.update().where(outbox.c.message_id == message_id).values(**values))


def _after(now: str, pause: timedelta) -> str:
    return format_time(parse_time(now) + pause)


def _message(row: sa.Row[t.Any]) -> Message:
    return Message(
        message_id=row.message_id,
        run_id=row.run_id,
        kind=row.kind,
        channel=row.channel,
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        delivered_at=row.delivered_at,
        receipts=json.loads(row.receipt) if row.receipt else {},
        last_error=row.last_error,
    )
