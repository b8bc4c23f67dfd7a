# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answer times of services that are well, in the state store: bounded, and no part of the signed record."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable
from datetime import timedelta

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.plugin_utils._baseline import AnswerTimes, Baseline, baseline_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import format_time, parse_time, utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import answer_times

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

# Of one check: a week of hourly records, and some from recoveries.
MOST_OF_A_CHECK = 200
# What is normal changes with releases and seasons; the latest count.
_LATEST = 20
_LONGEST_AGO = timedelta(days=30)


def add_answer_times(store: Store, found: Iterable[AnswerTimes], source: str) -> int:
    """Keep them and drop the oldest of each check beyond `MOST_OF_A_CHECK`; how many were kept.

    :param source: who measured: `control`, `validation`, `command`.
    """
    kept = 0
    now = utc_now()
    with store.database.write() as transaction:
        connection = transaction.connection
        for each in found:
            same = (answer_times.c.target == each.target) & (answer_times.c.check_id == each.check)
            connection.execute(
                answer_times.insert().values(
                    at=now,
                    target=each.target,
                    check_id=each.check,
                    samples=each.samples,
                    p50_seconds=each.p50,
                    p95_seconds=each.p95,
                    slowest_seconds=each.slowest,
                    source=source,
                )
            )
            kept += 1
            oldest_kept = connection.scalar(
                sa.select(answer_times.c.id)
                .where(same)
                .order_by(answer_times.c.id.desc())
                .offset(MOST_OF_A_CHECK - 1)
                .limit(1)
            )
            if oldest_kept is not None:
                connection.execute(answer_times.delete().where(same & (answer_times.c.id < oldest_kept)))
    return kept


def baselines_of(
    store: Store, targets: Collection[str] | None, before: str | None = None
) -> dict[tuple[str, str], Baseline]:
    """The baseline of every check of these services, of all services for None.

    :param before: UTC, RFC 3339; what was kept from then on belongs to the incident. None for now.
    """
    until = before or utc_now()
    since = format_time(parse_time(until) - _LONGEST_AGO)
    query = (
        sa.select(answer_times.c.target, answer_times.c.check_id, answer_times.c.at, answer_times.c.p95_seconds)
        .where(answer_times.c.at < until, answer_times.c.at >= since)
        .order_by(answer_times.c.id.desc())
    )
    if targets is not None:
        query = query.where(answer_times.c.target.in_(sorted(targets)))
    kept: dict[tuple[str, str], list[tuple[str, float]]] = {}
    with store.database.read() as connection:
        for row in connection.execute(query):
            latest = kept.setdefault((row.target, row.check_id), [])
            if len(latest) < _LATEST:
                latest.append((row.at, float(row.p95_seconds)))
    found = {}
    for (target, check), rows in kept.items():
        baseline = baseline_of(target, check, rows)
        if baseline is not None:
            found[(target, check)] = baseline
    return found
