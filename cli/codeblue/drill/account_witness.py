"""Looks at the lab on AWS from outside, by the names that people use. What answers there is simulated.

So its figures are not how long people waited. What they tell is when the settings of the account were such that every
service would have been reached and would have answered.
"""

from __future__ import annotations

import threading
import time
import typing as t

from codeblue.drill.outages import (
    LATE,
    away_endpoints,
    away_text,
    back_seconds,
    complaints,
    put_outages,
    untouched,
    wait_back,
    without_single_late_ones,
)
from codeblue.lab.aws.outside import ANSWER_TIME, ASKED, SECONDS, Outside
from codeblue.lab.injection import Injection
from codeblue.lab.measurement import Measurement, Sample, analyse

if t.TYPE_CHECKING:
    from codeblue.drill.result import DrillResult

_PERIOD_SECONDS = 0.2
_FIRST_SECONDS = 15.0
# Ten minutes of seven services.
_MOST_SAMPLES = 30_000


class AccountWitness:
    """Asks from a thread for each service.

    :param hits: what the fault is to take away.
    :param signals: by which it is seen, of the first service that it hits: they have to be clear for that to be good.
    """

    def __init__(self, outside: Outside, hits: tuple[str, ...], signals: tuple[str, ...] = ()) -> None:
        self._outside = outside
        self._hits = hits
        self._signals = signals
        self._samples: list[Sample] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(name,), daemon=True) for name in ASKED]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + _FIRST_SECONDS
        while len({each.endpoint for each in self._samples}) < len(ASKED) and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(SECONDS + _PERIOD_SECONDS)

    def so_far(self) -> tuple[int, list[str]]:
        samples = without_single_late_ones(list(self._samples))
        return len(samples), complaints(samples)

    def wait_back(self, injection: Injection) -> None:
        wait_back(lambda: list(self._samples), injection)

    def still_away(self, injection: Injection) -> list[str]:
        return away_endpoints(self._of(injection))

    def measure(self, injection: Injection, result: DrillResult) -> str:
        seen = self._of(injection)
        result.workload_back_seconds = back_seconds(seen, injection)
        put_outages(seen, injection, result)
        if missed := untouched(self._hits[:1] if self._signals else self._hits, seen):
            result.problems.append(f"the fault did not take {', '.join(missed)} away: nothing was proven")
        return f"not to be reached, or not well: {away_text(result) or 'nothing'}"

    def _of(self, injection: Injection) -> Measurement:
        return analyse(without_single_late_ones(list(self._samples)), since=injection.struck_monotonic)

    def _wrong(self, name: str) -> str | None:
        wrong = self._outside.wrong(name)
        if wrong is not None or name != self._hits[0]:
            return wrong
        found = next((each for each in self._signals if self._outside.not_clear(each, name)), None)
        return LATE if found == ANSWER_TIME else found

    def _watch(self, name: str) -> None:
        while not self._stopped.is_set():
            started, wall = time.monotonic(), time.time()
            wrong = self._wrong(name)
            if len(self._samples) < _MOST_SAMPLES:
                self._samples.append(Sample(name, started, time.monotonic(), wall, wrong is None, wrong or ""))
            self._stopped.wait(max(0.0, started + _PERIOD_SECONDS - time.monotonic()))
