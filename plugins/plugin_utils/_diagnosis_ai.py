# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why an AI service does not work: its release, its model, its speed, or something that is not its fault."""

from __future__ import annotations

import datetime
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_looks import (
    PROBE,
    UNIT_AGAIN,
    InstanceLook,
    InstancesLook,
    first_calls,
    look_of,
    question_name,
    unit_call,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import level_checks, probe_calls
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Question,
    Seen,
)

#: Cause to the treatment that runs by itself; every other cause needs a person.
TREATMENTS: Mapping[str, str] = {
    "model_damaged": "restore",
    "release_crashing": "rollback",
    "inference_slow": "rollback",
    "release_failing": "rollback",
    "process_stopped": "restart",
    "healthy": "none",
}
CAUSES = (*TREATMENTS, "dependency_down", "way_lost", "machines_silent", "inconclusive")
# A release that has worked for longer than this is not the change that broke it.
_RECENT_SECONDS = 7 * 24 * 3600.0


class AiDiagnosis:
    """See `RunbookDiagnosis`."""

    def questions(self, service: Service) -> Sequence[Question]:
        # The requests of an AI service's checks are made-up notes; a secret in them is masked by the module.
        probes = probe_calls(service, lambda _secret: None)
        return [Question(name, call) for name, call in first_calls(service, probes).items()]

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        answers = {**seen.answers, **_second_look(seen)}
        failing = [result for result in seen.detection.results if not result.ok]
        if failing:
            plan = plan_checks({name: each.checks for name, each in seen.dependencies.items()}, "deep")
            failing += [result for result in run_checks(plan) if not result.ok]
        return judge(seen.service, look_of(seen.service, answers), failing, time.time())


DIAGNOSIS = AiDiagnosis()


def _second_look(seen: Seen) -> dict[str, MachineAnswer]:
    """Where a connection ended without an answer: one more request, and then the process again.

    The first look at the process and the first requests were made side by side, in any order. Only what happens after
    both tells whether the process ends under a request. Damaged files are a cause whatever the process did, and a
    process that its manager starts again and again needs no second look.
    """
    instances = seen.service.require_host().instances
    first = look_of(seen.service, seen.answers).instances
    names = [
        name
        for name, look in first.items()
        if look.unit is not None and not look.unit.loops and not look.damaged and look.probe.closed
    ]
    if not names:
        return {}
    probes = probe_calls(seen.service, lambda _secret: None, count=1)
    found: dict[str, MachineAnswer] = {}
    for kind, calls in (
        (PROBE, [probes[name] for name in names]),
        (UNIT_AGAIN, [unit_call(instances[name]) for name in names]),
    ):
        for name, answer in zip(names, seen.ask(calls), strict=True):
            found[question_name(kind, name)] = answer
    return found


def judge(service: Service, look: InstancesLook, failing: Sequence[CheckResult], now: float) -> dict[str, t.Any]:
    """The judgement. Pure.

    :param failing: checks of the service, of what depends on it and of what it depends on, that failed last.
    :param now: Unix seconds.
    """
    cause, confidence, evidence = _cause(service, look, failing, now)
    treatment = TREATMENTS.get(cause, "person")
    seen = [each for each in look.instances.values() if each.unreachable is None]
    versions = sorted({each.version for each in seen if each.version})
    if treatment == "rollback" and any(each.releases_seen and not each.earlier for each in seen):
        treatment = "person"
        evidence = [*evidence, "there is no earlier release to go back to"]
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence[:10]),
        "treatment": treatment,
        "next_step": _NEXT_STEPS.get(cause, _NEXT_STEPS["inconclusive"]) if treatment == "person" else "",
        "versions": versions,
        "instances": {name: _figures(each) for name, each in look.instances.items()},
        "unreachable": {name: each.unreachable for name, each in look.instances.items() if each.unreachable},
    }


_Finding = tuple[str, float, list[str]]

_NEXT_STEPS = {
    "dependency_down": "Bring the dependency back first; its own runbook does that. The release is not the cause.",
    "way_lost": "Every instance works on its own machine: look at the gateway and the network in front of them.",
    "machines_silent": "Bring the machines back, or the network to them.",
    "inconclusive": "Compare logs and release of the instances; leave the feature off until one cause is certain.",
}


def _cause(service: Service, look: InstancesLook, failing: Sequence[CheckResult], now: float) -> _Finding:
    instances = list(look.instances.values())
    seen = [each for each in instances if each.unreachable is None]
    if not seen:
        return (
            "machines_silent",
            PROVEN,
            [f"{each.machine} cannot be reached: {each.unreachable}" for each in instances],
        )
    damaged = [each for each in seen if each.damaged]
    if damaged:
        return _damaged(damaged)
    deep = [check.id for check in level_checks(service, "deep")]
    limit = service.checks.thresholds.response
    bad = [each for each in seen if not _works(each, deep, limit)]
    if not bad:
        return _all_work(service, look, seen, failing)
    broken = sorted({result.target for result in failing} & set(service.depends_on))
    if broken and not any(each.crashes for each in bad):
        return "dependency_down", PROVEN, [f"{name}, which it depends on, fails its own checks" for name in broken]
    if len(bad) < len(seen):
        return _some_work(bad, seen)
    if all(each.crashes for each in bad):
        return "release_crashing", PROVEN, [_crash(each) for each in bad]
    if all(each.stopped for each in bad):
        return "process_stopped", PROVEN, [f"{each.machine}: its process is stopped, nobody starts it" for each in bad]
    return _by_answers(service, bad, deep, limit, now)


def _damaged(damaged: Sequence[InstanceLook]) -> _Finding:
    evidence = [
        f"{each.machine}: {', '.join((each.damaged or ())[:3])} of release {each.version} differs from its manifest"
        for each in damaged
    ]
    evidence += [_crash(each) for each in damaged if each.crashes]
    return "model_damaged", PROVEN, evidence


def _all_work(
    service: Service, look: InstancesLook, seen: Sequence[InstanceLook], failing: Sequence[CheckResult]
) -> _Finding:
    own = [result for result in failing if result.target == service.name]
    if not own:
        return "healthy", PROVEN, [f"{each.machine}: every request is answered rightly and in time" for each in seen]
    evidence = [f"{result.id} fails ({result.error_class}) on the way that clients take" for result in own[:3]]
    evidence += [f"{each.machine} answers rightly and in time on its own machine" for each in seen]
    if look.gateway is None:
        return "way_lost", PROVEN, ["the gateway does not answer", *evidence]
    off = [f"the gateway has {name} {server.status}" for name, server in look.gateway.items() if not _up(server.status)]
    if off:
        return "way_lost", PROVEN, [*off, *evidence]
    return "inconclusive", UNDECIDED, evidence


def _some_work(bad: Sequence[InstanceLook], seen: Sequence[InstanceLook]) -> _Finding:
    """The same release works elsewhere, so it is not the release; a different one may be."""
    good = [each for each in seen if each not in bad]
    evidence = [_wrong(each) for each in bad]
    evidence += [f"{each.machine} works with release {each.version}" for each in good]
    if {each.version for each in bad} & {each.version for each in good}:
        return "inconclusive", UNDECIDED, evidence
    if all(each.crashes for each in bad):
        return "release_crashing", LIKELY, evidence
    return "inconclusive", UNDECIDED, evidence


def _by_answers(
    service: Service, bad: Sequence[InstanceLook], deep: Sequence[str], limit: float, now: float
) -> _Finding:
    """Processes run on every instance, and what they answer is late or wrong."""
    alive = [check.id for check in level_checks(service, "shallow")]
    evidence = [_wrong(each, deep) for each in bad]
    # Without a quick sign of life the machine may be busy, and a slow release cannot be told from that.
    if not alive or not all(_quick(each, alive, limit) for each in bad):
        return "inconclusive", UNDECIDED, [*evidence, "signs of life are late or missing too: not the model alone"]
    evidence += [f"{each.machine}: a sign of life takes {each.probe.slowest(alive):.3f} s" for each in bad]
    old = [each for each in bad if not _recent(each, now)]
    if old:
        since = [
            f"{each.machine} has release {each.version} since {each.deployed_at or 'an unknown time'}" for each in old
        ]
        return "inconclusive", UNDECIDED, [*evidence, *since, "a release that worked for long is not what changed"]
    if all(each.probe.worst_of(deep) in ("", "timeout") for each in bad):
        return "inference_slow", PROVEN, evidence
    if all(each.probe.worst_of(deep) in ("status", "body") for each in bad):
        return "release_failing", LIKELY, evidence
    return "inconclusive", UNDECIDED, evidence


def _works(look: InstanceLook, deep: Sequence[str], limit: float) -> bool:
    """It answers everything rightly and in time, and no process ended under the questions."""
    if look.probe.unknown or look.crashes:
        return False
    slowest = look.probe.slowest(deep)
    return all(each.ok for each in look.probe.answers.values()) and (slowest is None or slowest <= limit)


def _quick(look: InstanceLook, names: Sequence[str], limit: float) -> bool:
    slowest = look.probe.slowest(names)
    return not look.probe.worst_of(names) and slowest is not None and slowest <= limit


def _up(status: str) -> bool:
    return status.startswith("UP") or status == "no check"


def _recent(look: InstanceLook, now: float) -> bool:
    if look.deployed_at is None:
        return False
    try:
        since = datetime.datetime.fromisoformat(look.deployed_at)
    except ValueError:
        return False
    if since.tzinfo is None:
        since = since.replace(tzinfo=datetime.UTC)
    return now - since.timestamp() <= _RECENT_SECONDS


def _crash(look: InstanceLook) -> str:
    unit = look.unit_later or look.unit
    if look.ended_meanwhile and look.unit is not None and unit is not None:
        return f"{look.machine}: process {look.unit.pid} ended under the questions, now {unit.pid or unit.state}"
    status = f" with status {unit.exit_status}" if unit is not None and unit.exit_status is not None else ""
    return f"{look.machine}: its process ended{status} and is {unit.state if unit is not None else 'gone'}"


def _wrong(look: InstanceLook, deep: Sequence[str] = ()) -> str:
    if look.crashes:
        return _crash(look)
    if look.probe.unknown:
        return f"{look.machine} could not be asked: {look.probe.unknown}"
    wrong = [f"{name} fails ({each.worst})" for name, each in look.probe.answers.items() if not each.ok]
    slowest = look.probe.slowest(deep or list(look.probe.answers))
    if not wrong and slowest is not None:
        return f"{look.machine}: the right answer takes {slowest:.2f} s"
    return f"{look.machine}: {', '.join(wrong) or 'no answer'}"


def _figures(look: InstanceLook) -> dict[str, t.Any]:
    """For the record and for people; no text of an answer."""
    unit = look.unit_later or look.unit
    return {
        "version": look.version,
        "process": unit.state if unit is not None else None,
        "exit_status": unit.exit_status if unit is not None else None,
        "damaged": list((look.damaged or ())[:10]),
        "seconds": {name: each.median for name, each in look.probe.answers.items()},
    }
