"""A miss of the objective is said as early as earlier runs allow, and once."""

from __future__ import annotations

from codeblue.output.messages import Forecast
from codeblue.runner.forecast import BudgetWatch, EarlierRun, Experience

EARLIER = [
    EarlierRun(seconds, {"diagnose": 2.0, "failover": seconds - 3.0, "validate": seconds - 0.5})
    for seconds in (18.0, 20.0, 40.0)
]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(rto: float, runs: list[EarlierRun]) -> tuple[BudgetWatch, Clock, list[Forecast]]:
    clock = Clock()
    told: list[Forecast] = []
    return BudgetWatch(rto, Experience.of(runs), told.append, clock), clock, told


def test_nothing_is_said_while_it_will_be_in_time() -> None:
    watch, clock, told = watched(30.0, EARLIER)
    for clock.now in (0.0, 5.0, 19.0, 29.0):
        watch.look()
    assert told == []


def test_a_miss_is_said_at_once_when_it_always_takes_longer() -> None:
    watch, _clock, told = watched(15.0, EARLIER)
    watch.look()
    watch.look()
    assert [(each.state, each.seconds) for each in told] == [("will_miss", 20.0)]
    assert "by 3 runs before" in told[0].text


def test_a_late_stage_moves_the_forecast() -> None:
    watch, clock, told = watched(30.0, EARLIER)
    # After the diagnosis 18 s are usual; it ended 14 s later than it does.
    clock.now = 16.0
    watch.stage_ended("diagnose")
    assert watch.expected() == 34.0
    watch.look()
    assert [each.state for each in told] == ["will_miss"]
    # It went faster from there on.
    clock.now = 20.0
    watch.stage_ended("failover")
    assert watch.expected() == 23.0


def test_what_is_missed_is_said_whatever_is_known() -> None:
    watch, clock, told = watched(30.0, [])
    clock.now = 29.9
    watch.look()
    assert told == []
    for clock.now in (30.1, 31.0):
        watch.look()
    assert [(each.state, each.rto_seconds) for each in told] == [("missed", 30.0)]


def test_two_runs_are_no_experience() -> None:
    assert Experience.of(EARLIER[:2]).seconds is None


def test_the_thread_ends_with_the_run() -> None:
    watch, _clock, _told = watched(30.0, EARLIER)
    watch.start()
    watch.end()
    assert watch._thread is not None and not watch._thread.is_alive()
