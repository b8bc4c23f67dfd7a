"""What is normal, and whether it is so again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._baseline import (
    AnswerTimes,
    Baseline,
    Limits,
    baseline_of,
    compare,
    percentile,
    summarise,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, Thresholds
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import (
    MOST_OF_A_CHECK,
    add_answer_times,
    baselines_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import (
    DEGRADED,
    DOWN,
    HEALTHY,
    LONGEST_OF_LEVEL,
    PHASES,
    degraded_by,
    missed_resources,
    validate,
)


def result(
    seconds: float, ok: bool = True, check: str = "read", level: str = "deep", topic: str | None = None
) -> CheckResult:
    error = None if ok else "status"
    return CheckResult("records", check, level, "http", ok, seconds, error, "", 0.0, topic)


def times(p95: float, check: str = "read") -> AnswerTimes:
    return AnswerTimes("records", check, 20, p95 / 2, p95, p95)


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_percentiles_are_values_that_were_measured(share: float, wanted: float) -> None:
    assert percentile([float(n) for n in range(20, 0, -1)], share) == wanted


def test_what_failed_is_no_baseline() -> None:
    results = [result(0.01), result(0.02), result(0.03), *(result(0.01, ok=False, check="write") for _ in range(3))]
    assert [each.check for each in summarise(results)] == ["read", "write"]
    assert [(each.check, each.p95) for each in summarise(results, only_well=True)] == [("read", 0.03)]
    assert summarise(results[:2]) == [], "two answers are too few"


def test_one_bad_hour_does_not_move_the_baseline() -> None:
    found = baseline_of("records", "read", [("2026-01-01", 0.01), ("2026-01-02", 4.0), ("2026-01-03", 0.02)])
    assert found is not None and (found.p95, found.kept, found.last_at) == (0.02, 3, "2026-01-03")


@pytest.mark.parametrize(("p95", "ok"), [(0.099, True), (0.1, True), (0.101, False)])
def test_the_floor_counts_where_three_times_of_little_is_little(p95: float, ok: bool) -> None:
    before = {("records", "read"): Baseline("records", "read", 0.01, 5, "")}
    (found,) = compare([times(p95)], before, {"records": Limits(3.0, 0.1)})
    assert found.ok is ok


def test_the_factor_counts_where_it_was_slow_before() -> None:
    before = {("records", "read"): Baseline("records", "read", 0.2, 5, "")}
    (found,) = compare([times(0.7)], before, {"records": Limits(3.0, 0.1)})
    assert not found.ok and found.text() == "read: p95 is 700 ms, before 200 ms, wanted up to 600 ms"


def test_without_a_baseline_nothing_is_known_to_be_wrong() -> None:
    (found,) = compare([times(9.0)], {}, {"records": Limits(3.0, 0.1)})
    assert found.ok and "no baseline from before" in found.text()


def test_slower_than_before_is_degraded_with_the_figures() -> None:
    thresholds = {"records": Thresholds()}
    well = validate([result(0.01, level="shallow"), result(0.01)], thresholds)
    assert well.outcome == "recovered"
    slower = degraded_by(well, {"records": ["read: p95 is 700 ms"]})
    assert (slower.outcome, slower.services[0].status) == ("degraded", DEGRADED)
    assert slower.reasons == ("records is DEGRADED: read: p95 is 700 ms",)
    down = degraded_by(validate([result(0.01, ok=False)], thresholds), {"records": ["late"]})
    assert (down.outcome, down.services[0].status) == ("failed", DOWN)
    assert degraded_by(well, {}).services[0].status == HEALTHY


def test_how_long_monitoring_takes_is_not_how_slow_the_service_is() -> None:
    thresholds = {"records": Thresholds()}
    seen = [result(0.01), result(0.9, check="intruders", level="signals", topic="intrusion")]
    assert validate(seen, thresholds, levels=("deep", "signals")).outcome == "recovered"
    late = [result(0.01), result(0.9, check="answer_time", level="signals", topic="performance")]
    assert validate(late, thresholds, levels=("deep", "signals")).outcome == "degraded"


def test_the_time_boxes_of_levels_and_phases() -> None:
    assert LONGEST_OF_LEVEL == {"shallow": 30, "deep": 300, "comprehensive": 1800}
    assert {name: (each.level, each.within, each.watch) for name, each in PHASES.items()} == {
        "immediate": ("deep", 60, 0),
        "comprehensive": ("comprehensive", 300, 0),
        "extended": ("comprehensive", 300, 1800),
    }


def test_resources_are_held_against_80_85_and_90_percent() -> None:
    def machine(cpu: float, memory: float, disk: float) -> dict[str, object]:
        return {"cpu": {"busy": cpu}, "memory": {"used": memory}, "disks": [{"path": "/", "used": disk}]}

    assert missed_resources(machine(0.8, 0.85, 0.9), Thresholds()) == []
    assert missed_resources(machine(0.81, 0.86, 0.91), Thresholds()) == [
        "81% of processors used, up to 80% is wanted",
        "86% of memory used, up to 85% is wanted",
        "91% of disk / used, up to 90% is wanted",
    ]


def test_the_store_keeps_the_latest_and_only_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = open_store()
    assert baselines_of(store, ["records"]) == {}
    for _ in range(MOST_OF_A_CHECK + 3):
        add_answer_times(store, [times(0.01)], "command")
    found = baselines_of(store, ["records", "auth"])[("records", "read")]
    assert (found.p95, found.kept) == (0.01, 20)
    assert baselines_of(store, ["auth"]) == {}
    assert baselines_of(store, None, before="2020-01-01T00:00:00.000000Z") == {}
    with store.database.read() as connection:
        from sqlalchemy import text

        assert connection.scalar(text("select count(*) from answer_times")) == MOST_OF_A_CHECK
    store.close()
