"""The prober of the lab of hosts as a witness: requests as people make them, and numbered writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.drill.outages import (
    away_endpoints,
    away_seconds,
    away_text,
    complaints,
    lost_span,
    not_on_standby,
    put_outages,
    untouched,
    wait_back,
)
from codeblue.lab.faults import Fault
from codeblue.lab.injection import Injection
from codeblue.lab.measurement import Measurement, analyse, lost_sentinels
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.prober import Prober

if TYPE_CHECKING:
    from codeblue.drill.result import DrillResult
    from codeblue.lab import Lab

_PROBE_SECONDS = 600.0


class ProberWitness:
    """Asks ten times a second from a process of its own.

    :param scratch: where its samples go.
    """

    def __init__(self, lab: Lab, scratch: Path, fault: Fault) -> None:
        self._lab = lab
        self._fault = fault
        self._prober = Prober(lab, scratch / "samples.jsonl", _PROBE_SECONDS, fault.watches)

    def start(self) -> None:
        self._prober.start()

    def stop(self) -> None:
        self._prober.stop()

    def so_far(self) -> tuple[int, list[str]]:
        samples = self._prober.samples()
        return len(samples), complaints(samples)

    def wait_back(self, injection: Injection) -> None:
        wait_back(self._prober.samples, injection)

    def still_away(self, injection: Injection) -> list[str]:
        return away_endpoints(self._measurement(injection))

    def measure(self, injection: Injection, result: DrillResult) -> str:
        measurement = self._measurement(injection)
        put_outages(measurement, injection, result)
        result.rto_seconds = away_seconds(measurement)
        if missed := untouched(self._fault.hits, measurement):
            result.problems.append(f"the fault did not take {', '.join(missed)} away: nothing was proven")
        samples = self._prober.samples()
        try:
            primary = self._lab.parts.current_primary()
            with self._lab.parts.postgresql.connect(primary, DATABASE) as connection:
                lost = lost_sentinels(connection, [each.n for each in samples if each.ok and each.n is not None])
        except (CodeblueError, psycopg.Error) as error:
            result.problems.append(f"lost writes cannot be counted: {' '.join(str(error).split())}")
            return f"away: {away_text(result) or 'nothing'}"
        result.writes_lost = len(lost)
        result.rpo_seconds = lost_span(samples, lost, injection.struck_monotonic)
        result.writes_not_on_standby = len(not_on_standby(samples, injection))
        return _measured(result)

    def _measurement(self, injection: Injection) -> Measurement:
        return analyse(self._prober.samples(), since=injection.struck_monotonic)


def _measured(result: DrillResult) -> str:
    lost = "no acknowledged write lost" if not result.writes_lost else f"{result.writes_lost} acknowledged writes lost"
    if result.writes_not_on_standby:
        lost += f", {result.writes_not_on_standby} were not on the standby when it struck"
    return f"away: {away_text(result) or 'nothing'}; {lost}"
