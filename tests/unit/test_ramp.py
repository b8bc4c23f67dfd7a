"""The ramp: its steps, its gate and its clock, which is a fake one here."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ramp import (
    STEPS,
    GateClosed,
    Ramp,
    between,
    hold_step,
    read_steps,
    share_at,
)


class Clock:
    """Time passes only while somebody sleeps, and a little with each look."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "it would spin"
        self.slept.append(seconds)
        self.now += seconds


def gate_of(clock: Clock, answers: t.Sequence[str], takes: float = 0.01) -> t.Callable[[], str]:
    """Answers in this order, and the last one for ever."""
    asked = iter(answers)
    last = [""]

    def gate() -> str:
        clock.now += takes
        last[0] = next(asked, last[0])
        return last[0]

    return gate


def test_a_step_is_watched_for_its_whole_time() -> None:
    clock = Clock()
    held = hold_step(Ramp(hold=60.0, pause=5.0), 25, gate_of(clock, [""]), clock, clock.sleep)
    assert held.percent == 25 and 60.0 <= held.seconds < 66.0
    assert 12 <= held.looks <= 14


def test_a_gate_is_asked_twice_even_without_a_time() -> None:
    clock = Clock()
    assert hold_step(Ramp(hold=0.0, pause=1.0), 5, gate_of(clock, [""]), clock, clock.sleep).looks == 2


def test_one_failed_look_is_looked_at_again_and_two_close_the_gate() -> None:
    clock = Clock()
    held = hold_step(Ramp(hold=1.0, pause=0.5), 50, gate_of(clock, ["", "slow", ""]), clock, clock.sleep)
    assert held.looks >= 4
    with pytest.raises(GateClosed) as caught:
        hold_step(Ramp(hold=60.0, pause=5.0), 50, gate_of(clock, ["", "slow", "slow"]), clock, clock.sleep)
    assert (caught.value.percent, caught.value.reason) == (50, "slow")
    assert clock.slept[-1] <= 0.1, "a failure is confirmed at once"


def test_failures_that_alternate_end_with_the_hold_and_not_never() -> None:
    clock = Clock()
    answers = ["slow", ""] * 200
    held = hold_step(Ramp(hold=5.0, pause=1.0), 5, gate_of(clock, answers), clock, clock.sleep)
    assert held.seconds < 8.0


def test_a_failure_in_the_last_look_is_not_passed() -> None:
    clock = Clock()
    with pytest.raises(GateClosed):
        hold_step(Ramp(hold=1.0, pause=1.0), 100, gate_of(clock, ["", "down"], 0.6), clock, clock.sleep)


@pytest.mark.parametrize(
    "steps", [(), (5, 25), (25, 5, 100), (5, 5, 100), (0, 100), (5, 101), (-5, 100)], ids=lambda steps: str(steps)
)
def test_what_is_no_ramp_is_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="is no ramp"):
        Ramp(steps)


def test_steps_are_read_from_a_task() -> None:
    assert read_steps(["5", 25, 50, 100]) == STEPS
    with pytest.raises(BadInput, match="no whole numbers"):
        read_steps(["five"])
    with pytest.raises(BadInput, match="negative"):
        Ramp(hold=-1.0)


def test_weights_move_from_any_start_to_any_end() -> None:
    assert [between(0, 100, percent) for percent in STEPS] == [5, 25, 50, 100]
    assert [between(100, 0, percent) for percent in STEPS] == [95, 75, 50, 0]
    # Out of ten there is no half of one: the first step is the smallest that does something.
    assert [between(0, 10, percent) for percent in STEPS] == [1, 2, 5, 10]
    assert [between(1, 1, percent) for percent in STEPS] == [1, 1, 1, 1]


def test_weights_never_go_back_nor_past_the_end() -> None:
    generator = random.Random(7)
    for _ in range(2000):
        start, end = generator.randrange(257), generator.randrange(257)
        values = [between(start, end, percent) for percent in STEPS]
        assert values[-1] == end
        assert values == sorted(values, reverse=end < start), (start, end, values)
        assert all(min(start, end) <= value <= max(start, end) for value in values)


def test_shares_are_parts_of_what_was_normal() -> None:
    assert [share_at(percent, 100.0) for percent in STEPS] == [5.0, 25.0, 50.0, 100.0]
    assert [share_at(percent, 30.0) for percent in STEPS] == [1.5, 7.5, 15.0, 30.0]
