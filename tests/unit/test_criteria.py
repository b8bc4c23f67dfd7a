"""Detection on a fake clock: the windows of production hold to the second, and silence is no outage."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    LAB,
    PRODUCTION,
    Criterion,
    WindowProfile,
    confirmation_profile,
    profile_for,
    read_criteria,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate, fires
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import MetricSample, Observations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

T0 = 1_800_000_000.0


def criterion(**condition: t.Any) -> Criterion:
    problems = Problems("card")
    values = {"criteria": [{"id": "c", "description": "d", **condition}]}
    (found,) = read_criteria(TypedMapping(values, "detection", problems))
    problems.raise_if_any()
    return found


def seen(
    at: float, ok: bool = False, target: str = "patient_db", seconds: float = 0.01, **changes: t.Any
) -> CheckResult:
    values: dict[str, t.Any] = {"id": "write", "level": "deep", "type": "postgresql", "error_class": "refused"}
    values.update(changes)
    if ok:
        values["error_class"] = None
    return CheckResult(target=target, ok=ok, seconds=seconds, detail="", at=T0 + at, **values)


def fired(
    wanted: Criterion, checks: t.Sequence[CheckResult], now: float, profile: WindowProfile = PRODUCTION, **more: t.Any
) -> bool:
    (result,) = evaluate([wanted], Observations(checks), T0 + now, profile, **more)
    assert result.fired is bool(result.targets) is (result.since is not None)
    return result.fired


STREAK = criterion(check_fails={"consecutive": 3, "every": "30s"})


def test_three_failures_in_a_row_at_thirty_seconds() -> None:
    checks = [seen(-30, ok=True), seen(0), seen(30), seen(60)]
    assert not fired(STREAK, checks, 59.9), "the third one has not been seen yet"
    assert fired(STREAK, checks, 60)
    (result,) = evaluate([STREAK], Observations(checks), T0 + 60, PRODUCTION)
    assert result.since == T0 and result.targets == ("patient_db",)
    assert "3 times in a row (refused)" in result.evidence


@pytest.mark.parametrize(
    ("what", "checks", "now"),
    [
        ("an answer in between", [seen(0), seen(30, ok=True), seen(60), seen(90)], 90),
        ("an answer at the end", [seen(0), seen(30), seen(60), seen(90, ok=True)], 90),
        ("a burst within a second", [seen(0), seen(0.1), seen(0.2), seen(0.3)], 1),
        ("spread over two checks", [seen(0), seen(30, id="read"), seen(60)], 60),
        ("nobody has looked since", [seen(0), seen(30), seen(60)], 600),
        ("a hole in which nobody looked", [seen(0), seen(30), seen(600)], 600),
        ("nothing seen at all", [], 60),
    ],
)
def test_what_is_no_streak(what: str, checks: list[CheckResult], now: float) -> None:
    assert not fired(STREAK, checks, now), what


def test_selection_and_error_classes() -> None:
    checks = [seen(0), seen(30), seen(60)]
    base: dict[str, t.Any] = {"consecutive": 3, "every": "30s"}
    assert fired(criterion(check_fails={**base, "levels": ["deep"], "types": ["postgresql"]}), checks, 60)
    assert not fired(criterion(check_fails={**base, "levels": ["shallow"]}), checks, 60)
    assert not fired(criterion(check_fails={**base, "ids": ["read"]}), checks, 60)
    assert not fired(criterion(check_fails={**base, "error_classes": ["timeout"]}), checks, 60)


def test_kinds_are_respected() -> None:
    checks = [seen(0), seen(30), seen(60)]
    wanted = criterion(check_fails={"consecutive": 3, "every": "30s"}, kinds=["database"])
    assert fired(wanted, checks, 60, kinds={"patient_db": "database"})
    assert not fired(wanted, checks, 60, kinds={"patient_db": "service"})


def test_the_lab_reads_a_minute_as_a_second_and_says_so() -> None:
    checks = [seen(number / 10) for number in range(12)]
    assert fired(STREAK, checks, 1.1, LAB)
    assert not fired(STREAK, checks[:9], 0.8, LAB), "the streak has to span a second"
    assert not fired(STREAK, checks, 1.1, PRODUCTION)
    assert "divided by 60" in LAB.describe()
    assert profile_for("lab") is LAB and profile_for("staging") is profile_for("production") is PRODUCTION


def test_confirmation_takes_the_inventorys_pace_and_leaves_windows_alone() -> None:
    checks = [seen(0), seen(2), seen(4)]
    assert fired(STREAK, checks, 4, confirmation_profile(2, 3))
    assert fired(STREAK, checks[:2], 2, confirmation_profile(2, 2))
    assert not fired(criterion(error_rate_over={"rate": 0.05, "window": "2m"}), checks, 4, confirmation_profile(2, 3))


SHARE = criterion(share_failing={"at_least": 0.75, "minimum": 2, "consecutive": 3, "every": "30s"})


@pytest.mark.parametrize(
    ("down", "up", "wanted"), [(4, 0, True), (3, 1, True), (2, 1, False), (1, 0, False), (2, 0, True), (0, 4, False)]
)
def test_share_of_services_that_fail_at_once(down: int, up: int, wanted: bool) -> None:
    checks = [seen(at, ok=number >= down, target=f"s{number}") for number in range(down + up) for at in (0, 30, 60)]
    assert fired(SHARE, checks, 60) is wanted


def test_error_rate_over_two_minutes() -> None:
    wanted = criterion(error_rate_over={"rate": 0.05, "window": "2m"})
    one_in_ten = [seen(at, ok=at % 10 != 0) for at in range(0, 121)]
    one_in_fifty = [seen(at, ok=at % 50 != 0) for at in range(0, 121)]
    assert fired(wanted, one_in_ten, 120)
    assert not fired(wanted, one_in_fifty, 120)
    assert not fired(wanted, one_in_ten[:61], 60), "watched for one minute only"
    assert not fired(wanted, [seen(0), seen(60), seen(120)], 120), "too few to speak of a rate"


def test_response_times_at_the_95th_percentile() -> None:
    wanted = criterion(response_over={"seconds": "30s", "percentile": 0.95, "window": "2m"})
    slow = [seen(at, ok=True, seconds=31.0 if at % 10 == 0 else 0.1) for at in range(0, 121)]
    outlier = [seen(at, ok=True, seconds=31.0 if at == 60 else 0.1) for at in range(0, 121)]
    assert fired(wanted, slow, 120)
    assert not fired(wanted, outlier, 120)


def test_memory_over_five_minutes() -> None:
    wanted = criterion(metric_over={"metric": "memory", "over": 0.95, "window": "5m"})

    def memory(values: t.Iterable[float]) -> Observations:
        return Observations((), [MetricSample("ai", "memory", value, T0 + 30 * n) for n, value in enumerate(values)])

    def at(minute: float, values: t.Iterable[float]) -> bool:
        return evaluate([wanted], memory(values), T0 + 60 * minute, PRODUCTION)[0].fired

    assert at(5, [0.96] * 11)
    assert not at(4, [0.96] * 9)
    assert not at(5, [0.96] * 5 + [0.94] + [0.96] * 5)
    assert not at(30, [0.96] * 11), "measured last 25 minutes ago"


def test_any_criterion_for_the_chosen_targets_counts() -> None:
    results = evaluate([STREAK, SHARE], Observations([seen(0), seen(30), seen(60)]), T0 + 60, PRODUCTION)
    assert fires(results) and fires(results, ["patient_db"]) and not fires(results, ["records"])


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({}, "exactly one condition"),
        ({"check_fails": {}, "share_failing": {}}, "exactly one condition"),
        ({"share_failing": {"at_least": 75}}, "0.05 is 5 %"),
        ({"check_fails": {"error_classes": ["broken"]}}, "must be one of"),
        ({"check_fails": {"consecutiv": 3}}, "did you mean consecutive?"),
        ({"error_rate_over": {"rate": 0.05, "window": "2 minutes"}}, "is no duration"),
    ],
)
def test_wrong_conditions_are_named(condition: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        criterion(**condition)
    assert "detection.criteria[0]" in caught.value.message
