"""From check results to HEALTHY, DEGRADED, DOWN and MAINTENANCE, and to the outcome of a run."""

from __future__ import annotations

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Thresholds
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import judge_service, validate

LIMITS = Thresholds(response=0.5, error_rate=0.001)


def check(id: str, level: str, error_class: str | None = None, seconds: float = 0.1, target: str = "a") -> CheckResult:
    return CheckResult(target, id, level, "http", error_class is None, seconds, error_class, "HTTP 500", 0.0)


WELL = [check("live", "shallow"), check("write", "deep")]


@pytest.mark.parametrize(
    ("results", "status", "words"),
    [
        (WELL, "HEALTHY", ""),
        ([*WELL, check("each", "comprehensive", "refused")], "DEGRADED", "each fails (refused)"),
        ([check("live", "shallow"), check("write", "deep", "timeout")], "DOWN", "write fails (timeout)"),
        ([check("live", "shallow", "refused"), check("write", "deep")], "DOWN", "live fails"),
        ([check("live", "shallow", "refused"), check("tcp", "shallow"), check("write", "deep")], "DEGRADED", "live"),
        ([check("live", "shallow"), check("write", "deep", seconds=0.7)], "DEGRADED", "took 0.70 s, wanted within"),
        ([check("live", "shallow"), check("write", "deep", "slow", 0.7)], "DEGRADED", "write fails (slow)"),
        ([], "DOWN", "no check of it"),
    ],
)
def test_one_service(results: list[CheckResult], status: str, words: str) -> None:
    health = judge_service("a", results, LIMITS)
    assert health.status == status
    assert words in " ".join(health.reasons)
    assert (health.status == "HEALTHY") is (not health.reasons)


def test_the_whole_is_as_well_as_its_worst_part() -> None:
    well = [check("live", "shallow", target=name) for name in ("a", "b")]
    both = {"a": LIMITS, "b": LIMITS}
    assert validate(well, both).outcome == "recovered"
    slow = [well[0], check("live", "shallow", seconds=2.0, target="b")]
    assert validate(slow, both).outcome == "degraded"
    down = validate([well[0]], both)
    assert down.outcome == "failed" and down.reasons[0].startswith("b is DOWN")
    assert validate([], {}).outcome == "failed"


def test_maintenance_is_expected_and_not_recovered() -> None:
    results = [check("live", "shallow"), check("live", "shallow", "unavailable", target="b")]
    found = validate(results, {"a": LIMITS, "b": LIMITS}, in_maintenance=["b"])
    assert [service.status for service in found.services] == ["HEALTHY", "MAINTENANCE"]
    assert found.outcome == "degraded"


def test_only_the_wanted_levels_and_services_count() -> None:
    results = [*WELL, check("each", "comprehensive", "refused"), check("x", "shallow", "refused", target="other")]
    assert validate(results, {"a": LIMITS}, levels=("shallow", "deep")).outcome == "recovered"


def test_reasons_are_bounded() -> None:
    results = [check("live", "shallow"), *(check(f"c{n}", "comprehensive", "refused") for n in range(50))]
    found = validate(results, {"a": LIMITS})
    assert len(found.reasons) == 11 and len(found.services[0].reasons) == 11
    assert found.as_dict()["services"][0]["failed"] == 50


@pytest.mark.parametrize(("kind", "status"), [("http", "DEGRADED"), ("workload", "HEALTHY")])
def test_how_long_a_cluster_takes_to_tell_is_not_the_services_time(kind: str, status: str) -> None:
    late = CheckResult("ai", "x", "shallow", kind, True, 30.0, None, "", 0.0)
    assert judge_service("ai", [late], Thresholds()).status == status
