"""How often drills and exercises are due, and which are overdue. Pure: times are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import (
    COMPONENT,
    FULL,
    KINDS,
    REBUILD,
    REGION,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

VARIABLE = "codeblue_drill_schedule"
_NEVER = "never"
_DAY = 86_400.0
#: Weekly, monthly, quarterly, annually; seconds, with a day more for a month that is longer.
DEFAULTS: Mapping[str, float] = {COMPONENT: 7 * _DAY, FULL: 31 * _DAY, REGION: 92 * _DAY, REBUILD: 366 * _DAY}
WORDS: Mapping[str, str] = {
    COMPONENT: "one component",
    FULL: "every fault of every runbook",
    REGION: "failover to another region",
    REBUILD: "everything anew from snapshots",
}


@dataclass(frozen=True)
class Due:
    """One kind of exercise.

    :param every: seconds.
    :param last: when it passed last, UTC; None when it never did.
    :param overdue: seconds that it should have taken place ago; None when it is not overdue.
    :param known: exercises are recorded here at all, or the schedule was set on purpose; else nobody expects any.
    """

    kind: str
    every: float
    last: str | None
    overdue: float | None
    known: bool


def read_schedule(given: object) -> dict[str, float]:
    """Seconds by kind; kinds that are `never` due are left out.

    :param given: the value of `codeblue_drill_schedule`, None when it is not set.
    :raises BadInput: an unknown kind, or what is no duration.
    """
    schedule = dict(DEFAULTS)
    if given is None:
        return schedule
    if not isinstance(given, Mapping):
        raise BadInput(f"{VARIABLE}: must be a mapping", f"kinds are {', '.join(KINDS)}")
    for kind, every in given.items():
        if kind not in KINDS:
            raise BadInput(f"{VARIABLE}: {kind!r} is no kind of exercise", f"kinds are {', '.join(KINDS)}")
        if every == _NEVER:
            schedule.pop(kind)
        else:
            schedule[kind] = parse_duration(every, f"{VARIABLE}.{kind}")
    return schedule


def due(
    schedule: Mapping[str, float],
    passed: Mapping[str, str],
    first: str | None,
    now: datetime,
    explicit: bool,
) -> list[Due]:
    """Every kind of a schedule.

    :param passed: when each kind passed last.
    :param first: when exercises began to be recorded; what never took place is counted from then.
    :param explicit: the schedule was set by somebody.
    """
    found = []
    for kind, every in schedule.items():
        last = passed.get(kind)
        since = last or first
        late = (now - parse_time(since)).total_seconds() - every if since else (0.0 if explicit else None)
        overdue = late if late is not None and (late > 0 or since is None) else None
        found.append(Due(kind, every, last, overdue, known=explicit or first is not None))
    return found
