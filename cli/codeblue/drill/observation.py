"""Asks all checks while a drill goes on, and judges them for all cards, without keeping the recovery waiting.

One pass of checks serves every card. The run begins as soon as a criterion of the drill's own card fires; the other
answers of the pass come in meanwhile, and count when they were there before the run changed anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import CriterionResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import evaluate_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import (
    SURVEY_SECONDS,
    Survey,
    judge,
    watched,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import first_answers
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import WindowEvidence

from codeblue.drill.gateway_counters import GatewayCounters

_POLL_SECONDS = 0.1
# Some hundred passes of a drill that nothing detects need not be kept; a streak is three answers long.
_MOST_KEPT = 2_000


class Observer:
    """Observes the clinic from a thread of its own, from `start` to `stop`.

    :param cards: all of them, by id.
    :param own: the id of the card whose criteria are waited for.
    """

    def __init__(self, cards: Mapping[str, Card], own: str, services: Mapping[str, Service]) -> None:
        self._cards = cards
        self._services = services
        self._own = cards[own]
        self._own_services = watched(self._own, services)
        self._plan = plan_checks({name: each.checks for name, each in services.items()}, "deep", signals=True)
        self._observations: list[CheckResult] = []
        # For criteria over windows: of each pass the first answer of each check, and the gateway's counters.
        self._looks: list[CheckResult] = []
        self._gateways = GatewayCounters(services)
        self._results: list[CriterionResult] = []
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._began = time.monotonic()
        # A daemon: what is left of it when the command ends is a socket that waits for its timeout.
        self._thread = threading.Thread(target=self._work, name="observer", daemon=True)

    def listen(self) -> None:
        """Begin to read the gateway's counters: what people's requests came to before the fault belongs to it."""
        self._gateways.start()

    def start(self) -> None:
        """Begin to ask."""
        self._began = time.monotonic()
        self._thread.start()

    def wait_fired(self, seconds: float) -> list[str]:
        """The criteria of the own card that fired first; none when none does within that time."""
        self._news.wait(seconds)
        if self._error is not None:
            raise self._error
        return [result.id for result in self._results if result.fired]

    def stop(self) -> None:
        """Ask nothing more. What is under way is waited for, as long as a check may take."""
        self._stopped.set()
        self._gateways.stop()
        if self._thread.is_alive():
            self._thread.join(SURVEY_SECONDS)

    def survey(self, until: float) -> Survey:
        """What all cards say about the answers that were there at a moment.

        :param until: Unix seconds, usually those of the first change.
        """
        seconds = time.monotonic() - self._began
        # When nobody asked any more, time goes on without making what was answered stale.
        last = max((each.at + each.seconds for each in self._observations), default=until)
        counters, samples = self._gateways.readings()
        evidence = WindowEvidence(
            checks=tuple(self._looks),
            samples=tuple(samples),
            counters=tuple(each for each in counters if each.at <= until),
            metrics_until=until,
        )
        moment = min(until, last)
        return judge(self._cards, self._services, self._observations, moment, len(self._plan), seconds, evidence)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                self._pass()
                if self._news.is_set():
                    return
                self._stopped.wait(_POLL_SECONDS)
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            self._error = error
            self._news.set()

    def _pass(self) -> None:
        earlier = self._observations[-_MOST_KEPT:]

        def enough(seen: Sequence[CheckResult]) -> bool:
            self._observations = [*earlier, *seen]
            if not self._news.is_set():
                self._look()
            return self._stopped.is_set()

        seen = confirm(self._plan, deadline=SURVEY_SECONDS, enough=enough).observations
        self._observations = [*earlier, *seen]
        self._looks = [*self._looks, *first_answers(seen)][-_MOST_KEPT:]

    def _look(self) -> None:
        results = evaluate_card(self._own, self._own_services, self._observations, time.time())
        if any(result.fired for result in results):
            self._results = results
            self._news.set()
