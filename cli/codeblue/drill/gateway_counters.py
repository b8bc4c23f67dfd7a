"""The counters of the lab's gateway while a drill goes on, over its socket: the machine that it runs on is this one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import GatewayQuestion, questions
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import CounterReading, MetricSample

# Four readings in the shortest window of the lab, which is a second. One takes a millisecond.
_PACE_SECONDS = 0.25
_ANSWER_SECONDS = 1.0
# Ten minutes, on a machine that is busy with something else too.
_MOST_READINGS = 2_400


class GatewayCounters:
    """Reads from a thread of its own, from `start` to `stop`.

    A gateway that does not answer is silent here as anywhere: that it is gone is for the checks to say.
    """

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._questions = [each for each in questions(services) if isinstance(each, GatewayQuestion)]
        self._readings: deque[tuple[list[CounterReading], list[MetricSample]]] = deque(maxlen=_MOST_READINGS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gateway counters", daemon=True)

    def start(self) -> None:
        """Begin to read, where a service says that its gateway is to be read."""
        if self._questions and not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_ANSWER_SECONDS + _PACE_SECONDS)

    def readings(self) -> tuple[list[CounterReading], list[MetricSample]]:
        """All that was read, oldest first."""
        found = list(self._readings)
        counters = [each for pair in found for each in pair[0]]
        return counters, [each for pair in found for each in pair[1]]

    def _work(self) -> None:
        while not self._stopped.is_set():
            for question in self._questions:
                arguments, now = question.call.arguments, time.time()
                try:
                    backends = HaproxyRuntime(arguments["socket"], Deadline(_ANSWER_SECONDS)).backends()
                except CodeblueError:
                    continue
                result = {"backends": {name: vars(found) for name, found in backends.items()}}
                self._readings.append((question.counters(result, now), question.samples(result, now)))
            self._stopped.wait(_PACE_SECONDS)
