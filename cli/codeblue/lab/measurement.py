"""What the prober's samples say: how long each endpoint was away, and which acknowledged writes are gone.

Pure functions but for `lost_sentinels`, which asks the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

# "The first of N stable successes": at ten probes a second, five are half a second without a failure.
STABLE_SUCCESSES = 5


@dataclass(frozen=True)
class Sample:
    """One probe.

    :param endpoint: the service, as in the inventory; sentinels are written to `patient_db`.
    :param started: seconds of CLOCK_MONOTONIC, the same for all processes of a machine.
    :param finished: seconds of CLOCK_MONOTONIC.
    :param wall: Unix seconds at the start.
    :param ok: answered as it should; for a sentinel: its commit was acknowledged.
    :param detail: a status or the class of an error, short.
    :param n: the sentinel's number, when one was sent.
    """

    endpoint: str
    started: float
    finished: float
    wall: float
    ok: bool
    detail: str = ""
    n: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(line: str) -> Sample:
        return Sample(**json.loads(line))


@dataclass(frozen=True)
class Outage:
    """A time in which an endpoint did not work reliably.

    :param began: when the first failed probe was started.
    :param ended: when the first of the stable successes was answered; None when it never was.
    :param failed: how many probes failed.
    """

    endpoint: str
    began: float
    ended: float | None
    failed: int

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.ended - self.began


@dataclass(frozen=True)
class Measurement:
    """All outages of an incident.

    :param outages: by endpoint, oldest first; endpoints that never failed have none.
    :param rto_seconds: None while an endpoint is still away; 0.0 when nothing ever failed.
    :param acknowledged: numbers of the sentinels whose commit was acknowledged.
    :param in_doubt: numbers that were sent and never answered; they may be there or not.
    """

    outages: dict[str, tuple[Outage, ...]]
    rto_seconds: float | None
    acknowledged: tuple[int, ...]
    in_doubt: tuple[int, ...]

    @property
    def recovered(self) -> bool:
        return self.rto_seconds is not None

    def outage_seconds(self, endpoint: str) -> float | None:
        """From the endpoint's first failure to its last return; None while it is away, 0.0 if it never was."""
        return _span(self.outages.get(endpoint, ()))


def find_outages(samples: Iterable[Sample], stable: int = STABLE_SUCCESSES) -> tuple[Outage, ...]:
    """The outages of one endpoint, oldest first.

    A success counts as a return only when the `stable - 1` next ones succeed too; until then it is the same outage.
    Samples are ordered by their start. Begin and end are the outer edges: start of the failed, end of the good probe.
    """
    if stable < 1:
        raise ValueError(f"stable must be at least 1, not {stable}")
    outages: list[Outage] = []
    began: Sample | None = None
    failed = 0
    successes: list[Sample] = []
    for sample in sorted(samples, key=lambda each: each.started):
        if not sample.ok:
            began = began or sample
            failed += 1
            successes = []
        elif began is not None:
            successes.append(sample)
            if len(successes) == stable:
                outages.append(Outage(began.endpoint, began.started, successes[0].finished, failed))
                began, failed, successes = None, 0, []
    if began is not None:
        outages.append(Outage(began.endpoint, began.started, None, failed))
    return tuple(outages)


def analyse(
    samples: Iterable[Sample],
    since: float | None = None,
    until: float | None = None,
    stable: int = STABLE_SUCCESSES,
) -> Measurement:
    """Measure an incident.

    :param since: CLOCK_MONOTONIC; probes that ended before it are not looked at.
    :param until: CLOCK_MONOTONIC; probes that started after it are not looked at.
    :param stable: how many successes in a row make a return.
    """
    chosen = [
        sample
        for sample in samples
        if (since is None or sample.finished >= since) and (until is None or sample.started <= until)
    ]
    by_endpoint: dict[str, list[Sample]] = {}
    for sample in chosen:
        by_endpoint.setdefault(sample.endpoint, []).append(sample)
    outages = {endpoint: find_outages(each, stable) for endpoint, each in by_endpoint.items()}
    spans = [_span(each) for each in outages.values()]
    known = [span for span in spans if span is not None]
    return Measurement(
        outages=outages,
        # Without a single sample nothing is known, least of all that all is well.
        rto_seconds=max(known) if known and len(known) == len(spans) else None,
        acknowledged=tuple(sample.n for sample in chosen if sample.n is not None and sample.ok),
        in_doubt=tuple(sample.n for sample in chosen if sample.n is not None and not sample.ok),
    )


def lost_sentinels(connection: psycopg.Connection, acknowledged: Sequence[int], batch: int = 10_000) -> tuple[int, ...]:
    """Acknowledged numbers that are not in the database.

    :param connection: to the database `clinic` on the member that is primary now.
    """
    lost: list[int] = []
    for first in range(0, len(acknowledged), batch):
        numbers = list(acknowledged[first : first + batch])
        rows = connection.execute(
            "select asked.n from unnest(%s::bigint[]) asked(n)"
            " where not exists (select from codeblue_sentinel kept where kept.n = asked.n) order by asked.n",
            (numbers,),
        )
        lost += [row[0] for row in rows]
    return tuple(lost)


def count_lost(connection: psycopg.Connection, acknowledged: Sequence[int]) -> int:
    """How many acknowledged writes are gone."""
    return len(lost_sentinels(connection, acknowledged))


def _span(outages: Sequence[Outage]) -> float | None:
    if not outages:
        return 0.0
    ends = [outage.ended for outage in outages]
    if any(end is None for end in ends):
        return None
    return max(end for end in ends if end is not None) - outages[0].began
