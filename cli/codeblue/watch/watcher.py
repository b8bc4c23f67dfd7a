"""Looks at all services at an even pace, keeps what is seen, and says what begins to fire and what falls silent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import WindowProfile, longest_window
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import profile_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import (
    SURVEY_SECONDS,
    Survey,
    judge,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._metric_reading import MetricReading, Start
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._window_evidence import keep_look, kept_evidence

from codeblue.drill.interruption import Interruptions

# Between looks at which failures in a row still are in a row; the cards' own pace is 30 s.
PACE = 30.0
LONGEST_PACE = 60.0
# A streak is three looks long, and the reading of a counter from before a window belongs to it.
_WINDOWS_KEPT = 2.0
# About 100 MB. More looks at fewer checks, or fewer looks at more.
_MOST_KEPT = 200_000


@dataclass(frozen=True)
class Firing:
    """A runbook whose criteria fire.

    :param criteria: with their evidence.
    """

    runbook: str
    criteria: tuple[str, ...]
    evidence: str


@dataclass(frozen=True)
class Change:
    """What is new after one look.

    :param at: Unix seconds.
    :param begins: runbooks of which a criterion fires that did not before.
    :param silent: runbooks of which none fires any more.
    :param first: the runbook to begin with, None when nothing fires.
    :param reason: why that one.
    :param problems: what cannot be read since this look.
    """

    at: float
    begins: tuple[Firing, ...]
    silent: tuple[str, ...]
    first: str | None
    reason: str
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.begins or self.silent or self.problems)


class Watcher:
    """Memory is bounded by the longest window of the cards.

    :param every: seconds from the start of one look to the start of the next; None for the cards' own 30 s, on the
        time scale of the environment.
    :param start: runs modules that only read, for the metrics of gateways and machines.
    :param profile: None for the windows of the environment.
    :raises BadInput: the pace is too fast for so many checks, or too slow for failures in a row.
    """

    def __init__(
        self,
        cards: Mapping[str, Card],
        services: Mapping[str, Service],
        start: Start | None,
        interruptions: Interruptions,
        every: float | None = None,
        profile: WindowProfile | None = None,
    ) -> None:
        self._cards = cards
        self._services = services
        self._start = start
        self._interruptions = interruptions
        self._profile = profile or profile_of(services)
        self.every = self._profile.interval(PACE) if every is None else every
        self._window = longest_window([each for card in cards.values() for each in card.criteria], self._profile)
        self._back = _WINDOWS_KEPT * max(self._window, self._profile.interval(PACE) * 3)
        self._plan = plan_checks({name: each.checks for name, each in services.items()}, "deep", signals=True)
        self._check_pace()
        self._evidence = kept_evidence(services, time.time(), self._window)
        # A window of Prometheus is asked for whole at first, and again when a look was missed.
        self._whole = True
        self._firing: dict[str, Firing] = {}
        self._problems: set[str] = set()
        self.looks = 0

    @property
    def checks(self) -> int:
        """How many checks there are."""
        return len(self._plan)

    @property
    def firing(self) -> list[str]:
        """The runbooks that are called for now, the one to begin with first."""
        return list(self._firing)

    def _check_pace(self) -> None:
        least = max(0.05, self._back * len(self._plan) / _MOST_KEPT)
        most = self._profile.interval(LONGEST_PACE)
        if not least <= self.every <= most:
            raise BadInput(
                f"--every: {self.every:g} s is not between {least:.2g} s and {most:g} s",
                f"the lower bound is for {len(self._plan)} checks, the upper one for failures in a row",
            )

    def look(self) -> Change:
        """Ask everything once, keep it, and hold all cards against what was seen up to now."""
        began, started = time.time(), time.monotonic()
        reading = MetricReading(self._services, began, self._window if self._whole else None, self._start)
        try:
            answers = run_checks(self._plan, deadline=SURVEY_SECONDS)
            metrics = reading.metrics()
        finally:
            reading.end()
        self._whole = bool(metrics.problems)
        with self._interruptions.shielded():
            problem = keep_look(self._services, began, answers, metrics)
        now = time.time()
        self._evidence = replace(self._evidence, problems=()).plus(metrics, answers).since(now - self._back)
        self.looks += 1
        found = judge(
            self._cards,
            self._services,
            self._evidence.checks,
            now,
            len(self._plan),
            time.monotonic() - started,
            self._evidence,
            self._profile,
        )
        problems = {*metrics.problems, *((f"samples cannot be kept: {problem}",) if problem else ())}
        return self._change(began, found, problems)

    def _change(self, at: float, found: Survey, problems: set[str]) -> Change:
        firing = {
            each.runbook: Firing(
                each.runbook,
                tuple(each.fired),
                "; ".join(f"{result.id}: {result.evidence}" for result in each.criteria),
            )
            for each in found.called_for
        }
        begins = tuple(
            each
            for name, each in firing.items()
            if name not in self._firing or not set(each.criteria) <= set(self._firing[name].criteria)
        )
        silent = tuple(name for name in self._firing if name not in firing)
        new_problems = tuple(sorted(problems - self._problems))
        self._firing, self._problems = firing, problems
        first = found.called_for[0] if found.called_for else None
        return Change(at, begins, silent, first.runbook if first else None, first.reason if first else "", new_problems)
