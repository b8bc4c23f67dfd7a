# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How services are after a recovery, from the results of their checks and their thresholds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Thresholds

HEALTHY = "HEALTHY"
DEGRADED = "DEGRADED"
DOWN = "DOWN"
MAINTENANCE = "MAINTENANCE"

#: How long the checks of a level may take until everything is well, seconds: 30 s, 5 min and 30 min.
LONGEST_OF_LEVEL: Mapping[str, float] = {"shallow": 30.0, "deep": 300.0, "comprehensive": 1800.0}


@dataclass(frozen=True)
class Phase:
    """One of the looks after a recovery.

    :param level: the deepest level of checks.
    :param within: seconds until everything has to be well.
    :param watch: seconds that it is watched afterwards; one failure in them counts.
    :param performance: answer times are held against those from before.
    :param resources: processors, memory and disks are held against their thresholds.
    """

    level: str
    within: float
    watch: float = 0.0
    performance: bool = False
    resources: bool = False


#: At once (under a minute), whole (under five), and over half an hour. Only the last one takes its whole time.
PHASES: Mapping[str, Phase] = {
    "immediate": Phase("deep", 60.0),
    "comprehensive": Phase("comprehensive", 300.0, performance=True, resources=True),
    "extended": Phase("comprehensive", 300.0, watch=1800.0, performance=True, resources=True),
}

# Named in full; the rest is counted.
_MOST_REASONS = 10


@dataclass(frozen=True)
class ServiceHealth:
    """One service as it is now.

    :param status: HEALTHY, DEGRADED, DOWN or MAINTENANCE.
    :param reasons: why it is not HEALTHY, empty when it is.
    :param slowest: seconds of the slowest check that was answered, None when none was.
    """

    target: str
    status: str
    reasons: tuple[str, ...]
    checks: int
    failed: int
    slowest: float | None


@dataclass(frozen=True)
class Validation:
    """All services together.

    :param outcome: `recovered`, `degraded` or `failed`.
    """

    outcome: str
    reasons: tuple[str, ...]
    services: tuple[ServiceHealth, ...]

    def as_dict(self) -> dict[str, Any]:
        """For results, the journal and reports."""
        return asdict(self)


def validate(
    results: Sequence[CheckResult],
    thresholds: Mapping[str, Thresholds],
    in_maintenance: Collection[str] = (),
    levels: Collection[str] = ("shallow", "deep", "comprehensive"),
) -> Validation:
    """Judge every service and the whole.

    DOWN: nothing at the shallow level answers, or a deep check fails: the service cannot do what it is for.
    DEGRADED: it works, and something misses its threshold: a shallow or comprehensive check fails, an answer took
    longer than `thresholds.response`, or the share of failed checks is over `thresholds.error_rate`.
    A service without a result is DOWN: what was not proven did not recover.

    :param thresholds: of every service that is judged; its keys say which those are.
    :param in_maintenance: services that were taken out on purpose; their failures are expected.
    :param levels: results of other levels are not looked at.
    """
    by_target: dict[str, list[CheckResult]] = {target: [] for target in thresholds}
    for result in results:
        if result.target in by_target and result.level in levels:
            by_target[result.target].append(result)
    services = tuple(
        _maintained(target, found) if target in in_maintenance else judge_service(target, found, thresholds[target])
        for target, found in by_target.items()
    )
    return Validation(_outcome(services), _reasons(services), services)


def judge_service(target: str, results: Sequence[CheckResult], thresholds: Thresholds) -> ServiceHealth:
    """HEALTHY, DEGRADED or DOWN, with the reasons; see `validate`."""
    failed = [result for result in results if not result.ok]
    answered = [result for result in results if result.ok]
    slow = [result for result in answered if result.tells_speed and result.seconds > thresholds.response]
    reasons = [_failure(result) for result in failed]
    reasons += [f"{r.id} took {r.seconds:.2f} s, wanted within {thresholds.response:g} s" for r in slow]
    if not results:
        status, reasons = DOWN, ["no check of it was carried out, give it some in codeblue_checks"]
    elif _is_down(results):
        status = DOWN
    elif reasons:
        status = DEGRADED
    else:
        status = HEALTHY
    rate = len(failed) / len(results) if results else 0.0
    if status == DEGRADED and rate > thresholds.error_rate > 0:
        reasons.append(f"{rate:.1%} of its checks failed, {thresholds.error_rate:.1%} are tolerated")
    return ServiceHealth(
        target=target,
        status=status,
        reasons=_bounded(reasons),
        checks=len(results),
        failed=len(failed),
        slowest=max((result.seconds for result in answered), default=None),
    )


def degraded_by(found: Validation, reasons: Mapping[str, Sequence[str]]) -> Validation:
    """The same, with further thresholds that services miss: answer times from before, a machine's resources.

    A service that is DOWN or in MAINTENANCE stays so; its reasons come first.

    :param reasons: by service; those without reasons are as they were.
    """
    services = tuple(
        replace(
            each,
            status=DEGRADED if each.status == HEALTHY else each.status,
            reasons=_bounded([*each.reasons, *reasons[each.target]]),
        )
        if reasons.get(each.target)
        else each
        for each in found.services
    )
    return Validation(_outcome(services), _reasons(services), services)


def missed_resources(seen: Mapping[str, Any], thresholds: Thresholds) -> list[str]:
    """Which thresholds a machine misses.

    :param seen: the result of the module `machine_resources`.
    """
    found = []
    shares = [("processors", float(seen["cpu"]["busy"]), thresholds.cpu)]
    shares.append(("memory", float(seen["memory"]["used"]), thresholds.memory))
    shares += [(f"disk {each['path']}", float(each["used"]), thresholds.disk) for each in seen["disks"]]
    for what, share, limit in shares:
        if share > limit:
            found.append(f"{share:.0%} of {what} used, up to {limit:.0%} is wanted")
    return found


def _is_down(results: Sequence[CheckResult]) -> bool:
    shallow = [result for result in results if result.level == "shallow"]
    unreached = not any(result.ok for result in shallow or results)
    # A right answer that came late is no outage.
    return unreached or any(not r.ok and r.level == "deep" and r.error_class != "slow" for r in results)


def _maintained(target: str, results: Sequence[CheckResult]) -> ServiceHealth:
    failed = sum(not result.ok for result in results)
    slowest = max((result.seconds for result in results if result.ok), default=None)
    return ServiceHealth(target, MAINTENANCE, ("it was taken out on purpose",), len(results), failed, slowest)


def _outcome(services: Sequence[ServiceHealth]) -> str:
    if any(service.status == DOWN for service in services):
        return "failed"
    # A service that is kept out is not back yet: the recovery went as planned and is not complete.
    if any(service.status in (DEGRADED, MAINTENANCE) for service in services):
        return "degraded"
    return "recovered" if services else "failed"


def _reasons(services: Sequence[ServiceHealth]) -> tuple[str, ...]:
    if not services:
        return ("no service was validated",)
    worst_first = sorted(services, key=lambda service: (DOWN, DEGRADED, MAINTENANCE, HEALTHY).index(service.status))
    return _bounded(
        [f"{service.target} is {service.status}: {reason}" for service in worst_first for reason in service.reasons]
    )


def _failure(result: CheckResult) -> str:
    return f"{result.id} fails ({result.error_class}): {result.detail}"


def _bounded(reasons: Sequence[str]) -> tuple[str, ...]:
    if len(reasons) <= _MOST_REASONS:
        return tuple(reasons)
    return (*reasons[:_MOST_REASONS], f"and {len(reasons) - _MOST_REASONS} more")
