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
from codeblue.drill.clinic import Clinic
from codeblue.drill.interruption import Interruptions
from codeblue.drill.observation import Observer
from codeblue.drill.preparation import take_snapshot
from codeblue.drill.result import DrillResult
from codeblue.drill.runbook_command import RunbookCommand, RunReport
from codeblue.lab.faults import Injection, all_faults
from codeblue.lab.measurement import Measurement, Outage, Sample, analyse, lost_sentinels
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.prober import Prober
from codeblue.report.parts import Away

# The prober asks ten times a second: ten answers of each endpoint in a row before anything is broken.
_CONTROL_SECONDS = 1.0
# A criterion that has not fired by then does not fire: in the lab it needs three failures 100 ms apart.
_DETECTION_SECONDS = 30.0
# The clinic is watched for so long after its return: long enough for one that does not last. The run validates
# meanwhile, so most of it is over when the run ends; its end itself is watched for a moment too.
_WATCH_SECONDS = 1.0
_LEAST_WATCH_SECONDS = 0.3
_RETURN_SECONDS = 10.0
_POLL_SECONDS = 0.1
_DYING_SECONDS = 0.5
_PROBE_SECONDS = 600.0

Say = Callable[[str, str], None]


class Conductor:
    """Conducts drills on one lab, one after the other.

    :param cards: all of them, by id: those that must not fire belong to a drill as well.
    :param say: told what happens: the phase and one line about it.
    """

    def __init__(self, clinic: Clinic, cards: Mapping[str, Card], interruptions: Interruptions, say: Say) -> None:
        self._clinic = clinic
        self._cards = cards
        self._interruptions = interruptions
        self._say = say

    def conduct(self, drill: Drill, result: DrillResult) -> None:
        """Fill in the result. Whatever happens, the lab is healed before this returns or raises.

        :raises KeyboardInterrupt: it was interrupted; the result holds what was found until then.
        """
        result.platform = self._clinic.platform(self._cards[drill.runbook])
        try:
            with tempfile.TemporaryDirectory(prefix="codeblue-drill-") as scratch:
                fault = all_faults()[drill.fault]
                prober = Prober(self._clinic.lab, Path(scratch) / "samples.jsonl", _PROBE_SECONDS, fault.watches)
                try:
                    if fault.needs_snapshot:
                        self._say("snapshot", take_snapshot(self._clinic.lab.inventory_path, fault.needs_snapshot))
                    self._with_prober(drill, result, prober)
                except (CodeblueError, psycopg.Error) as error:
                    result.problems.append(" ".join(str(error).split()))
                finally:
                    with self._interruptions.shielded():
                        prober.stop()
        finally:
            with self._interruptions.shielded():
                self._undo(result)
        result.judge()

    def _with_prober(self, drill: Drill, result: DrillResult, prober: Prober) -> None:
        observer = Observer(self._cards, drill.runbook, self._clinic.services)
        try:
            observer.listen()
            self._observed(drill, result, prober, observer)
        finally:
            observer.stop()
            self._compare(observer, result)

    def _observed(self, drill: Drill, result: DrillResult, prober: Prober, observer: Observer) -> None:
        with _timed(result, "prober"):
            prober.start()
        with _timed(result, "control"):
            self._control(result, prober, observer)
        if not result.control_silent:
            return
        if self._cards[drill.runbook].precedence == "performance":
            # What is normal here and now, for the recovery to be held against.
            self._say("baseline", self._clinic.keep_baseline())
        with _timed(result, "fault"):
            injection = self._clinic.lab.break_(drill.fault)
        result.struck_at = injection.struck_at
        self._say("fault", f"{drill.fault}: {all_faults()[drill.fault].summary}")
        with _timed(result, "detection"):
            self._detect(observer, result, injection)
        if not result.detected:
            return
        with _timed(result, "run"):
            run = self._recover(drill, result)
        with _timed(result, "watch"):
            measurement = self._watch(prober, injection)
        with _timed(result, "measurement"):
            self._measure(drill, result, prober, injection, measurement)
            self._validate(result, run, measurement)

    def _control(self, result: DrillResult, prober: Prober, observer: Observer) -> None:
        """The healthy clinic must look healthy, or whatever is measured afterwards means nothing."""
        began = time.monotonic()
        found = survey(self._cards, self._clinic.services)
        time.sleep(max(0.0, began + _CONTROL_SECONDS - time.monotonic()))
        samples = prober.samples()
        failed = [sample for sample in samples if not sample.ok]
        # What people's requests came to meanwhile has to be silent too.
        called_for = [*found.called_for, *observer.survey(time.time()).called_for]
        result.control_fired = list(dict.fromkeys(each.runbook for each in called_for))
        result.control_silent = not called_for and not failed
        if result.control_silent:
            text = (
                f"silent: {found.checks} checks for {len(self._cards)} cards and {len(samples)} probes, nothing fails"
            )
        else:
            fired = [f"{each.runbook}/{name}" for each in called_for for name in each.fired]
            text = f"not silent on the healthy lab: {_complaints(fired, failed)}"
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
        command = RunbookCommand(drill.runbook, self._clinic.lab.inventory_path)
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

    def _watch(self, prober: Prober, injection: Injection) -> Measurement:
        """Until every endpoint is back for good; a moment longer, because a return may not last."""
        ended = time.monotonic()
        while True:
            now = time.monotonic()
            measurement = analyse(prober.samples(), since=injection.struck_monotonic)
            back = max([each.ended for of in measurement.outages.values() for each in of if each.ended], default=ended)
            if measurement.recovered and now >= max(back + _WATCH_SECONDS, ended + _LEAST_WATCH_SECONDS):
                return measurement
            if now >= ended + _RETURN_SECONDS:
                return measurement
            time.sleep(_POLL_SECONDS)

    def _measure(
        self, drill: Drill, result: DrillResult, prober: Prober, injection: Injection, measurement: Measurement
    ) -> None:

        def since(monotonic: float) -> float:
            return monotonic - injection.struck_monotonic

        result.outages = {endpoint: measurement.outage_seconds(endpoint) for endpoint in sorted(measurement.outages)}
        result.rto_seconds = away_seconds(measurement)
        result.away = [
            Away(each.endpoint, since(each.began), None if each.ended is None else since(each.ended))
            for endpoint in sorted(measurement.outages)
            for each in measurement.outages[endpoint]
        ]
        hits = set(all_faults()[drill.fault].hits) & set(measurement.outages)
        untouched = sorted(name for name in hits if not measurement.outages[name])
        if untouched:
            result.problems.append(f"the fault did not take {', '.join(untouched)} away: nothing was proven")
        samples = prober.samples()
        try:
            primary = self._clinic.lab.parts.current_primary()
            with self._clinic.lab.parts.postgresql.connect(primary, DATABASE) as connection:
                lost = lost_sentinels(connection, [each.n for each in samples if each.ok and each.n is not None])
        except (CodeblueError, psycopg.Error) as error:
            result.problems.append(f"lost writes cannot be counted: {' '.join(str(error).split())}")
            return
        result.writes_lost = len(lost)
        result.rpo_seconds = lost_span(samples, lost, injection.struck_monotonic)
        result.writes_not_on_standby = len(not_on_standby(samples, injection))
        self._say("measured", _measured(result))

    def _validate(self, result: DrillResult, run: RunReport, measurement: Measurement) -> None:
        """Three witnesses have to agree: the run, the checks, and the prober."""
        failing = self._clinic.failing_checks()
        if run.exit_code != 0 or run.outcome != "recovered":
            result.problems.append(f"the run ended as {run.outcome}: {run.why}")
        elif failing:
            result.problems.append(f"the run says it recovered, and {'; '.join(failing[:3])}")
        elif not measurement.recovered:
            away = [name for name, seconds in result.outages.items() if seconds is None]
            result.problems.append(f"the run says it recovered, and {', '.join(away)} stays away")
        else:
            result.recovered = True

    def _undo(self, result: DrillResult) -> None:
        try:
            with _timed(result, "heal"):
                seconds = self._clinic.lab.heal()
            with _timed(result, "proof"):
                deviations = self._clinic.deviations()
        except (CodeblueError, psycopg.Error) as error:
            deviations, seconds = [" ".join(str(error).split())], 0.0
        result.undone = not deviations
        if result.undone:
            self._say("undone", f"the clinic is proven normal again, healed in {seconds:.1f} s")
        else:
            result.problems.append(f"not undone: {'; '.join(deviations[:3])}")
            self._say("undone", result.problems[-1])


@contextmanager
def _timed(result: DrillResult, phase: str) -> Iterator[None]:
    """How long a phase of the drill took, also when it ended in an error."""
    began = time.monotonic()
    try:
        yield
    finally:
        result.phases[phase] = time.monotonic() - began


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


def not_on_standby(samples: list[Sample], injection: Injection) -> list[int]:
    """Writes that the dying primary acknowledged and its standby had not flushed; empty for other faults.

    A primary that is killed may acknowledge a last write in the very moment in which its sender is gone already.
    """
    last = injection.facts.get("standby_last_sentinel")
    if last is None:
        return []
    # Nothing takes a write within this time after the fault but the primary that is dying.
    until = injection.struck_monotonic + _DYING_SECONDS
    return [each.n for each in samples if each.ok and each.n is not None and each.n > last and each.started < until]


def lost_span(samples: list[Sample], lost: tuple[int, ...], struck: float) -> float:
    """How old the oldest lost write was when the fault struck, in seconds; 0.0 when none was lost."""
    numbers = set(lost)
    moments = [sample.finished for sample in samples if sample.n in numbers]
    return max(0.0, struck - min(moments)) if moments else 0.0


def _complaints(fired: list[str], failed: list[Sample]) -> str:
    complaints = [f"criterion {name} fires" for name in fired]
    if failed:
        complaints.append(f"{len(failed)} probes fail, the first of {failed[0].endpoint} ({failed[0].detail})")
    return ", ".join(complaints)


def _measured(result: DrillResult) -> str:
    away = ", ".join(
        f"{name} {'still away' if seconds is None else f'{seconds:.1f} s'}"
        for name, seconds in result.outages.items()
        if seconds != 0.0
    )
    lost = "no acknowledged write lost" if not result.writes_lost else f"{result.writes_lost} acknowledged writes lost"
    if result.writes_not_on_standby:
        lost += f", {result.writes_not_on_standby} were not on the standby when it struck"
    return f"away: {away or 'nothing'}; {lost}"
