# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Criteria over minutes: whether they hold, or why it cannot be said. Pure: `now` is given.

A window counts as watched when the looks reach back to its beginning without a hole. A window that was not watched
makes nothing fire, and says so: silence of whoever looks is not health.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    ErrorRateOver,
    MetricOver,
    ResponseOver,
    Selection,
    tolerated,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import (
    METRICS,
    SHARE,
    MetricSample,
)

# The longest time without a look, in windows. Beyond it two moments prove nothing about what was between them.
_LONGEST_HOLE = 0.55


@dataclass(frozen=True)
class Hit:
    """A condition that holds for one target.

    :param since: Unix seconds when it began.
    """

    target: str
    since: float
    evidence: str


@dataclass(frozen=True)
class Lacking:
    """Why a condition cannot be judged for one target."""

    target: str
    reason: str


Verdict = Hit | Lacking | None


def response_over(
    condition: ResponseOver, target: str, results: Sequence[CheckResult], now: float, window: float
) -> Verdict:
    """The percentile of the answer times in the window; failed checks count with their time."""
    inside = _inside(results, condition.select, window, condition.minimum, now)
    if isinstance(inside, str):
        return Lacking(target, inside)
    times = sorted(result.seconds for result in inside)
    # Nearest rank: the smallest value that the wanted share does not exceed. No value is made up in between.
    value = times[max(0, math.ceil(condition.percentile * len(times)) - 1)]
    if value <= condition.seconds:
        return None
    slow = next(result.at for result in inside if result.seconds > condition.seconds)
    text = f"{target}: {condition.percentile:.0%} of {len(times)} answers took up to {value:.2f} s"
    return Hit(target, slow, f"{text}, over {condition.seconds:g} s")


def error_rate_over(
    condition: ErrorRateOver, target: str, results: Sequence[CheckResult], now: float, window: float
) -> Verdict:
    """The share of failed checks in the window."""
    inside = _inside(results, condition.select, window, condition.minimum, now)
    if isinstance(inside, str):
        return Lacking(target, inside)
    failed = [result for result in inside if not result.ok]
    rate = len(failed) / len(inside)
    if rate <= condition.rate:
        return None
    text = f"{target}: {len(failed)} of {len(inside)} checks failed ({rate:.1%}), over {condition.rate:.1%}"
    return Hit(target, failed[0].at, text)


def metric_over(
    condition: MetricOver, target: str, samples: Sequence[MetricSample], now: float, window: float, expected: bool
) -> Verdict:
    """Any source of the metric that was over the limit during the whole window.

    :param samples: of the target, oldest first.
    :param expected: there is a source of this metric, so that no sample is a lack.
    """
    series: dict[str, list[MetricSample]] = {}
    for sample in samples:
        # A value for a longer time than the window says nothing about the window.
        if sample.name == condition.metric and tolerated(sample.seconds) <= window:
            series.setdefault(sample.source, []).append(sample)
    found = [_metric_of_source(condition, target, each, now, window) for each in series.values()]
    hits = [each for each in found if isinstance(each, Hit)]
    if hits:
        return min(hits, key=lambda hit: (hit.since, hit.evidence))
    lacking = [each for each in found if isinstance(each, Lacking)]
    if lacking:
        return lacking[0]
    return Lacking(target, f"no samples of {condition.metric}") if expected and not found else None


def _metric_of_source(
    condition: MetricOver, target: str, samples: Sequence[MetricSample], now: float, window: float
) -> Verdict:
    streak: list[MetricSample] = []
    for sample in reversed(samples):
        if sample.value <= condition.over or (streak and _begun(streak[-1]) - sample.at > _LONGEST_HOLE * window):
            break
        streak.append(sample)
    newest = samples[-1]
    if now - newest.at > _LONGEST_HOLE * window:
        return Lacking(target, f"no samples of {condition.metric} since {_clock(newest.at)}")
    if not streak:
        return None
    covered = newest.at - _begun(streak[-1])
    if covered < tolerated(window):
        if len(streak) < len(samples) and samples[-len(streak) - 1].value <= condition.over:
            return None
        return Lacking(target, f"{condition.metric} was watched for {covered:.0f} s of {window:.0f} s")
    lowest = min(sample.value for sample in streak)
    shown = f"{lowest:.0%}" if METRICS[condition.metric] == SHARE else f"{lowest:.2f} s"
    where = f" ({newest.source})" if newest.source else ""
    text = f"{target}: {condition.metric}{where} at or over {shown} for {covered:.1f} s"
    return Hit(target, _begun(streak[-1]), text)


def _begun(sample: MetricSample) -> float:
    return sample.at - sample.seconds


def _inside(
    results: Sequence[CheckResult], select: Selection, window: float, minimum: int, now: float
) -> list[CheckResult] | str:
    """The results inside the window, or why they are not enough."""
    taken = [result for result in results if select.takes(result)]
    begun = now
    before = None
    for result in reversed(taken):
        if begun - result.at > _LONGEST_HOLE * window:
            before = result.at
            break
        begun = result.at
    if now - begun < tolerated(window):
        since = f"no samples before that since {_clock(before)}" if before is not None else "no samples before that"
        return f"watched for {now - begun:.0f} s of {window:.0f} s, {since}"
    inside = [result for result in taken if result.at >= now - window]
    if len(inside) < minimum:
        return f"{len(inside)} answers of the {minimum} that are needed"
    return inside


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
