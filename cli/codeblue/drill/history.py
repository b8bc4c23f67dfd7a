"""What earlier drills measured, and how that changes over time."""

from __future__ import annotations

import os
import statistics
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import (
    COMPONENT,
    FULL,
    Exercise,
    add_exercise,
)

from codeblue.drill.campaign import Campaign

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store

# Drills of one machine differ by a fifth from one to the next; what is beyond this is a trend.
_NOTABLE = 0.25
_WINDOW = 5
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 20
_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class Trend:
    """One fault over time.

    :param rto: seconds away, oldest first; None where it was not measured.
    :param median: of the latest drills; None when none was measured.
    :param change: share by which that is more (or less) than before; None with too few drills.
    """

    runbook: str
    fault: str
    drills: int
    passed: int
    last: Exercise
    rto: tuple[float | None, ...]
    median: float | None
    change: float | None

    @property
    def word(self) -> str:
        """Where it goes."""
        if self.change is None:
            return "too few"
        if abs(self.change) < _NOTABLE:
            return "steady"
        return f"{'slower' if self.change > 0 else 'faster'} by {abs(self.change):.0%}"

    @property
    def bars(self) -> str:
        """The latest times away as a line of bars, the longest as the highest."""
        known = [value for value in self.rto[-_MOST_BARS:] if value is not None]
        most = max(known, default=0.0)
        return "".join(_BARS[round(value / most * (len(_BARS) - 1))] if most else _BARS[0] for value in known)

    def as_message(self) -> dict[str, t.Any]:
        """For JSON."""
        return {
            "message_type": "drill_trend",
            "runbook": self.runbook,
            "fault": self.fault,
            "drills": self.drills,
            "passed": self.passed,
            "last_at": self.last.at,
            "last_passed": self.last.passed,
            "rto_seconds": list(self.rto),
            "rto_median_seconds": self.median,
            "rto_target_seconds": self.last.detail.get("rto_target_seconds"),
            "writes_lost": self.last.detail.get("writes_lost"),
            "change": None if self.change is None else round(self.change, 3),
        }


def keep(store: Store, campaign: Campaign, every: bool) -> None:
    """Keep the results of a campaign.

    :param every: it was one over all faults of all runbooks.
    """
    operator = current_operator()
    for result in campaign.results:
        if campaign.interrupted and not result.passed:
            # It was cut off: that says nothing about the runbook.
            continue
        figures = {name: value for name, value in result.as_message().items() if name != "message_type"}
        detail = {
            **figures,
            "run": result.run,
            "cause": result.cause,
            "rpo_seconds": result.rpo_seconds,
            "called_for": result.survey.runbooks if result.survey else [],
            "phases": {name: round(seconds, 3) for name, seconds in result.phases.items()},
            "problems": result.problems[:_MOST_PROBLEMS],
            "cpus": os.cpu_count(),
        }
        add_exercise(store, COMPONENT, f"{result.drill.runbook}/{result.drill.fault}", result.passed, operator, detail)
    if every and campaign.results and not campaign.interrupted:
        passed = campaign.outcome == "recovered"
        detail = {
            "drills": len(campaign.results),
            "passed": campaign.passed,
            "seconds": round(campaign.seconds, 3),
            "runbooks": list(campaign.runbooks),
        }
        add_exercise(store, FULL, FULL, passed, operator, detail)


def trends(found: Sequence[Exercise]) -> Iterator[Trend]:
    """One for each fault, in the order in which they were drilled first."""
    by_subject: dict[str, list[Exercise]] = {}
    for each in found:
        if each.kind == COMPONENT:
            by_subject.setdefault(each.subject, []).append(each)
    for subject, series in by_subject.items():
        runbook, _, fault = subject.partition("/")
        rto = tuple(_seconds(each) for each in series)
        known = [value for value in rto if value is not None]
        latest, before = known[-_WINDOW:], known[:-_WINDOW][-_WINDOW:]
        median = statistics.median(latest) if latest else None
        change = None
        if median is not None and len(before) >= 3 and (earlier := statistics.median(before)) > 0:
            change = median / earlier - 1
        passed = sum(each.passed for each in series)
        yield Trend(runbook, fault, len(series), passed, series[-1], rto, median, change)


def _seconds(exercise: Exercise) -> float | None:
    value = exercise.detail.get("rto_seconds")
    return float(value) if isinstance(value, (int, float)) else None
