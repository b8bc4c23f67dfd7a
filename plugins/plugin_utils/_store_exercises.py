# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drills and exercises in the state store: kept for their trend, bounded, and no part of the signed record."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_fields import bounded
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now
from ansible_collections.codeblue.recovery.plugins.plugin_utils._tables import exercises

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

#: Drills of one fault; all faults in a row; to another region; everything anew from snapshots.
COMPONENT, FULL, REGION, REBUILD = "component", "full", "region", "rebuild"
KINDS = (COMPONENT, FULL, REGION, REBUILD)
# Four years of a weekly drill, and a year of one that a pipeline starts several times a day would be too much.
MOST_OF_A_SUBJECT = 200


@dataclass(frozen=True)
class Exercise:
    """One that took place.

    :param at: UTC, RFC 3339, when it was recorded.
    :param kind: one of `KINDS`.
    :param subject: `runbook/fault` of a drill, else the kind.
    :param detail: figures, no texts from outside; no secrets, no patient data.
    """

    at: str
    kind: str
    subject: str
    passed: bool
    recorded_by: str
    detail: Mapping[str, t.Any]


def add_exercise(
    store: Store, kind: str, subject: str, passed: bool, operator: Operator, detail: Mapping[str, t.Any]
) -> None:
    """Keep one, and drop the oldest of its subject beyond `MOST_OF_A_SUBJECT`.

    :raises BadInput: the kind is unknown.
    """
    if kind not in KINDS:
        raise BadInput(f"{kind!r} is no kind of exercise", f"one of {', '.join(KINDS)}")
    same = (exercises.c.kind == kind) & (exercises.c.subject == subject)
    with store.database.write() as transaction:
        connection = transaction.connection
        connection.execute(
            exercises.insert().values(
                at=utc_now(),
                kind=kind,
                subject=subject,
                passed=passed,
                recorded_by=str(operator),
                detail=json.dumps(bounded(dict(detail), "exercise.detail", replace_secrets=True)),
            )
        )
        oldest_kept = connection.scalar(
            sa.select(exercises.c.id).where(same).order_by(exercises.c.id.desc()).offset(MOST_OF_A_SUBJECT - 1).limit(1)
        )
        if oldest_kept is not None:
            connection.execute(exercises.delete().where(same & (exercises.c.id < oldest_kept)))


def exercises_of(
    store: Store, kind: str | None = None, subject: str | None = None, limit: int = 1000
) -> list[Exercise]:
    """The latest ones, oldest first.

    :param subject: only this one's.
    """
    query = sa.select(exercises).order_by(exercises.c.id.desc()).limit(limit)
    if kind is not None:
        query = query.where(exercises.c.kind == kind)
    if subject is not None:
        query = query.where(exercises.c.subject == subject)
    with store.database.read() as connection:
        rows = connection.execute(query).all()
    return [
        Exercise(row.at, row.kind, row.subject, row.passed, row.recorded_by, json.loads(row.detail))
        for row in reversed(rows)
    ]


def latest_passed(store: Store) -> dict[str, str]:
    """When each kind passed last, by kind; kinds that never did are left out."""
    query = (
        sa.select(exercises.c.kind, sa.func.max(exercises.c.at)).where(exercises.c.passed).group_by(exercises.c.kind)
    )
    with store.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def first_recorded(store: Store) -> str | None:
    """When exercises began to be recorded at all; None when there is none."""
    with store.database.read() as connection:
        return connection.scalar(sa.select(sa.func.min(exercises.c.at)))
