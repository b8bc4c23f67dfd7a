# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traffic given back in steps, with a gate at each: the same steps for a flag's share and for a gateway's weights.

Nothing here touches anything: what sets a step, what looks, and the clock are given.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

#: Percent of the way, as operators of gradual roll-outs have them; each step is a few times the one before.
STEPS = (5, 25, 50, 100)
#: Production holds each step for so many seconds: twice the 30 s between two looks of a shallow check.
HOLD_SECONDS = 60.0
# One failed look can be the look; two in a row are the service.
_CONSECUTIVE = 2
# A gate that was asked once has seen one moment.
_LEAST_LOOKS = 2

#: Asks how the service is; an empty text when it may go on.
Gate = Callable[[], str]


@dataclass(frozen=True)
class Ramp:
    """How traffic is given.

    :param steps: percent of the way, each larger than the one before, the last one 100.
    :param hold: seconds that each step is watched before the next.
    :param pause: seconds between two looks at the gate.
    """

    steps: tuple[int, ...] = STEPS
    hold: float = HOLD_SECONDS
    pause: float = 5.0

    def __post_init__(self) -> None:
        ordered = all(earlier < later for earlier, later in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not ordered or self.steps[0] < 1 or self.steps[-1] != 100:
            raise BadInput(
                f"steps: {list(self.steps)} is no ramp",
                "use rising whole numbers that end with 100, as [5, 25, 50, 100]",
            )
        if self.hold < 0 or self.pause <= 0:
            raise BadInput("hold: must not be negative")


@dataclass(frozen=True)
class StepHeld:
    """One step that passed its gate.

    :param looks: how often the gate was asked.
    """

    percent: int
    looks: int
    seconds: float


class GateClosed(CodeblueError):
    """The gate said no.

    :param percent: at which step.
    :param reason: what it said.
    """

    def __init__(self, percent: int, reason: str) -> None:
        super().__init__(f"{reason} at {percent} %", "see what the instances and their logs say")
        self.percent = percent
        self.reason = reason


def hold_step(
    ramp: Ramp, percent: int, gate: Gate, clock: Callable[[], float], sleep: Callable[[float], None]
) -> StepHeld:
    """Watch one step for its time.

    :raises GateClosed: the gate said no twice in a row; a single failure only makes the watch longer by one look.
    """
    began = clock()
    looks = failures = 0
    while True:
        reason = gate()
        looks += 1
        failures = failures + 1 if reason else 0
        if failures >= _CONSECUTIVE:
            raise GateClosed(percent, reason)
        if not failures and looks >= _LEAST_LOOKS and clock() - began >= ramp.hold:
            return StepHeld(percent, looks, clock() - began)
        left = ramp.hold - (clock() - began)
        sleep(min(ramp.pause, left) if left > 0 and not failures else min(ramp.pause, 0.1))


def between(start: int, end: int, percent: int) -> int:
    """The value at so many percent of the way; it reaches the end at 100 and leaves the start with the first step."""
    if percent >= 100 or start == end:
        return end
    moved = round((end - start) * percent / 100)
    least = 1 if end > start else -1
    return start + (moved or least)


def share_at(percent: int, normal: float) -> float:
    """The share of requests at so many percent of the way to what is normal for the feature."""
    return round(normal * percent / 100, 2)


def read_steps(value: Sequence[t.Any]) -> tuple[int, ...]:
    """Whole numbers, from a list of a task.

    :raises BadInput: one is none.
    """
    try:
        return tuple(int(each) for each in value)
    except (TypeError, ValueError):
        raise BadInput(f"steps: {list(value)} are no whole numbers", "write them like [5, 25, 50, 100]") from None
