"""The six triggers of production as the cards have them, on a fake clock, at their exact edges."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import (
    PRODUCTION,
    CriterionResult,
    longest_window,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import (
    CounterReading,
    MetricSample,
    Observations,
    error_rates,
    first_answers,
)
from codeblue.runner.collection import own_runbooks

T0 = 1_800_000_000.0
CARDS = {card.id: card for card in (load_card(each.card_path) for each in own_runbooks())}
KINDS = {"records": "service", "patient_db": "database", "auth": "auth", "ai": "ai"}
# A window counts as whole from nine tenths of it, because looks come a little early or late.
WHOLE = 0.9


def answer(at: float, error_class: str | None = None, target: str = "records", **more: t.Any) -> CheckResult:
    values: dict[str, t.Any] = {"id": "health", "level": "deep", "type": "http", "seconds": 0.01, **more}
    return CheckResult(target=target, ok=error_class is None, error_class=error_class, detail="", at=T0 + at, **values)


def said(name: str, now: float, observations: Observations) -> CriterionResult:
    card, criterion = name.split("/")
    results = evaluate(CARDS[card].criteria, observations, T0 + now, PRODUCTION, KINDS)
    return next(each for each in results if each.id == criterion)


def fired(name: str, now: float, checks: Sequence[CheckResult] = (), metrics: Sequence[MetricSample] = ()) -> bool:
    return said(name, now, Observations(checks, metrics)).fired


def every(seconds: float, values: Sequence[float], metric: str, target: str) -> list[MetricSample]:
    return [MetricSample(target, metric, value, T0 + seconds * n, "app1") for n, value in enumerate(values)]


# -- three failed health checks in a row -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("database_connection_failure/database_unreachable", {"target": "patient_db", "level": "shallow"}),
        ("authentication_system_down/login_unreachable", {"target": "auth", "level": "shallow"}),
        ("ai_service_unavailable/ai_unreachable", {"target": "ai", "level": "shallow"}),
        ("ai_service_unavailable/ai_unusable", {"target": "ai", "level": "deep"}),
    ],
)
def test_three_failed_health_checks_in_a_row(name: str, more: dict[str, t.Any]) -> None:
    failed = [answer(at, "refused", **more) for at in (0, 30, 60)]
    assert not fired(name, 60, failed[:2]), "two are not three"
    assert not fired(name, 59.999, failed), "the third is not there yet"
    assert fired(name, 60, failed)
    hasty = [answer(at, "refused", **more) for at in (0, 26, 60 * WHOLE - 0.001)]
    assert not fired(name, 60, hasty), "a burst is no streak"
    assert not fired(name, 60, [*failed[:2], answer(60, **more)]), "the third is well"


# -- response over 5,000 ms --------------------------------------------------------------------------------------------


def test_response_over_5000_ms_by_checks() -> None:
    name = "performance_degradation/response_over_5s"
    assert not fired(name, 60, [answer(at, seconds=5.0) for at in (0, 30, 60)])
    assert fired(name, 60, [answer(at, seconds=5.001) for at in (0, 30, 60)])
    assert not fired(name, 60, [answer(at, seconds=5.001) for at in (0, 30)])


def test_response_over_5000_ms_of_people() -> None:
    name = "performance_degradation/requests_late"
    for target in ("records", "auth", "ai"):
        assert not fired(name, 120, metrics=every(30, [5.0] * 5, "response", target))
        assert fired(name, 120, metrics=every(30, [5.001] * 5, "response", target))
    assert not fired(name, 120, metrics=every(30, [5.001] * 5, "response", "patient_db"))
    late = Observations([answer(100, "refused")], every(30, [9.0] * 5, "response", "records"))
    assert not said(name, 120, late).fired, "down is not slow"


# -- p95 over 30 s -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("performance_degradation/p95_over_30s", "records", "http"),
        ("database_connection_failure/database_slow", "patient_db", "postgresql"),
    ],
)
def test_p95_over_30_s_for_two_minutes(name: str, target: str, kind: str) -> None:
    def answers(late: int, of: int, seconds: float, span: float = 120.0) -> list[CheckResult]:
        return [
            answer(span * n / (of - 1), target=target, type=kind, seconds=seconds if n < late else 0.2)
            for n in range(of)
        ]

    assert not fired(name, 120, answers(5, 100, 31.0)), "the 95th of a hundred is in time"
    assert fired(name, 120, answers(6, 100, 31.0))
    assert not fired(name, 120, answers(100, 100, 30.0)), "30 s are not over 30 s"
    assert fired(name, 120, answers(100, 100, 30.001))
    whole = 120 * WHOLE
    assert fired(name, whole, answers(100, 100, 31.0, whole))
    assert not fired(name, whole - 0.1, answers(100, 100, 31.0, whole - 0.1)), "not watched for two minutes"


# -- error rate over 5 % for two minutes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("database_connection_failure/database_error_rate", "patient_db"),
        ("authentication_system_down/login_error_rate", "auth"),
        ("ai_service_unavailable/ai_error_rate", "ai"),
    ],
)
def test_error_rate_over_5_percent_for_two_minutes_by_checks(name: str, target: str) -> None:
    def answers(failed: int, of: int = 100, span: float = 120.0) -> list[CheckResult]:
        return [answer(span * n / (of - 1), "status" if n < failed else None, target) for n in range(of)]

    assert not fired(name, 120, answers(5)), "5 % is not over 5 %"
    assert fired(name, 120, answers(6))
    assert fired(name, 108, answers(6, span=108.0))
    assert not fired(name, 107.9, answers(6, span=107.9)), "not watched for two minutes"
    assert not fired(name, 120, answers(9, of=9)), "nine answers are no rate"
    assert fired(name, 120, answers(10, of=10))


@pytest.mark.parametrize(
    ("name", "target", "limit", "window"),
    [
        ("authentication_system_down/login_requests_fail", "auth", 0.05, 120.0),
        ("database_connection_failure/database_sessions_fail", "patient_db", 0.05, 120.0),
        # AI failures over 10 %
        ("ai_service_unavailable/ai_requests_fail", "ai", 0.10, 60.0),
    ],
)
def test_requests_that_fail(name: str, target: str, limit: float, window: float) -> None:
    def counted(failed_of_1000: float, span: float, readings: int) -> list[MetricSample]:
        series = [
            CounterReading(target, "lb1", 1000.0 * n, failed_of_1000 * n, T0 + span * n / (readings - 1))
            for n in range(readings)
        ]
        return error_rates(series, {})

    exactly, over = 1000 * limit, 1000 * limit + 1
    for readings in (2, 5):
        assert not fired(name, window, metrics=counted(exactly, window, readings)), "the limit is not over the limit"
        assert fired(name, window, metrics=counted(over, window, readings)), readings
        whole = window * WHOLE
        assert fired(name, whole, metrics=counted(over, whole, readings))
        assert not fired(name, whole - 0.1, metrics=counted(over, whole - 0.1, readings)), "not the whole window"
    hours = counted(over, 4 * window, 2)
    assert not fired(name, 4 * window, metrics=hours), "a rate over a longer time says nothing about this window"


def test_ai_failures_over_10_percent_are_not_5_percent() -> None:
    name = "ai_service_unavailable/ai_requests_fail"
    values = every(15, [0.06] * 5, "error_rate", "ai")
    assert not fired(name, 60, metrics=values)
    assert fired(name, 60, metrics=every(15, [0.11] * 5, "error_rate", "ai"))
    assert not fired(name, 60, metrics=every(15, [0.11, 0.11, 0.09, 0.11, 0.11], "error_rate", "ai"))


# -- memory over 95 % for five minutes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("criterion", "metric"), [("memory_full", "memory"), ("processors_busy", "cpu")])
def test_resources_over_95_percent_for_five_minutes(criterion: str, metric: str) -> None:
    name = f"performance_degradation/{criterion}"

    def at(seconds: float, share: float) -> bool:
        return fired(name, seconds, metrics=every(seconds / 10, [share] * 11, metric, "records"))

    assert not at(300, 0.95), "95 % is not over 95 %"
    assert at(300, 0.9501)
    assert at(300 * WHOLE, 0.96)
    assert not at(300 * WHOLE - 0.1, 0.96), "not five minutes"
    dip = every(30, [0.99] * 5 + [0.95] + [0.99] * 5, metric, "records")
    assert not fired(name, 300, metrics=dip), "it was not over during the whole window"
    ended = every(30, [0.99] * 11, metric, "records")
    assert fired(name, 300, metrics=ended) and not fired(name, 500, metrics=ended), "nobody has looked since"


def test_two_machines_that_take_turns_are_not_one_that_is_full() -> None:
    turns = [
        MetricSample("records", "memory", 0.99 if n % 2 == own else 0.2, T0 + 30 * n, machine)
        for n in range(11)
        for own, machine in enumerate(("app1", "app2"))
    ]
    assert not fired("performance_degradation/memory_full", 300, metrics=turns)
    full = [*turns, *(MetricSample("records", "memory", 0.97, T0 + 30 * n, "app3") for n in range(11))]
    found = said("performance_degradation/memory_full", 300, Observations((), full))
    assert found.fired and "memory (app3) at or over 97% for 300.0 s" in found.evidence


# -- what was not watched ----------------------------------------------------------------------------------------------


def test_a_hole_in_which_nobody_looked_makes_nothing_fire_and_is_said() -> None:
    # Half a minute of failures long ago, then nothing for a minute and a half, then this look.
    checks = [answer(at, "status", "patient_db", id=f"c{n}") for at in (-5, 0, 119, 120) for n in range(5)]
    found = said("database_connection_failure/database_error_rate", 120, Observations(checks))
    assert not found.fired
    assert found.lacking == (
        "patient_db: watched for 1 s of 120 s, no samples before that since 2027-01-15 08:00:00 UTC"
    )


def test_why_it_cannot_be_judged() -> None:
    name = "database_connection_failure/database_error_rate"

    def lacking(checks: Sequence[CheckResult]) -> str | None:
        return said(name, 120, Observations(checks)).lacking

    once = [answer(120, "status", "patient_db")]
    assert lacking(once) == "patient_db: watched for 0 s of 120 s, no samples before that"
    few = [answer(at, "status", "patient_db") for at in (0, 60, 120)]
    assert lacking(few) == "patient_db: 3 answers of the 10 that are needed"
    well = [answer(at, None, "patient_db") for at in range(0, 121, 10)]
    assert lacking(well) is None, "it was judged"
    assert lacking([]) is None, "a service without checks has nothing to be judged by"


def test_a_metric_that_has_a_source_and_no_samples_is_said() -> None:
    name = "performance_degradation/memory_full"
    expected = {"records": frozenset({"memory"})}
    assert said(name, 300, Observations()).lacking is None
    assert said(name, 300, Observations(expected=expected)).lacking == "records: no samples of memory"
    short = every(30, [0.99] * 3, "memory", "records")
    assert said(name, 60, Observations((), short)).lacking == "records: memory was watched for 60 s of 300 s"
    assert said(name, 300, Observations((), short)).lacking == (
        "records: no samples of memory since 2027-01-15 08:01:00 UTC"
    )
    assert said(name, 60, Observations((), every(30, [0.5] * 3, "memory", "records"))).lacking is None


def test_tries_that_confirm_a_failure_count_once_in_a_window() -> None:
    look = [answer(at, "status", "patient_db", id="write") for at in (0, 2, 4)]
    look += [answer(0, None, "patient_db", id=f"read{n}") for n in range(19)]
    assert len(first_answers(look)) == 20
    looks = [
        answer(each.at - T0 + 30 * n, each.error_class, "patient_db", id=each.id) for n in range(5) for each in look
    ]
    name = "database_connection_failure/database_error_rate"
    assert fired(name, 124, looks), "three tries of one check would be 3 of 22"
    evenly = [each for n in range(5) for each in first_answers(looks[n * len(look) : (n + 1) * len(look)])]
    assert not said(name, 124, Observations(looks, looks=evenly)).fired, "1 of 20 is 5 %, not over it"


# -- counters ----------------------------------------------------------------------------------------------------------


def reading(at: float, requests: float, errors: float, source: str = "lb1") -> CounterReading:
    return CounterReading("ai", source, requests, errors, T0 + at)


def test_a_rate_follows_from_two_readings() -> None:
    (found,) = error_rates([reading(0, 1000, 40), reading(30, 1200, 60)], {})
    assert found == MetricSample("ai", "error_rate", 0.1, T0 + 30, "lb1", 30.0)
    assert error_rates([reading(0, 1000, 40)], {}) == []


def test_of_few_requests_nobody_speaks_of_a_rate() -> None:
    few = [reading(0, 100, 0), reading(30, 104, 2), reading(60, 112, 3)]
    (found,) = error_rates(few, {})
    assert (found.value, found.seconds) == (0.25, 60.0), "put together until there are ten"
    assert len(error_rates(few, {"ai": 4})) == 2
    assert error_rates([reading(0, 100, 0), reading(30, 100, 0)], {"ai": 1}) == [], "nobody asked"


def test_a_gateway_that_was_restarted_counts_anew() -> None:
    found = error_rates([reading(0, 9000, 900), reading(30, 50, 50), reading(60, 150, 50)], {})
    assert [(each.value, each.at) for each in found] == [(0.0, T0 + 60)]


def test_two_gateways_are_not_mixed() -> None:
    both = [
        reading(0, 100, 0, "lb1"),
        reading(1, 5000, 900, "lb2"),
        reading(30, 200, 50, "lb1"),
        reading(31, 5100, 900, "lb2"),
    ]
    assert {each.source: each.value for each in error_rates(both, {})} == {"lb1": 0.5, "lb2": 0.0}


def test_the_longest_window_of_the_cards_is_five_minutes() -> None:
    assert longest_window(CARDS["performance_degradation"].criteria, PRODUCTION) == 300.0
    assert longest_window(CARDS["security_breach_response"].criteria, PRODUCTION) == 0.0
