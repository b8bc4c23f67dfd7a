"""One drill from the control run to the undo."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import Card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import survey

from codeblue.drill.catalogue import Drill
from codeblue.drill.interruption import Interruptions
from codeblue.drill.observation import Observer
from codeblue.drill.result import DrillResult
from codeblue.drill.runbook_command import RunbookCommand, RunReport
from codeblue.drill.site import Site, Witness
from codeblue.lab.injection import Injection

# The prober asks ten times a second: ten answers of each endpoint in a row before anything is broken.
_CONTROL_SECONDS = 1.0
# A criterion that has not fired by then does not fire: in the lab it needs three failures 100 ms apart.
_DETECTION_SECONDS = 30.0
# How a run ends that has made safe what it could not finish.
_LEFT_TO_PERSON = "failed_safe"

Say = Callable[[str, str], None]


class Conductor:
    """Conducts drills on one site, one after the other.

    :param cards: all of them, by id: those that must not fire belong to a drill as well.
    :param say: told what happens: the phase and one line about it.
    """

    def __init__(self, site: Site, cards: Mapping[str, Card], interruptions: Interruptions, say: Say) -> None:
        self._site = site
        self._cards = cards
        self._interruptions = interruptions
        self._say = say

    def conduct(self, drill: Drill, result: DrillResult) -> None:
        """Fill in the result. Whatever happens, the lab is healed before this returns or raises.

        :raises KeyboardInterrupt: it was interrupted; the result holds what was found until then.
        """
        result.platform = self._site.platform(self._cards[drill.runbook])
        result.simulated = list(self._site.simulated)
        try:
            with tempfile.TemporaryDirectory(prefix="codeblue-drill-") as scratch:
                witness = self._site.witness(drill.fault, Path(scratch))
                try:
                    if said := self._site.prepare(drill.fault):
                        self._say("snapshot", said)
                    self._with_witness(drill, result, witness)
                except (CodeblueError, psycopg.Error) as error:
                    result.problems.append(" ".join(str(error).split()))
                finally:
                    with self._interruptions.shielded():
                        witness.stop()
        finally:
            with self._interruptions.shielded():
                self._undo(result)
        result.judge()

    def _with_witness(self, drill: Drill, result: DrillResult, witness: Witness) -> None:
        observer = Observer(self._cards, drill.runbook, self._site.services)
        try:
            observer.listen()
            self._observed(drill, result, witness, observer)
        finally:
            observer.stop()
            self._compare(observer, result)

    def _observed(self, drill: Drill, result: DrillResult, witness: Witness, observer: Observer) -> None:
        with _timed(result, "prober"):
            witness.start()
        with _timed(result, "control"):
            self._control(result, witness, observer)
        if not result.control_silent:
            return
        if self._cards[drill.runbook].precedence == "performance":
            # What is normal here and now, for the recovery to be held against.
            self._say("baseline", self._site.keep_baseline())
        with _timed(result, "fault"):
            injection = self._site.break_(drill.fault)
        result.struck_at = injection.struck_at
        self._say("fault", f"{drill.fault}: {self._site.faults[drill.fault].summary}")
        with _timed(result, "detection"):
            self._detect(observer, result, injection)
        if not result.detected:
            return
        with _timed(result, "run"):
            run = self._recover(drill, result)
        if self._site.is_left_to_person(drill.fault):
            with _timed(result, "person"):
                self._go_on(drill, result, run)
        with _timed(result, "watch"):
            witness.wait_back(injection)
        with _timed(result, "measurement"):
            self._say("measured", witness.measure(injection, result))
            self._validate(result, run, witness.still_away(injection))

    def _control(self, result: DrillResult, witness: Witness, observer: Observer) -> None:
        """The healthy clinic must look healthy, or whatever is measured afterwards means nothing."""
        began = time.monotonic()
        lost = self._site.lose_a_part()
        found = survey(self._cards, self._site.services)
        time.sleep(max(0.0, began + _CONTROL_SECONDS - time.monotonic()))
        self._site.wait_whole()
        looks, complaints = witness.so_far()
        # What people's requests came to meanwhile has to be silent too.
        called_for = [*found.called_for, *observer.survey(time.time()).called_for]
        result.control_fired = list(dict.fromkeys(each.runbook for each in called_for))
        result.control_silent = not called_for and not complaints
        if lost:
            self._say("lost", lost)
        if result.control_silent:
            text = f"silent: {found.checks} checks for {len(self._cards)} cards and {looks} probes, nothing fails"
        else:
            fired = [f"criterion {each.runbook}/{name} fires" for each in called_for for name in each.fired]
            text = f"not silent on the healthy lab: {', '.join([*fired, *complaints])}"
            result.problems.append(f"the control run is {text}")
        self._say("control", text)

    def _detect(self, observer: Observer, result: DrillResult, injection: Injection) -> None:
        observer.start()
        result.fired = observer.wait_fired(injection.struck_monotonic + _DETECTION_SECONDS - time.monotonic())
        result.detected = bool(result.fired)
        if result.detected:
            result.detect_seconds = time.monotonic() - injection.struck_monotonic
            self._say("detected", f"{', '.join(result.fired)} after {result.detect_seconds:.1f} s")
        else:
            result.problems.append(f"no criterion fired within {_DETECTION_SECONDS:g} s of the fault")
            self._say("detected", result.problems[-1])

    def _compare(self, observer: Observer, result: DrillResult) -> None:
        """Hold what was seen before the first change against the criteria of all cards."""
        if result.struck_at is None:
            return
        result.survey = observer.survey(result.first_change_at or time.time())
        problem = result.matrix_row.problem
        # That nothing was detected is a problem of its own already.
        if problem and result.detected:
            result.problems.append(problem)
        if result.survey.called_for:
            self._say("called for", ", then ".join(result.survey.runbooks))

    def _recover(self, drill: Drill, result: DrillResult) -> RunReport:
        command = RunbookCommand(drill.runbook, self._site.inventory_path)
        try:
            with self._interruptions.shielded():
                command.start()
            report = command.wait()
        finally:
            # A run that goes on would spoil what is being undone.
            with self._interruptions.shielded():
                command.stop()
        result.run, result.outcome, result.cause = report.run, report.outcome, report.cause
        result.first_action_seconds = report.first_action_seconds
        result.first_change_at = report.first_change_at
        if result.struck_at is not None:
            result.command_at = report.started_at - result.struck_at
        first = f", first change after {result.first_action_seconds:.1f} s" if result.first_action_seconds else ""
        self._say("run", f"{report.outcome} after {report.seconds:.1f} s{first}")
        if report.cause:
            self._say("found", report.cause)
        return report

    def _go_on(self, drill: Drill, result: DrillResult, run: RunReport) -> None:
        """Hold what the run did against what it has to do, and then do the part of the person that it ended for."""
        if run.outcome != _LEFT_TO_PERSON:
            return
        if missing := self._site.not_contained(drill.fault):
            result.problems.append(f"the run says that it contained the fault, and {'; '.join(missing[:3])}")
            return
        self._say("contained", "seen from the objects; a person goes on from here")
        result.given_back_by = self._site.give_back(drill.fault)
        self._say("given back", result.given_back_by)

    def _validate(self, result: DrillResult, run: RunReport, away: list[str]) -> None:
        """Three witnesses have to agree: the run, the checks, and who looks from outside."""
        failing = self._site.failing_checks()
        ended_well = run.exit_code == 0 and run.outcome == "recovered"
        if not (ended_well or result.given_back_by):
            result.problems.append(f"the run ended as {run.outcome}: {run.why}")
        elif failing:
            result.problems.append(f"{_said(result)}, and {'; '.join(failing[:3])}")
        elif away:
            result.problems.append(f"{_said(result)}, and {', '.join(away)} stays away")
        else:
            result.recovered = True

    def _undo(self, result: DrillResult) -> None:
        try:
            with _timed(result, "heal"):
                seconds = self._site.heal()
            with _timed(result, "proof"):
                deviations = self._site.deviations()
        except (CodeblueError, psycopg.Error) as error:
            deviations, seconds = [" ".join(str(error).split())], 0.0
        result.undone = not deviations
        if result.undone:
            self._say("undone", f"the clinic is proven normal again, healed in {seconds:.1f} s")
        else:
            result.problems.append(f"not undone: {'; '.join(deviations[:3])}")
            self._say("undone", result.problems[-1])


def _said(result: DrillResult) -> str:
    return "it was given back" if result.given_back_by else "the run says it recovered"


@contextmanager
def _timed(result: DrillResult, phase: str) -> Iterator[None]:
    """How long a phase of the drill took, also when it ended in an error."""
    began = time.monotonic()
    try:
        yield
    finally:
        result.phases[phase] = time.monotonic() - began
