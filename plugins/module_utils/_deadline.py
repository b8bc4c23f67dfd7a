# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A point in time that a piece of work may not go past."""

from __future__ import annotations

import time
import typing as t


class Deadline:
    """Counts down on the monotonic clock, which a stepped wall clock cannot move.

    :param seconds: from now on.
    :param clock: seconds as a float; given in tests.
    """

    def __init__(self, seconds: float, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._end = self._started + max(0.0, seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - self._clock())

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def expired(self) -> bool:
        """True once nothing is left."""
        return self.remaining() <= 0

    def within(self, seconds: float) -> Deadline:
        """The nearer one of this deadline and `seconds` from now."""
        return Deadline(min(seconds, self.remaining()), self._clock)

    def wait_until(self, condition: t.Callable[[], bool], interval: float = 0.02) -> bool:
        """Ask again every `interval` seconds until the condition holds; False when the time is over.

        The condition is asked at least once, also when nothing is left.
        """
        while True:
            if condition():
                return True
            left = self.remaining()
            if left <= 0:
                return False
            time.sleep(min(interval, left))
