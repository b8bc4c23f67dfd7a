"""Whether a run will keep its objective, by how long its stages took in earlier runs; a miss is said early."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codeblue.output.messages import Forecast

_TICK_SECONDS = 0.5
# Fewer runs than this say nothing about the next one.
_FEWEST_RUNS = 3


@dataclass(frozen=True)
class EarlierRun:
    """An earlier run that ended well.

    :param seconds: from its opening to its closing.
    :param stage_ends: stage to the seconds after the opening at which its last step ended.
    """

    seconds: float
    stage_ends: Mapping[str, float]


@dataclass(frozen=True)
class Experience:
    """What earlier runs of a runbook took.

    :param seconds: the median of the whole.
    :param remaining: stage to the median of what came after it.
    """

    seconds: float | None
    remaining: Mapping[str, float]
    runs: int

    @staticmethod
    def of(runs: Sequence[EarlierRun]) -> Experience:
        if len(runs) < _FEWEST_RUNS:
            return Experience(None, {}, len(runs))
        stages = {stage for run in runs for stage in run.stage_ends}
        remaining = {
            stage: statistics.median(run.seconds - run.stage_ends[stage] for run in runs if stage in run.stage_ends)
            for stage in stages
        }
        return Experience(statistics.median(run.seconds for run in runs), remaining, len(runs))


class BudgetWatch:
    """Says once that the objective will be missed, as soon as that is to be expected, and once that it was missed.

    :param tell: is given the message; from a thread of its own.
    :param clock: seconds since the start of the run; given in tests.
    """

    def __init__(
        self, rto: float, experience: Experience, tell: Callable[[Forecast], None], clock: Callable[[], float]
    ) -> None:
        self._rto = rto
        self._experience = experience
        self._tell = tell
        self._clock = clock
        self._stage: tuple[str, float] | None = None
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look at the clock from now on."""
        self._thread = threading.Thread(target=self._run, name="budget", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The run is over."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(2 * _TICK_SECONDS)

    def stage_ended(self, stage: str) -> None:
        """A step of the stage has ended."""
        with self._lock:
            self._stage = (stage, self._clock())

    def expected(self) -> float | None:
        """Seconds after the start at which the run will be over; None when nothing tells."""
        now = self._clock()
        with self._lock:
            stage = self._stage
        if stage is not None and stage[0] in self._experience.remaining:
            return max(now, stage[1] + self._experience.remaining[stage[0]])
        return None if self._experience.seconds is None else max(now, self._experience.seconds)

    def look(self) -> None:
        """Say what is to be said now."""
        now, expected = self._clock(), self.expected()
        if now > self._rto:
            self._say("missed", now, f"the objective of {self._rto:g} s is missed; the run goes on")
        elif expected is not None and expected > self._rto:
            text = (
                f"this will take about {expected:.0f} s and miss the objective of {self._rto:g} s "
                f"(by {self._experience.runs} runs before): tell those who wait"
            )
            self._say("will_miss", expected, text)

    def _say(self, what: str, seconds: float, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._tell(Forecast(what, round(seconds, 1), self._rto, text))

    def _run(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            self.look()


def since(started_at: float) -> Callable[[], float]:
    """A clock that began at a Unix time."""
    return lambda: time.time() - started_at
