"""Slowness on a fake clock: late is not down, and the windows of production hold to the second."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    PRODUCTION,
    confirmation_profile,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import MetricSample, Observations
from codeblue.runner.collection import own_runbooks

T0 = 1_800_000_000.0
CARDS = {card.id: card for card in (load_card(each.card_path) for each in own_runbooks())}
CARD = CARDS["performance_degradation"]


def result(at: float, seconds: float, error_class: str | None = None, **more: t.Any) -> CheckResult:
    values: dict[str, t.Any] = {"target": "records", "id": "answer_time", "level": "signals", "type": "http"}
    values.update({"topic": "performance"} if more.get("level", "signals") == "signals" else {})
    values.update(more)
    ok = error_class is None
    return CheckResult(ok=ok, seconds=seconds, error_class=error_class, detail="", at=T0 + at, **values)


def late(*moments: float) -> list[CheckResult]:
    return [result(at, 0.7, "slow") for at in moments]


def fired(card: str, checks: t.Sequence[CheckResult], now: float, metrics: t.Sequence[MetricSample] = ()) -> list[str]:
    kinds = {"records": "service", "patient_db": "database", "auth": "auth", "ai": "ai"}
    found = evaluate(CARDS[card].criteria, Observations(checks, metrics), T0 + now, PRODUCTION, kinds)
    return [each.id for each in found if each.fired]


def test_three_late_answers_in_a_row_thirty_seconds_apart() -> None:
    assert fired("performance_degradation", late(0, 30, 60), 59.9) == []
    assert fired("performance_degradation", late(0, 30, 60), 60) == ["answers_late"]
    (found,) = evaluate(CARD.criteria[:1], Observations(late(0, 30, 60)), T0 + 60, PRODUCTION)
    assert found.targets == ("records",) and "late 3 times in a row, at last after 0.70 s" in found.evidence


def test_an_answer_that_never_came_is_late_too() -> None:
    checks = [result(at, 3.0, "timeout") for at in (0, 30, 60)]
    assert fired("performance_degradation", checks, 60) == ["answers_late"]


@pytest.mark.parametrize(
    ("what", "checks"),
    [
        ("one in time in between", [*late(0), result(30, 0.01), *late(60, 90)]),
        ("a burst within a second", late(0, 0.1, 0.2)),
        ("refused, not late", [result(at, 0.001, "refused") for at in (0, 30, 60)]),
        ("503 of a gateway without anybody behind it", [result(at, 0.6, "unavailable") for at in (0, 30, 60)]),
    ],
)
def test_what_is_not_late(what: str, checks: list[CheckResult]) -> None:
    assert fired("performance_degradation", checks, max(each.at for each in checks) - T0) == [], what


@pytest.mark.parametrize("error_class", ["refused", "unavailable", "timeout", "status", "closed"])
def test_down_is_not_slow(error_class: str) -> None:
    down = [result(at, 2.0, error_class, id="health", level="deep") for at in (0, 30, 60)]
    assert fired("performance_degradation", [*late(0, 30, 60), *down], 60) == []


def test_late_real_use_is_not_down() -> None:
    """The answer of a deep check that comes late says that the service works."""
    slow_use = [result(at, 0.7, "slow", id="health", level="deep") for at in (0, 30, 60)]
    assert fired("performance_degradation", [*late(0, 30, 60), *slow_use], 60) == ["answers_late"]


@pytest.mark.parametrize("card", sorted(set(CARDS) - {"performance_degradation"}))
def test_no_other_card_fires_on_late_answer_times(card: str) -> None:
    assert fired(card, late(0, 30, 60, 90, 120), 120) == []


def test_response_over_5000_ms_three_times_in_a_row() -> None:
    def answered(seconds: float) -> list[CheckResult]:
        return [result(at, seconds, id="health", level="deep") for at in (0, 30, 60)]

    assert fired("performance_degradation", answered(5.0), 60) == []
    assert fired("performance_degradation", answered(5.001), 60) == ["response_over_5s"]


def test_p95_over_30_s_for_two_minutes() -> None:
    def answered(slow_share: int, until: int) -> list[CheckResult]:
        return [
            result(at, 31.0 if position % 100 < slow_share else 0.2, id="health", level="deep")
            for position, at in enumerate(range(0, until + 1, 1))
        ]

    name = "p95_over_30s"
    assert name not in fired("performance_degradation", answered(100, 60), 60), "two minutes were not watched yet"
    assert name in fired("performance_degradation", answered(100, 120), 120)
    assert name not in fired("performance_degradation", answered(3, 120), 120), "97 % are in time"


def test_memory_over_95_percent_for_five_minutes() -> None:
    def samples(share: float, seconds: int) -> list[MetricSample]:
        return [MetricSample("records", "memory", share, T0 + at) for at in range(0, seconds + 1, 30)]

    assert fired("performance_degradation", [], 300, samples(0.96, 300)) == ["memory_full"]
    assert fired("performance_degradation", [], 300, samples(0.95, 300)) == []
    assert fired("performance_degradation", [], 120, samples(0.99, 120)) == [], "two minutes are not five"


def test_error_rate_over_5_percent_for_two_minutes_belongs_to_another_card() -> None:
    checks = [
        result(
            at, 0.01, "status" if at % 40 < 4 else None, target="patient_db", id="read", level="deep", type="postgresql"
        )
        for at in range(0, 121, 2)
    ]
    assert "database_error_rate" in fired("database_connection_failure", checks, 120)
    assert fired("performance_degradation", checks, 120) == []


def test_three_failed_checks_in_a_row_are_an_outage() -> None:
    checks = [
        result(at, 0.01, "refused", target="patient_db", id="read", level="deep", type="postgresql")
        for at in (0, 30, 60)
    ]
    assert "database_unusable" in fired("database_connection_failure", checks, 60)
    assert fired("performance_degradation", checks, 60) == []


def test_in_a_lab_three_in_a_row_are_a_fraction_of_a_second() -> None:
    found = evaluate(CARD.criteria, Observations(late(0, 0.1, 0.2)), T0 + 0.2, confirmation_profile(0.1, 3))
    assert [each.id for each in found if each.fired] == ["answers_late"]
