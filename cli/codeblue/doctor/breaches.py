"""Notices of breaches whose last day comes near."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from datetime import UTC, datetime

from codeblue.doctor.finding import Finding, failed, ok, warning

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_clock import Duty
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_breaches import Breach
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

# "Without unreasonable delay" comes long before the last day; half of the time is a warning's worth.
_WARN_DAYS = 30
_MOST_LISTED = 20


def check_breaches(store: ResilientStore, now: datetime | None = None) -> Iterator[Finding]:
    """What has to be sent soon, or should have been.

    :param now: the present moment by default.
    """
    if store.main is None:
        return
    breaches = store.main.breaches("open", limit=1000)
    if not breaches:
        yield ok("breaches", "none is open")
        return
    moment = now or datetime.now(UTC)
    waiting = [(duty, breach) for breach in breaches for duty in breach.outstanding()]
    waiting.sort(key=lambda each: t.cast(datetime, each[0].due_at))
    for duty, breach in waiting[:_MOST_LISTED]:
        yield _finding(duty, breach, moment)
    if len(waiting) > _MOST_LISTED:
        yield warning("breaches", f"and {len(waiting) - _MOST_LISTED} more notices", "codeblue breach list")
    undecided = sum(1 for breach in breaches if not breach.outstanding())
    if undecided:
        yield warning("breaches", f"{undecided} with every notice sent are not closed", "codeblue breach decide")


def _finding(duty: Duty, breach: Breach, moment: datetime) -> Finding:
    due_at = t.cast(datetime, duty.due_at)
    text = f"{breach.breach_id}: notice to {duty.audience} by {duty.due_on} ({duty.rule})"
    hint = f"codeblue breach notice {breach.breach_id} {duty.id}"
    days = (due_at - moment).days
    if due_at <= moment:
        return failed("breaches", f"{text}: OVERDUE", hint)
    if days < _WARN_DAYS:
        return warning("breaches", f"{text}: {days} days left", hint)
    return ok("breaches", f"{text}: {days} days left")
