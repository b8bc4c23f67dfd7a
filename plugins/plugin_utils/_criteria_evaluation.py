# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evaluates detection criteria over observations. Pure: `now` is given, so production windows run on a fake clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    CheckFails,
    CheckSlow,
    Criterion,
    CriterionResult,
    ErrorRateOver,
    MetricOver,
    MetricSample,
    Observations,
    ResponseOver,
    Selection,
    ShareFailing,
    WindowProfile,
    by_target,
    tolerated,
)

# An answer that is older than this many intervals says nothing about now.
_STALE_INTERVALS = 3.0
# With these a signal has told nothing, neither of danger nor of its absence.
_UNANSWERED = frozenset(
    {
        "refused",
        "timeout",
        "unreachable",
        "name_resolution",
        "closed",
        "tls",
        "protocol",
        "slow",
        "secret_unreadable",
        "controller",
    }
)
# What a check may take on top of its interval before it is missed.
_LONGEST_CHECK = 10.0
_MOST_NAMED = 5


def evaluate(
    criteria: Sequence[Criterion],
    observations: Observations,
    now: float,
    profile: WindowProfile,
    kinds: Mapping[str, str] | None = None,
) -> list[CriterionResult]:
    """What each criterion says at `now`, in the order of the criteria.

    :param now: Unix seconds; observations after it are not looked at.
    :param kinds: kind of each target. Criteria that name kinds look only at those; without it, at all.
    """
    checks = by_target(result for result in observations.checks if result.at <= now and not _says_nothing(result))
    metrics = by_target(sample for sample in observations.metrics if sample.at <= now)
    return [_evaluate(criterion, checks, metrics, now, profile, kinds or {}) for criterion in criteria]


def _says_nothing(result: CheckResult) -> bool:
    """A signal that nobody answered. On a machine without CPU the monitoring is late too: that is no intrusion.

    Of slowness a late answer tells, and one that never came.
    """
    return result.level == SIGNALS and result.topic != "performance" and result.error_class in _UNANSWERED


def fires(results: Sequence[CriterionResult], targets: Sequence[str] = ()) -> bool:
    """Any criterion fires, for any of the targets (for any service when none are given)."""
    return any(result.fired and (not targets or set(result.targets) & set(targets)) for result in results)


@dataclass(frozen=True)
class _Hit:
    """A condition that holds for one target."""

    target: str
    since: float
    evidence: str


def _evaluate(
    criterion: Criterion,
    checks: Mapping[str, list[CheckResult]],
    metrics: Mapping[str, list[MetricSample]],
    now: float,
    profile: WindowProfile,
    kinds: Mapping[str, str],
) -> CriterionResult:
    def concerns(target: str) -> bool:
        return not criterion.kinds or not kinds or kinds.get(target) in criterion.kinds

    condition = criterion.condition
    seen = {target: results for target, results in checks.items() if concerns(target)}
    if isinstance(condition, ShareFailing):
        hits, evidence = _share_failing(condition, seen, now, profile)
    else:
        if isinstance(condition, MetricOver):
            found = [
                _metric_over(condition, target, samples, now, profile)
                for target, samples in metrics.items()
                if concerns(target)
            ]
        elif isinstance(condition, CheckFails):
            found = [_check_fails(condition, target, results, now, profile) for target, results in seen.items()]
        elif isinstance(condition, CheckSlow):
            found = [_check_slow(condition, target, results, now, profile) for target, results in seen.items()]
        elif isinstance(condition, ResponseOver):
            found = [_response_over(condition, target, results, now, profile) for target, results in seen.items()]
        else:
            found = [_error_rate_over(condition, target, results, now, profile) for target, results in seen.items()]
        hits = [hit for hit in found if hit is not None]
        evidence = "; ".join(hit.evidence for hit in hits[:_MOST_NAMED]) or "does not hold"
        if len(hits) > _MOST_NAMED:
            evidence += f"; and {len(hits) - _MOST_NAMED} more"
    return CriterionResult(
        id=criterion.id,
        fired=bool(hits),
        targets=tuple(sorted(hit.target for hit in hits)),
        evidence=evidence,
        since=min((hit.since for hit in hits), default=None),
        profile=profile.describe(),
    )


# -- failures in a row -------------------------------------------------------------------------------------------------


def _check_fails(
    condition: CheckFails, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> _Hit | None:
    """The longest streak among the target's checks that is long enough."""

    def bad(result: CheckResult) -> bool:
        return not result.ok and (not condition.error_classes or result.error_class in condition.error_classes)

    hits = [
        _Hit(target, streak[0].at, f"{target}/{check} failed {len(streak)} times in a row ({streak[-1].error_class})")
        for check, streak in _streaks(results, condition, bad, now, profile)
    ]
    return min(hits, key=lambda hit: (hit.since, hit.evidence), default=None)


def _check_slow(
    condition: CheckSlow, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> _Hit | None:
    """The longest streak of late answers, unless the target is down."""
    last: dict[str, CheckResult] = {result.id: result for result in results}
    if any(r.level in _OF_WORKING and not r.ok and r.error_class != _LATE[0] for r in last.values()):
        return None

    def late(result: CheckResult) -> bool:
        if condition.over is not None:
            return result.seconds > condition.over
        return not result.ok and result.error_class in _LATE

    hits = [
        _Hit(
            target,
            streak[0].at,
            f"{target}/{check} was late {len(streak)} times in a row, at last after {streak[-1].seconds:.2f} s",
        )
        for check, streak in _streaks(results, condition, late, now, profile)
    ]
    return min(hits, key=lambda hit: (hit.since, hit.evidence), default=None)


# How a check fails that was answered late, or not within its deadline.
_LATE = ("slow", "timeout")
_OF_WORKING = ("shallow", "deep")


def _streaks(
    results: Sequence[CheckResult],
    condition: CheckFails | CheckSlow,
    bad: Callable[[CheckResult], bool],
    now: float,
    profile: WindowProfile,
) -> Iterator[tuple[str, list[CheckResult]]]:
    """Each check with its streak up to now, where that is long enough."""
    every = profile.interval(condition.every)
    wanted = profile.in_a_row(condition.consecutive)
    for check_id, series in _series(results, condition.select).items():
        streak = _streak(series, bad, every)
        last_word = now - series[-1].at
        if last_word > _STALE_INTERVALS * every + _LONGEST_CHECK:
            continue
        span = streak[-1].at - streak[0].at if streak else 0.0
        if len(streak) >= wanted and span >= tolerated((wanted - 1) * every):
            yield check_id, streak


def _series(results: Sequence[CheckResult], select: Selection) -> dict[str, list[CheckResult]]:
    found: dict[str, list[CheckResult]] = {}
    for result in results:
        if select.takes(result):
            found.setdefault(result.id, []).append(result)
    return found


def _streak(series: Sequence[CheckResult], bad: Callable[[CheckResult], bool], every: float) -> list[CheckResult]:
    """The bad answers at the end of the series, without a hole in which nobody looked."""
    streak: list[CheckResult] = []
    for result in reversed(series):
        if not bad(result):
            break
        if streak and streak[-1].at - result.at > _STALE_INTERVALS * every + _LONGEST_CHECK:
            break
        streak.append(result)
    return streak[::-1]


def _share_failing(
    condition: ShareFailing, seen: Mapping[str, list[CheckResult]], now: float, profile: WindowProfile
) -> tuple[list[_Hit], str]:
    single = CheckFails(condition.select, (), condition.consecutive, condition.every)
    observed = [target for target, results in seen.items() if any(condition.select.takes(each) for each in results)]
    hits = []
    for target in observed:
        hit = _check_fails(single, target, seen[target], now, profile)
        if hit is not None:
            hits.append(hit)
    share = len(hits) / len(observed) if observed else 0.0
    names = ", ".join(sorted(hit.target for hit in hits)[:_MOST_NAMED])
    evidence = f"{len(hits)} of {len(observed)} services fail" + (f": {names}" if names else "")
    if len(hits) >= condition.minimum and share >= condition.at_least:
        return hits, evidence
    return [], evidence


# -- windows -----------------------------------------------------------------------------------------------------------


def _window(
    results: Sequence[CheckResult], select: Selection, window: float, minimum: int, now: float
) -> list[CheckResult] | None:
    """The results inside the window, None when it was not watched for its whole length."""
    taken = [result for result in results if select.takes(result)]
    inside = [result for result in taken if result.at >= now - window]
    watched = bool(taken) and now - taken[0].at >= tolerated(window)
    return inside if watched and len(inside) >= minimum else None


def _response_over(
    condition: ResponseOver, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> _Hit | None:
    inside = _window(results, condition.select, profile.window(condition.window), condition.minimum, now)
    if inside is None:
        return None
    times = sorted(result.seconds for result in inside)
    # Nearest rank: the smallest value that the wanted share does not exceed. No value is made up in between.
    value = times[max(0, math.ceil(condition.percentile * len(times)) - 1)]
    if value <= condition.seconds:
        return None
    slow = next(result.at for result in inside if result.seconds > condition.seconds)
    text = f"{target}: {condition.percentile:.0%} of {len(times)} answers took up to {value:.2f} s"
    return _Hit(target, slow, f"{text}, over {condition.seconds:g} s")


def _error_rate_over(
    condition: ErrorRateOver, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> _Hit | None:
    inside = _window(results, condition.select, profile.window(condition.window), condition.minimum, now)
    if inside is None:
        return None
    failed = [result for result in inside if not result.ok]
    rate = len(failed) / len(inside)
    if rate <= condition.rate:
        return None
    text = f"{target}: {len(failed)} of {len(inside)} checks failed ({rate:.1%}), over {condition.rate:.1%}"
    return _Hit(target, failed[0].at, text)


def _metric_over(
    condition: MetricOver, target: str, samples: Sequence[MetricSample], now: float, profile: WindowProfile
) -> _Hit | None:
    window = profile.window(condition.window)
    streak: list[MetricSample] = []
    for sample in reversed([sample for sample in samples if sample.name == condition.metric]):
        if sample.value <= condition.over:
            break
        streak.append(sample)
    # Two samples far apart prove nothing about the time between them, so a window needs at least three.
    if len(streak) < 3 or now - streak[0].at > window or streak[0].at - streak[-1].at < tolerated(window):
        return None
    lowest = min(sample.value for sample in streak)
    text = f"{target}: {condition.metric} at or over {lowest:.0%} for {streak[0].at - streak[-1].at:.1f} s"
    return _Hit(target, streak[-1].at, text)
