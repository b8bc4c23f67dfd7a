# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks Prometheus for metrics of services, everything at once, within one deadline.

Over the HTTP client of the checks: its sockets have hard deadlines, its bodies are bounded, and it is loaded already.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import (
    LARGEST_BODY,
    MISSING,
    CheckError,
    HttpChecker,
    Resolver,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_metrics import Prometheus
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import METRICS, SHARE, MetricSample

SOURCE = "prometheus"
# For all queries together, however many services there are.
TOTAL_SECONDS = 10.0
# What one window is made of; Prometheus itself refuses more than 11,000.
_MOST_VALUES = 200
_MOST_AT_ONCE = 20
_MOST_SERIES = 100
# Two rates are not of the very same moments; beyond this the query gives percent.
_HIGHEST_SHARE = 1.1


@dataclass(frozen=True)
class PrometheusAnswers:
    """What came back.

    :param problems: one line for each query that was not answered.
    """

    samples: tuple[MetricSample, ...] = ()
    problems: tuple[str, ...] = ()


class PrometheusReading:
    """Asks in a thread from the moment it is made; `answers` waits for it.

    :param sources: by service.
    :param now: Unix seconds, the end of the window.
    :param window: seconds before it; None asks for the values of now alone.
    """

    def __init__(self, sources: Mapping[str, Prometheus], now: float, window: float | None) -> None:
        self._sources = sources
        self._now = now
        self._window = window
        self._answers = PrometheusAnswers()
        self._thread = threading.Thread(target=self._work, daemon=True, name="prometheus")
        if sources:
            self._thread.start()

    def answers(self) -> PrometheusAnswers:
        """Wait for them, no longer than the deadline of all queries."""
        if self._sources:
            self._thread.join(TOTAL_SECONDS + 1.0)
            if self._thread.is_alive():
                return PrometheusAnswers(problems=(f"Prometheus gave no answers within {TOTAL_SECONDS:g} s",))
        return self._answers

    def _work(self) -> None:
        self._answers = asyncio.run(_read_all(self._sources, self._now, self._window))


async def _read_all(sources: Mapping[str, Prometheus], now: float, window: float | None) -> PrometheusAnswers:
    http = HttpChecker(Resolver())
    slots = asyncio.Semaphore(_MOST_AT_ONCE)
    samples: list[MetricSample] = []
    problems: list[str] = []

    async def read(target: str, source: Prometheus, metric: str) -> None:
        try:
            async with slots, asyncio.timeout(source.timeout):
                samples.extend(await _read(http, target, source, metric, now, window))
        except TimeoutError:
            problems.append(f"{target}: {metric}: Prometheus gave no answer within {source.timeout:g} s")
        except CheckError as error:
            problems.append(f"{target}: {metric}: {error.finding.detail} ({error.finding.error_class})")
        except (BadInput, _Unusable) as error:
            problems.append(f"{target}: {metric}: {error}")
        except Exception as error:  # noqa: BLE001
            # One query must not take the answers of the others away. Without the text, which could quote the token.
            problems.append(f"{target}: {metric}: the query itself failed: {type(error).__name__}")

    wanted = [(target, source, metric) for target, source in sources.items() for metric in source.queries]
    work = [asyncio.ensure_future(read(*each)) for each in wanted]
    _done, late = await asyncio.wait(work, timeout=TOTAL_SECONDS)
    for task in late:
        task.cancel()
    if late:
        problems.append(f"{len(late)} of {len(work)} queries to Prometheus were not answered in {TOTAL_SECONDS:g} s")
    for task in work:
        if task not in late:
            task.result()
    return PrometheusAnswers(tuple(samples), tuple(sorted(problems)))


class _Unusable(Exception):
    """An answer that says nothing about the metric."""


async def _read(
    http: HttpChecker, target: str, source: Prometheus, metric: str, now: float, window: float | None
) -> list[MetricSample]:
    """:raises CheckError: nobody answers. :raises _Unusable: the answer is of no use. :raises BadInput: no token."""
    if MISSING is not None:
        raise _Unusable(f"a package is missing on the controller: {MISSING.name}")
    query = source.queries[metric]
    if window is None:
        address = "query?" + urlencode({"query": query, "time": f"{now:.3f}"})
    else:
        step = max(min(source.step, window / 8), window / _MOST_VALUES, 0.001)
        address = "query_range?" + urlencode(
            {"query": query, "start": f"{now - window:.3f}", "end": f"{now:.3f}", "step": f"{step:.3f}"}
        )
    headers = {"authorization": f"Bearer {source.token.resolve()}"} if source.token is not None else {}
    check = HttpCheck(
        id=metric,
        timeout=source.timeout,
        max_response=None,
        url=f"{source.url}/api/v1/{address}",
        method="GET",
        headers=headers,
        json=None,
        status=(200,),
        body_has=None,
        ca_file=source.ca_file,
    )
    status, body = await http.answer(check)
    return [
        MetricSample(target, metric, value, at, SOURCE)
        for at, value in sorted(_highest(_data(status, body), METRICS[metric]).items())
    ]


def _data(status: int, body: bytes) -> Mapping[str, t.Any]:
    if len(body) >= LARGEST_BODY:
        raise _Unusable("Prometheus answers with more than 1 MB; let the query make one series of it")
    try:
        answer = json.loads(body)
    except ValueError:
        raise _Unusable(f"HTTP {status}, and the answer is not Prometheus'") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        kind = answer.get("errorType", "no reason given") if isinstance(answer, dict) else "no answer of Prometheus"
        raise _Unusable(f"HTTP {status}: Prometheus refuses the query ({str(kind)[:40]})")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise _Unusable("the answer holds no data")
    return data


def _highest(data: Mapping[str, t.Any], unit: str) -> dict[float, float]:
    """The highest value of all series at each moment; NaN, as of 0/0, is no value."""
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        series = [{"value": result}]
    elif kind in ("vector", "matrix") and isinstance(result, list):
        series = result
    else:
        raise _Unusable(f"the query gives a {str(kind)[:20]}, not numbers")
    if len(series) > _MOST_SERIES:
        raise _Unusable(f"the query gives {len(series)} series; let it make one of them, by max() or sum()")
    found: dict[float, float] = {}
    try:
        for each in series:
            for at, text in each.get("values") or [each["value"]]:
                value = float(text)
                if not math.isnan(value):
                    found[float(at)] = max(value, found.get(float(at), -math.inf))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _Unusable("the answer holds no numbers") from None
    if unit == SHARE and any(value > _HIGHEST_SHARE for value in found.values()):
        raise _Unusable("the query gives more than 1 for a share; 5 % is 0.05")
    return found
