"""What samples from outside say about one drill."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from codeblue.lab.injection import Injection
from codeblue.lab.measurement import Measurement, Outage, Sample, analyse
from codeblue.report.parts import Away

if TYPE_CHECKING:
    from codeblue.drill.result import DrillResult

# The clinic is watched for so long after its return: long enough for one that does not last. The run validates
# meanwhile, so most of it is over when the run ends; its end itself is watched for a moment too.
_WATCH_SECONDS = 1.0
_LEAST_WATCH_SECONDS = 0.3
_RETURN_SECONDS = 10.0
_POLL_SECONDS = 0.1
_DYING_SECONDS = 0.5
#: What is wrong with an answer that is right and came late.
LATE = "slow"
_LATE_IN_A_ROW = 3


def wait_back(samples: Callable[[], Sequence[Sample]], injection: Injection) -> None:
    """Until every endpoint is back for good; a moment longer, because a return may not last."""
    ended = time.monotonic()
    while True:
        now = time.monotonic()
        measurement = analyse(samples(), since=injection.struck_monotonic)
        back = max([each.ended for of in measurement.outages.values() for each in of if each.ended], default=ended)
        if measurement.recovered and now >= max(back + _WATCH_SECONDS, ended + _LEAST_WATCH_SECONDS):
            return
        if now >= ended + _RETURN_SECONDS:
            return
        time.sleep(_POLL_SECONDS)


def put_outages(measurement: Measurement, injection: Injection, result: DrillResult) -> None:
    """When each endpoint was away, into the result."""
    struck = injection.struck_monotonic
    result.outages = {endpoint: measurement.outage_seconds(endpoint) for endpoint in sorted(measurement.outages)}
    result.away = [
        Away(each.endpoint, each.began - struck, None if each.ended is None else each.ended - struck)
        for endpoint in sorted(measurement.outages)
        for each in measurement.outages[endpoint]
    ]


def away_seconds(measurement: Measurement) -> float | None:
    """From the first failed probe of any endpoint to the moment when the last one was back for good.

    :returns: None while an endpoint is away; 0.0 when nothing ever failed.
    """
    outages: list[Outage] = [outage for each in measurement.outages.values() for outage in each]
    ends = [outage.ended for outage in outages]
    if not measurement.recovered or None in ends:
        return None
    if not outages:
        return 0.0
    return max(end for end in ends if end is not None) - min(outage.began for outage in outages)


def back_seconds(measurement: Measurement, injection: Injection) -> float | None:
    """From the fault until the last endpoint was good again for good; None while one is not."""
    ends = [each.ended for of in measurement.outages.values() for each in of]
    if not measurement.recovered or None in ends:
        return None
    return (
        max((end for end in ends if end is not None), default=injection.struck_monotonic) - injection.struck_monotonic
    )


def without_single_late_ones(samples: Sequence[Sample]) -> list[Sample]:
    """The samples, those that are late among good ones taken for good: criteria too want three late ones in a row."""
    kept: list[Sample] = []
    for endpoint in dict.fromkeys(each.endpoint for each in samples):
        for wrong, group in itertools.groupby((each for each in samples if each.endpoint == endpoint), _is_wrong):
            found = list(group)
            few = wrong and len(found) < _LATE_IN_A_ROW and all(each.detail == LATE for each in found)
            kept += [replace(each, ok=True, detail="") for each in found] if few else found
    return sorted(kept, key=lambda each: each.started)


def away_endpoints(measurement: Measurement) -> list[str]:
    """Those that have not come back."""
    if measurement.recovered:
        return []
    away = [name for name in sorted(measurement.outages) if measurement.outage_seconds(name) is None]
    return away or ["everything: nothing was asked"]


def untouched(hits: Sequence[str], measurement: Measurement) -> list[str]:
    """Of what a fault is to take away, what never failed."""
    return sorted(name for name in set(hits) & set(measurement.outages) if not measurement.outages[name])


def not_on_standby(samples: Sequence[Sample], injection: Injection) -> list[int]:
    """Writes that the dying primary acknowledged and its standby had not flushed; empty for other faults.

    A primary that is killed may acknowledge a last write in the very moment in which its sender is gone already.
    """
    last = injection.facts.get("standby_last_sentinel")
    if last is None:
        return []
    # Nothing takes a write within this time after the fault but the primary that is dying.
    until = injection.struck_monotonic + _DYING_SECONDS
    return [each.n for each in samples if each.ok and each.n is not None and each.n > last and each.started < until]


def lost_span(samples: Sequence[Sample], lost: tuple[int, ...], struck: float) -> float:
    """How old the oldest lost write was when the fault struck, in seconds; 0.0 when none was lost."""
    numbers = set(lost)
    moments = [sample.finished for sample in samples if sample.n in numbers]
    return max(0.0, struck - min(moments)) if moments else 0.0


def complaints(samples: Sequence[Sample]) -> list[str]:
    """What failed, in words."""
    failed = [sample for sample in samples if not sample.ok]
    return [f"{len(failed)} probes fail, the first of {failed[0].endpoint} ({failed[0].detail})"] if failed else []


def away_text(result: DrillResult) -> str:
    """The endpoints that were away, and for how long."""
    return ", ".join(
        f"{name} {'still away' if seconds is None else f'{seconds:.1f} s'}"
        for name, seconds in result.outages.items()
        if seconds != 0.0
    )


def _is_wrong(sample: Sample) -> bool:
    return not sample.ok
