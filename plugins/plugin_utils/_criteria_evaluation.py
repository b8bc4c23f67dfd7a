# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evaluates detection criteria over observations. Pure: `now` is given, so production windows run on a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    CheckFails,
    CheckSlow,
    Criterion,
    CriterionResult,
    ErrorRateOver,
    MetricOver,
    ResponseOver,
    Selection,
    ShareFailing,
    WindowProfile,
    tolerated,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_windows import (
    Hit,
    Lacking,
    Verdict,
    error_rate_over,
    metric_over,
    response_over,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import (
    METRICS,
    SECONDS,
    MetricSample,
    Observations,
    by_target,
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
    sight = _Sight(observations, now, profile, kinds or {})
    return [sight.result_of(criterion) for criterion in criteria]


def _says_nothing(result: CheckResult) -> bool:
    """A signal that nobody answered. On a machine without CPU the monitoring is late too: that is no intrusion.

    Of slowness a late answer tells, and one that never came.
    """
    return result.level == SIGNALS and result.topic != "performance" and result.error_class in _UNANSWERED


def fires(results: Sequence[CriterionResult], targets: Sequence[str] = ()) -> bool:
    """Any criterion fires, for any of the targets (for any service when none are given)."""
    return any(result.fired and (not targets or set(result.targets) & set(targets)) for result in results)


class _Sight:
    """All that was observed up to a moment, as the criteria look at it."""

    def __init__(
        self, observations: Observations, now: float, profile: WindowProfile, kinds: Mapping[str, str]
    ) -> None:
        self._now = now
        self._profile = profile
        self._kinds = kinds
        self._expected = observations.expected
        self._checks = self._of_checks(observations.checks)
        self._looks = self._checks if observations.looks is None else self._of_checks(observations.looks)
        self._metrics_now = now if observations.metrics_until is None else observations.metrics_until
        self._metrics = by_target(sample for sample in observations.metrics if sample.at <= self._metrics_now)

    def _of_checks(self, results: Sequence[CheckResult]) -> Mapping[str, list[CheckResult]]:
        return by_target(result for result in results if result.at <= self._now and not _says_nothing(result))

    def result_of(self, criterion: Criterion) -> CriterionResult:
        """What one criterion says."""
        condition = criterion.condition
        found: list[Verdict]
        if isinstance(condition, ShareFailing):
            seen = {target: results for target, results in self._checks.items() if self._concerns(criterion, target)}
            hits, evidence = _share_failing(condition, seen, self._now, self._profile)
            lacking: list[Lacking] = []
        else:
            found = [
                self._verdict(condition, target) for target in self._targets() if self._concerns(criterion, target)
            ]
            hits = [each for each in found if isinstance(each, Hit)]
            lacking = [each for each in found if isinstance(each, Lacking)]
            evidence = _several([hit.evidence for hit in hits]) or "does not hold"
        return CriterionResult(
            id=criterion.id,
            fired=bool(hits),
            targets=tuple(sorted(hit.target for hit in hits)),
            evidence=evidence,
            since=min((hit.since for hit in hits), default=None),
            profile=self._profile.describe(),
            lacking=_several([f"{each.target}: {each.reason}" for each in lacking]) or None if not hits else None,
        )

    def _targets(self) -> list[str]:
        return list(dict.fromkeys([*self._checks, *self._looks, *self._metrics, *self._expected]))

    def _concerns(self, criterion: Criterion, target: str) -> bool:
        return not criterion.kinds or not self._kinds or self._kinds.get(target) in criterion.kinds

    def _verdict(
        self, condition: CheckFails | CheckSlow | ResponseOver | ErrorRateOver | MetricOver, target: str
    ) -> Verdict:
        now, checks, looks = self._now, self._checks.get(target, []), self._looks.get(target, [])
        if isinstance(condition, CheckFails):
            return _check_fails(condition, target, checks, now, self._profile)
        if isinstance(condition, CheckSlow):
            return None if _is_down(checks) else _check_slow(condition, target, checks, now, self._profile)
        window = self._profile.window(condition.window)
        if isinstance(condition, ResponseOver):
            return response_over(condition, target, looks, now, window) if looks else None
        if isinstance(condition, ErrorRateOver):
            return error_rate_over(condition, target, looks, now, window) if looks else None
        if METRICS[condition.metric] == SECONDS and _is_down(checks):
            return None
        samples: Sequence[MetricSample] = self._metrics.get(target, [])
        expected = condition.metric in self._expected.get(target, ())
        return metric_over(condition, target, samples, self._metrics_now, window, expected)


def _several(texts: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return "; ".join(texts[:_MOST_NAMED]) + more


# -- failures in a row -------------------------------------------------------------------------------------------------


def _check_fails(
    condition: CheckFails, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> Hit | None:
    """The longest streak among the target's checks that is long enough."""

    def bad(result: CheckResult) -> bool:
        return not result.ok and (not condition.error_classes or result.error_class in condition.error_classes)

    hits = [
        Hit(target, streak[0].at, f"{target}/{check} failed {len(streak)} times in a row ({streak[-1].error_class})")
        for check, streak in _streaks(results, condition, bad, now, profile)
    ]
    return min(hits, key=lambda hit: (hit.since, hit.evidence), default=None)


def _check_slow(
    condition: CheckSlow, target: str, results: Sequence[CheckResult], now: float, profile: WindowProfile
) -> Hit | None:
    """The longest streak of late answers."""

    def late(result: CheckResult) -> bool:
        if condition.over is not None:
            return result.tells_speed and result.seconds > condition.over
        return not result.ok and result.error_class in _LATE

    hits = [
        Hit(
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


def _is_down(results: Sequence[CheckResult]) -> bool:
    """A shallow or deep check fails for another reason than being late: down is not slow."""
    last: dict[str, CheckResult] = {result.id: result for result in results}
    return any(r.level in _OF_WORKING and not r.ok and r.error_class != _LATE[0] for r in last.values())


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
) -> tuple[list[Hit], str]:
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
