"""The trend of drills and what is overdue, with a real store. About 2 s."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _store_exercises
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_exercises import (
    add_exercise,
    exercises_of,
    first_recorded,
    latest_passed,
)
from click.testing import CliRunner
from codeblue.drill.campaign import Campaign
from codeblue.drill.catalogue import Drill
from codeblue.drill.history import keep, trends
from codeblue.drill.result import DrillResult
from codeblue.drill.schedule import DEFAULTS, due, read_schedule
from codeblue.main import cli

SOMEBODY = Operator("erin", "os", verified=True)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    monkeypatch.delenv("CODEBLUE_STATE_URL", raising=False)
    opened = open_store()
    yield opened
    opened.close()


def good(fault: str, away: float | None) -> DrillResult:
    return DrillResult(
        Drill("database_connection_failure", fault, 15.0, 0.0),
        detected=True,
        detect_seconds=1.0,
        first_action_seconds=2.0,
        recovered=away is not None,
        rto_seconds=away,
        writes_lost=0,
        rpo_seconds=0.0,
        control_silent=True,
        undone=True,
        phases={"run": 4.0},
    )


def drilled(store: Store, fault: str, *away: float | None) -> None:
    for seconds in away:
        keep(store, Campaign(results=[good(fault, seconds)]), every=False)


def test_a_campaign_is_kept_by_fault_and_as_a_whole(store: Store) -> None:
    campaign = Campaign(results=[good("primary_dead", 4.0), good("pool_exhausted", 2.5)], seconds=30.0)
    keep(store, campaign, every=True)
    kinds = [(each.kind, each.subject, each.passed) for each in exercises_of(store)]
    assert kinds == [
        ("component", "database_connection_failure/primary_dead", True),
        ("component", "database_connection_failure/pool_exhausted", True),
        ("full", "full", True),
    ]
    assert exercises_of(store)[0].detail["rto_seconds"] == 4.0
    assert set(latest_passed(store)) == {"component", "full"}
    assert first_recorded(store) == exercises_of(store)[0].at


def test_what_was_cut_off_says_nothing(store: Store) -> None:
    keep(store, Campaign(results=[good("primary_dead", None)], interrupted=True), every=True)
    assert exercises_of(store) == []


def test_a_failed_one_counts_as_a_try_and_not_as_passed(store: Store) -> None:
    keep(store, Campaign(results=[good("primary_dead", 16.0)]), every=True)
    assert [each.passed for each in exercises_of(store)] == [False, False]
    assert latest_passed(store) == {}


def test_only_the_latest_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store_exercises, "MOST_OF_A_SUBJECT", 3)
    drilled(store, "pool_exhausted", 9.0)
    drilled(store, "primary_dead", 1.0, 2.0, 3.0, 4.0, 5.0)
    kept = exercises_of(store)
    assert [each.detail["rto_seconds"] for each in kept] == [9.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("away", "word", "median"),
    [
        ((4.0,), "too few", 4.0),
        ((4.0,) * 10, "steady", 4.0),
        ((4.0,) * 5 + (8.0,) * 5, "slower by 100%", 8.0),
        ((8.0,) * 5 + (4.0,) * 5, "faster by 50%", 4.0),
        ((None,), "too few", None),
    ],
)
def test_the_trend_compares_the_latest_with_those_before(
    store: Store, away: tuple[float | None, ...], word: str, median: float | None
) -> None:
    drilled(store, "primary_dead", *away)
    (trend,) = trends(exercises_of(store))
    assert (trend.word, trend.median, trend.drills) == (word, median, len(away))
    assert len(trend.bars) == sum(each is not None for each in away)


def at(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_nothing_is_overdue_where_nothing_was_ever_asked_for() -> None:
    found = due(read_schedule(None), {}, None, NOW, explicit=False)
    assert [each.overdue for each in found] == [None] * 4
    assert not any(each.known for each in found)


def test_a_schedule_that_somebody_set_is_overdue_from_the_start() -> None:
    found = due(read_schedule({"region": "never"}), {}, None, NOW, explicit=True)
    assert [each.kind for each in found if each.overdue is not None] == ["component", "full", "rebuild"]


@pytest.mark.parametrize(("days", "overdue"), [(6.0, []), (8.0, ["component"]), (40.0, ["component", "full"])])
def test_weekly_and_monthly(days: float, overdue: list[str]) -> None:
    passed = {"component": at(days), "full": at(days)}
    found = due(DEFAULTS, passed, at(days), NOW, explicit=False)
    assert [each.kind for each in found if each.overdue is not None] == overdue


def test_what_never_took_place_is_counted_from_the_first_record() -> None:
    found = due(DEFAULTS, {"component": at(1), "full": at(1)}, at(100), NOW, explicit=False)
    assert [each.kind for each in found if each.overdue is not None] == ["region"]


@pytest.mark.parametrize("wrong", [{"daily": "1d"}, {"full": "often"}, "weekly"])
def test_a_schedule_that_is_none_is_named(wrong: object) -> None:
    with pytest.raises(BadInput, match="codeblue_drill_schedule"):
        read_schedule(wrong)


def test_the_command_shows_history_and_keeps_what_people_did(store: Store) -> None:
    drilled(store, "primary_dead", 4.0, 5.0)
    recorded = CliRunner().invoke(
        cli, ["drill", "record", "region", "--passed", "--rto", "25m", "--note", "to site B"], catch_exceptions=False
    )
    assert "region, passed" in recorded.output
    shown = CliRunner().invoke(cli, ["drill", "history"], catch_exceptions=False)
    assert "2/2 passed" in shown.output and "in time  region" in shown.output
    lines = CliRunner().invoke(cli, ["drill", "history", "--fault", "primary_dead", "--json"]).output.splitlines()
    messages = [json.loads(line) for line in lines]
    assert [each["message_type"] for each in messages] == [
        *["drill_record"] * 2,
        "drill_trend",
        *["drill_due"] * 4,
        "summary",
    ]
    assert messages[2]["rto_seconds"] == [4.0, 5.0]
    add_exercise(store, "rebuild", "rebuild", True, SOMEBODY, {"note": "password: hunter2hunter2"})
    assert "hunter2" not in json.dumps(exercises_of(store)[-1].detail)
