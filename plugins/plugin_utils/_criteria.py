# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The detection criteria of a card, evaluated over what was observed. Pure: times are given, never asked for.

A condition is one of a small typed set, no expression: what a card can say can be read, checked and tested.
A criterion fires for a target when its condition has held for its whole window up to now. Missing observations
never make one fire: silence of the prober is not an outage of the clinic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    CHECK_TYPES,
    ERROR_CLASSES,
    LEVELS,
    SIGNALS,
    TOPICS,
    CheckResult,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import METRICS, SHARE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

# An observation may come a little early or late; a window that is this much shorter still counts as whole.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class WindowProfile:
    """How the windows of production are read elsewhere.

    :param time_scale: every window and interval is multiplied by it.
    :param every: seconds between checks, in place of the card's.
    :param consecutive: failures in a row, in place of the card's.
    """

    name: str
    time_scale: float = 1.0
    every: float | None = None
    consecutive: int | None = None

    def describe(self) -> str:
        """For people who read a report: nothing is shortened in silence."""
        if self.every is not None:
            times = f", {self.consecutive} failures in a row" if self.consecutive is not None else ""
            return f"{self.name}: checks every {self.every:g} s{times}"
        if self.time_scale == 1.0:
            return self.name
        return f"{self.name}: times of production divided by {1 / self.time_scale:g}"

    def interval(self, seconds: float) -> float:
        return self.every if self.every is not None else seconds * self.time_scale

    def in_a_row(self, consecutive: int) -> int:
        return self.consecutive if self.consecutive is not None else consecutive

    def window(self, seconds: float) -> float:
        return seconds * self.time_scale


PRODUCTION = WindowProfile("production")
#: A minute of production is a second of the lab.
LAB = WindowProfile("lab", time_scale=1 / 60)


def profile_for(environment: str) -> WindowProfile:
    """The windows of an environment of the inventory."""
    return LAB if environment == "lab" else PRODUCTION


def confirmation_profile(interval: float, consecutive: int, time_scale: float = 1.0) -> WindowProfile:
    """For a person at a terminal: failures in a row as the inventory confirms them, not over the card's minutes.

    Windows keep the length of their environment: a few seconds prove nothing about minutes. What was kept by whoever
    looked before fills them.
    """
    return WindowProfile("confirmation", time_scale=time_scale, every=interval, consecutive=consecutive)


@dataclass(frozen=True)
class Selection:
    """Which checks a condition looks at; empty means all but signals, which have to be asked for by their level."""

    levels: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()

    def takes(self, result: CheckResult) -> bool:
        return (
            (result.level in self.levels if self.levels else result.level != SIGNALS)
            and (not self.topics or result.topic in self.topics)
            and (not self.ids or result.id in self.ids)
            and (not self.types or result.type in self.types)
        )


@dataclass(frozen=True)
class CheckFails:
    """One check of the target fails several times in a row.

    :param error_classes: only failures of these classes count; empty means all.
    :param every: seconds between checks; the failures must span that time, so that a burst is no streak.
    """

    select: Selection
    error_classes: tuple[str, ...]
    consecutive: int
    every: float


@dataclass(frozen=True)
class CheckSlow:
    """One check of the target is answered late several times in a row, by a target that works.

    Down is not slow: while a shallow or deep check of the target fails for another reason than being late, nothing
    fires here. An answer that did not come within the check's deadline is late too.

    :param over: seconds; None for the limit that the check itself has as `max_response`.
    :param every: seconds between checks; the late answers must span that time, so that a burst is no streak.
    """

    select: Selection
    over: float | None
    consecutive: int
    every: float


@dataclass(frozen=True)
class ShareFailing:
    """So many of all targets fail at once, each by a streak.

    :param at_least: share of the targets that have been observed.
    :param minimum: and at least so many of them.
    """

    select: Selection
    at_least: float
    minimum: int
    consecutive: int
    every: float


@dataclass(frozen=True)
class ResponseOver:
    """A percentile of the response times in the window is over a limit. Failed checks count with their time.

    :param percentile: 0.95 for p95; 1 for the slowest.
    """

    select: Selection
    seconds: float
    percentile: float
    window: float
    minimum: int


@dataclass(frozen=True)
class ErrorRateOver:
    """The share of failed checks in the window is over a limit."""

    select: Selection
    rate: float
    window: float
    minimum: int


@dataclass(frozen=True)
class MetricOver:
    """A metric was over a limit during the whole window.

    An answer time is watched of a target that works: down is not slow, see `CheckSlow`.

    :param over: in the unit of the metric.
    """

    metric: str
    over: float
    window: float


Condition = CheckFails | CheckSlow | ShareFailing | ResponseOver | ErrorRateOver | MetricOver
#: Those that look back over a time.
WINDOWED = (ResponseOver, ErrorRateOver, MetricOver)


@dataclass(frozen=True)
class Criterion:
    """One detection criterion of a card.

    :param kinds: of which services it speaks; empty means all.
    """

    id: str
    description: str
    condition: Condition
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class CriterionResult:
    """What one criterion says now.

    :param targets: the services for which it fires.
    :param evidence: one sentence, for the record and for people.
    :param since: Unix seconds when what fired began, None when nothing fired.
    :param lacking: why it cannot be said of some targets, for people; None when it fired, or was judged for all.
    """

    id: str
    fired: bool
    targets: tuple[str, ...]
    evidence: str
    since: float | None
    profile: str
    lacking: str | None = None


# -- reading -----------------------------------------------------------------------------------------------------------


def read_criteria(values: TypedMapping) -> tuple[Criterion, ...]:
    """Read `criteria` of a card's detection; what is wrong goes to the problems of the mapping."""
    found = []
    for item in values.listed("criteria"):
        condition = _read_condition(item)
        criterion = Criterion(
            id=item.text("id"),
            description=item.text("description"),
            condition=condition,
            kinds=item.texts("kinds"),
        )
        item.finish()
        found.append(criterion)
    return tuple(found)


def _read_condition(item: TypedMapping) -> Condition:
    given = [name for name in _READERS if name in item]
    if len(given) != 1:
        item.problems.add(item.path, f"must hold exactly one condition of {', '.join(_READERS)}")
        return MetricOver("cpu", 1.0, 1.0)
    values = item.child(given[0])
    condition = _READERS[given[0]](values)
    values.finish()
    return condition


def _selection(values: TypedMapping) -> Selection:
    return Selection(
        levels=values.texts("levels", choices=(*LEVELS, SIGNALS)),
        ids=values.texts("ids"),
        types=values.texts("types", choices=CHECK_TYPES),
        topics=values.texts("topics", choices=TOPICS),
    )


def _read_check_fails(values: TypedMapping) -> Condition:
    return CheckFails(
        select=_selection(values),
        error_classes=values.texts("error_classes", choices=tuple(ERROR_CLASSES)),
        consecutive=values.integer("consecutive", default=3, least=1, most=100),
        every=values.duration("every", default=30.0),
    )


def _read_check_slow(values: TypedMapping) -> Condition:
    return CheckSlow(
        select=_selection(values),
        over=values.optional_duration("over"),
        consecutive=values.integer("consecutive", default=3, least=1, most=100),
        every=values.duration("every", default=30.0),
    )


def _read_share_failing(values: TypedMapping) -> Condition:
    return ShareFailing(
        select=_selection(values),
        at_least=values.share("at_least"),
        minimum=values.integer("minimum", default=1, least=1),
        consecutive=values.integer("consecutive", default=3, least=1, most=100),
        every=values.duration("every", default=30.0),
    )


def _read_response_over(values: TypedMapping) -> Condition:
    return ResponseOver(
        select=_selection(values),
        seconds=values.duration("seconds"),
        percentile=values.share("percentile", default=0.95),
        window=values.duration("window"),
        minimum=values.integer("minimum", default=10, least=1),
    )


def _read_error_rate_over(values: TypedMapping) -> Condition:
    return ErrorRateOver(
        select=_selection(values),
        rate=values.share("rate"),
        window=values.duration("window"),
        minimum=values.integer("minimum", default=10, least=1),
    )


def _read_metric_over(values: TypedMapping) -> Condition:
    metric = values.choice("metric", tuple(METRICS))
    over = values.share("over") if METRICS[metric] == SHARE else values.duration("over")
    return MetricOver(metric=metric, over=over, window=values.duration("window"))


_READERS = {
    "check_fails": _read_check_fails,
    "check_slow": _read_check_slow,
    "share_failing": _read_share_failing,
    "response_over": _read_response_over,
    "error_rate_over": _read_error_rate_over,
    "metric_over": _read_metric_over,
}
CONDITIONS = tuple(_READERS)


def tolerated(window: float) -> float:
    """How much of a window must be covered for it to count as whole."""
    return window * (1 - _TOLERANCE)


def longest_window(criteria: Iterable[Criterion], profile: WindowProfile) -> float:
    """Seconds of the longest window of these criteria, 0 when none has one."""
    windows = [each.condition.window for each in criteria if isinstance(each.condition, WINDOWED)]
    return max((profile.window(each) for each in windows), default=0.0)
