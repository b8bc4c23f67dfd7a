# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long services take to answer: what is normal, and whether it is so again. Pure but for `measure`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Checks, plan_checks

# Below it a percentile says little, and a 95th percentile is the slowest answer.
LEAST_SAMPLES = 3
PERCENTILE = 0.95
# Few at a time: a burst of questions would measure itself.
_IN_FLIGHT = 4


@dataclass(frozen=True)
class AnswerTimes:
    """The answer times of one check of one service, seconds.

    :param samples: how many answers it is made from.
    """

    target: str
    check: str
    samples: int
    p50: float
    p95: float
    slowest: float


@dataclass(frozen=True)
class Baseline:
    """What was normal for one check.

    :param p95: seconds, the median of the 95th percentiles that were kept.
    :param kept: how many of those there are.
    :param last_at: UTC, RFC 3339, when it was last found well.
    """

    target: str
    check: str
    p95: float
    kept: int
    last_at: str


@dataclass(frozen=True)
class Limits:
    """What is within normal. The larger of both counts.

    :param factor: times the baseline's p95.
    :param floor: seconds; below it nobody waits, however fast it was before.
    """

    factor: float
    floor: float

    def of(self, baseline: Baseline) -> float:
        """The longest p95 that is normal, seconds."""
        return max(baseline.p95 * self.factor, self.floor)


@dataclass(frozen=True)
class Comparison:
    """One check now and before.

    :param before: p95 from before, None without a baseline.
    :param limit: seconds, None without a baseline.
    """

    target: str
    check: str
    p95: float
    before: float | None
    limit: float | None

    @property
    def ok(self) -> bool:
        """Without a baseline nothing is known to be wrong; the response threshold still counts."""
        return self.limit is None or self.p95 <= self.limit

    def text(self) -> str:
        """For people."""
        now = f"{self.check}: p95 is {self.p95 * 1000:.0f} ms"
        if self.before is None or self.limit is None:
            return f"{now}, no baseline from before"
        return f"{now}, before {self.before * 1000:.0f} ms, wanted up to {self.limit * 1000:.0f} ms"


def percentile(times: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that the wanted share does not exceed. No value is made up in between."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(results: Iterable[CheckResult], only_well: bool = False) -> list[AnswerTimes]:
    """Answer times of each check; failed ones count with the time that they took.

    :param only_well: leave out checks that failed at least once: what was not well is no baseline.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    failed: set[tuple[str, str]] = set()
    for result in results:
        key = (result.target, result.id)
        seconds.setdefault(key, []).append(result.seconds)
        if not result.ok:
            failed.add(key)
    return [
        AnswerTimes(
            target=key[0],
            check=key[1],
            samples=len(times),
            p50=round(percentile(times, 0.5), 6),
            p95=round(percentile(times, PERCENTILE), 6),
            slowest=round(max(times), 6),
        )
        for key, times in sorted(seconds.items())
        if len(times) >= LEAST_SAMPLES and not (only_well and key in failed)
    ]


def baseline_of(target: str, check: str, kept: Sequence[tuple[str, float]]) -> Baseline | None:
    """Out of what was kept; one bad hour among many does not move a median.

    :param kept: times in RFC 3339 and p95 in seconds, in any order.
    """
    if not kept:
        return None
    return Baseline(target, check, statistics.median(p95 for _at, p95 in kept), len(kept), max(at for at, _p95 in kept))


def compare(
    now: Iterable[AnswerTimes], before: Mapping[tuple[str, str], Baseline], limits: Mapping[str, Limits]
) -> list[Comparison]:
    """Every check now, held against its baseline.

    :param limits: by service.
    """
    found = []
    for each in now:
        baseline = before.get((each.target, each.check))
        limit = limits[each.target].of(baseline) if baseline is not None and each.target in limits else None
        found.append(
            Comparison(each.target, each.check, each.p95, baseline.p95 if baseline is not None else None, limit)
        )
    return found


def measure(
    checks: Mapping[str, Checks], rounds: int, pace: float, level: str = "deep", deadline: float = 60.0
) -> list[CheckResult]:
    """Ask everything several times.

    :param pace: seconds from the start of one round to the start of the next.
    :param deadline: seconds for all rounds; what was not begun by then is left out.
    """
    # What monitoring says about dangers takes time at the monitoring, not at the service.
    plan = [each for each in plan_checks(checks, level, signals=True) if each.check.topic in (None, "performance")]
    started = time.monotonic()
    results: list[CheckResult] = []
    for number in range(rounds):
        pause = started + number * pace - time.monotonic()
        if time.monotonic() - started + max(0.0, pause) >= deadline:
            break
        time.sleep(max(0.0, pause))
        results += run_checks(plan, in_flight=_IN_FLIGHT)
    return results
