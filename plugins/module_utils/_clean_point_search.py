# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where in the log the data were clean for the last time: which points to ask next. Pure.

A copy goes forward in the log cheaply and never backward, so this is no bisection with one question at a time: each
pass is one restored copy that goes forward through a few points, evenly spread. With m points in a pass the interval
shrinks to its (m+1)th part, and the number of restores stays the number of passes.

A pass goes on past damage: the log may hold an earlier one that was mended since, and what was entered after that is
not given up. What counts is the last clean point before the damage that is there now.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

CLEAN = "clean"
DAMAGED = "damaged"
# Nobody could look, because replay holds a lock of the very transaction that is about to commit.
UNKNOWN = "unknown"

DEFAULT_POINTS_PER_PASS = 8


class Point(t.NamedTuple):
    """A state of the database: all records of the log before the position, or up to and with the one there."""

    position: int
    inclusive: bool


def points_around(positions: t.Iterable[int], end: int) -> t.List[Point]:
    """Before and after each commit, and the end of the log, in order."""
    found = {Point(position, inclusive) for position in positions for inclusive in (False, True)}
    return [*sorted(point for point in found if point.position < end), Point(end, False)]


@dataclass
class Search:
    """What is known about the points so far.

    :param points: in the order of the log.
    """

    points: t.Sequence[Point]
    per_pass: int = DEFAULT_POINTS_PER_PASS
    states: t.Dict[int, str] = field(default_factory=dict)

    def note(self, index: int, state: str) -> None:
        """Keep what a probe found."""
        self.states[index] = state

    @property
    def low(self) -> int:
        """The last point that is known to be clean; -1 stands for the beginning of the pass itself."""
        return max((index for index, state in self.states.items() if state == CLEAN), default=-1)

    @property
    def high(self) -> int:
        """The first point that is known to be damaged; one past the last when there is none."""
        low = self.low
        return min(
            (index for index, state in self.states.items() if state == DAMAGED and index > low),
            default=len(self.points),
        )

    def next_pass(self) -> t.List[int]:
        """The points to ask in the next pass, in order; empty when nothing lies between clean and damaged."""
        open_ = [index for index in range(self.low + 1, self.high) if index not in self.states]
        if len(open_) <= self.per_pass:
            return open_
        step = (len(open_) + 1) / (self.per_pass + 1)
        chosen = {open_[min(len(open_) - 1, int(step * (number + 1)) - 1)] for number in range(self.per_pass)}
        if self.high == len(self.points):
            # Whether the log holds the damage at all: without this a pass that finds none would teach little.
            chosen.add(open_[-1])
        return sorted(chosen)

    def best(self) -> t.Optional[int]:
        """The latest point that may be clean: the one before the damage, also when nobody could look at it.

        None when no point is known to be clean and none is left open.
        """
        index = self.high - 1
        return index if index >= 0 and self.states.get(index) != DAMAGED else None
