# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service on Kubernetes does not work, by the state of its workload, its Service and what they need. Pure.

The order of the questions is that of certainty: what the API itself names as the reason comes before what follows
from figures.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    CONFIGURATION_REASONS,
    IMAGE_REASONS,
    Missing,
    PodLook,
    ServiceLook,
    WorkloadLook,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import Replicas
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

#: What is missing is made again from a snapshot.
RESTORE_OBJECTS = "restore_objects"
#: Cause to the treatment that runs by itself; every other cause needs a person. So does one whose last good version,
#: number of pods or selector nobody knows.
TREATMENTS: Mapping[str, str] = {
    "healthy": "none",
    "image_unavailable": "rollback",
    "release_crashing": "rollback",
    "release_failing": "rollback",
    "scaled_to_zero": "scale",
    "scaled_down": "scale",
    "traffic_misrouted": "route",
    "configuration_missing": RESTORE_OBJECTS,
    "workload_missing": RESTORE_OBJECTS,
}
# Under this kind the store keeps the versions that runs have left, and those that they have seen working.
VERSION_KIND = "kubernetes"
CAUSES = (
    *TREATMENTS,
    "cut_off",
    "quota_exceeded",
    "pods_unschedulable",
    "dependency_down",
    "way_lost",
    "rollout_paused",
    "inconclusive",
)
# A release that has worked for longer than this is not the change that broke it.
RECENT_SECONDS = 7 * 24 * 3600.0
_MOST_EVIDENCE = 10

_NEXT_STEPS: Mapping[str, str] = {
    "configuration_missing": "Make again what is missing, from where it is kept; the pods then start.",
    "workload_missing": "Make the workload again from its manifest, or name the right one in codeblue_kubernetes.",
    "cut_off": "Somebody put it into quarantine: ask who, then codeblue run release_service.",
    "no_route": "Give the Service a selector that the pods' labels fit: kubectl edit service.",
    "no_number": "Nobody wrote down how many pods it had: kubectl scale, and say it in codeblue_kubernetes.replicas.",
    "files_of_a_database": (
        "Its newer version ran and may have written its files: read its log, then roll back by hand or restore."
    ),
    "no_node_wanted": "No node fits the DaemonSet: look at its nodeSelector and at the labels of the nodes.",
    "autoscaled": "What scales it by itself sets that number: look why, and at its bounds.",
    "quota_exceeded": "Raise the quota of the namespace, or remove what uses it up; the refusal names the resource.",
    "pods_unschedulable": "Give the pods a node: uncordon one, add one, or lower what they request.",
    "dependency_down": "Bring the dependency back first; its own runbook does that. The release is not the cause.",
    "way_lost": "Every pod is ready and gets traffic: look at the ingress and the network in front of the Service.",
    "rollout_paused": "Somebody has paused the rollout: ask who, then kubectl rollout resume.",
    "inconclusive": "Compare logs and events of the pods: kubectl describe, kubectl logs --previous.",
    "no_earlier_revision": "There is no earlier revision to go back to: deploy a good image by hand.",
}


@dataclass(frozen=True)
class ServiceFindings:
    """What is known about one service when its cause is judged.

    :param workload: None when it does not exist.
    :param route: None when the inventory names no Service, or it does not exist (`route_wanted` tells which).
    :param missing: Secrets and ConfigMaps that the template wants.
    :param failing: checks of the service and of what it depends on, that failed last.
    :param changed_at: Unix seconds when the revision that is rolled out was made; None when unknown.
    :param earlier: there is a revision to go back to.
    :param replicas: the number of pods that is known to have worked; None when nobody has written it down.
    :param scaled_by: who sets the number of pods by itself right now; empty for nobody.
    :param selector: a known selector that fits the pods; empty when there is none.
    :param kind: of the service, as the inventory has it.
    :param version: what is rolled out; empty when it is not known.
    :param cut_off: by what key it is cut off on purpose; empty when it is not.
    """

    service: str
    depends_on: tuple[str, ...]
    workload: WorkloadLook | None
    route: ServiceLook | None
    route_wanted: bool
    missing: tuple[Missing, ...]
    failing: tuple[CheckResult, ...]
    changed_at: float | None
    earlier: bool
    replicas: Replicas | None = None
    scaled_by: str = ""
    selector: str = ""
    cut_off: str = ""
    kind: str = "service"
    version: str = ""


_Finding = tuple[str, float, list[str]]


def judge(found: ServiceFindings, now: float) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param now: Unix seconds.
    """
    cause, confidence, evidence = _cause(found, now)
    treatment = TREATMENTS.get(cause, "person")
    next_step = _NEXT_STEPS.get(cause, _NEXT_STEPS["inconclusive"]) if treatment == "person" else ""
    if cause == "traffic_misrouted" and found.route is None:
        # A selector alone makes no Service.
        treatment = RESTORE_OBJECTS
    if lacking := _lacking(found, cause, treatment):
        treatment, next_step = "person", _NEXT_STEPS[lacking]
    look = found.workload
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence[:_MOST_EVIDENCE]),
        "treatment": treatment,
        "next_step": next_step,
        "missing": [each.text() for each in found.missing],
        "workload": None
        if look is None
        else {
            "kind": look.kind,
            "name": look.name,
            "revision": look.revision,
            "images": list(look.images),
            "desired": look.desired,
            "ready": look.ready,
            "updated": look.updated,
        },
    }


def _lacking(found: ServiceFindings, cause: str, treatment: str) -> str:
    """What a treatment needs and is not there, as a key of the next steps; empty when it can be carried out."""
    if treatment == "rollback" and not found.earlier:
        return "no_earlier_revision"
    if treatment == "rollback" and found.kind == "database" and cause != "image_unavailable":
        return "files_of_a_database"
    if treatment == "route" and not found.selector:
        return "no_route"
    if treatment == "scale":
        if found.workload is not None and found.workload.kind == "DaemonSet":
            return "no_node_wanted"
        return "autoscaled" if found.scaled_by else "" if found.replicas is not None else "no_number"
    return ""


def without_snapshot(judgement: dict[str, t.Any]) -> dict[str, t.Any]:
    """The same where no snapshot holds the objects of the namespace: a person has to make them."""
    if judgement["treatment"] != RESTORE_OBJECTS:
        return judgement
    return {**judgement, "treatment": "person", "next_step": _NEXT_STEPS[judgement["cause"]]}


def _cause(found: ServiceFindings, now: float) -> _Finding:
    look = found.workload
    if found.cut_off:
        return "cut_off", PROVEN, [f"it was cut off on purpose: {found.cut_off}"]
    if look is None:
        return "workload_missing", PROVEN, ["its workload does not exist"]
    if found.missing and not look.complete:
        lines = [f"{each.text()}, which its template wants, does not exist" for each in found.missing]
        return "configuration_missing", PROVEN, [*lines, *_waiting(look.current, CONFIGURATION_REASONS)]
    if look.desired == 0:
        return "scaled_to_zero", PROVEN, [f"{_name(look)} is scaled to no pods", *_wanted(found)]
    of_pods = _by_pods(found, look, now)
    if of_pods is not None:
        return of_pods
    return _by_way(found, look)


def _by_pods(found: ServiceFindings, look: WorkloadLook, now: float) -> _Finding | None:
    """What the pods themselves say; None when as many as there should be are ready."""
    current = look.current
    if (lines := _waiting(current, IMAGE_REASONS)) and not any(pod.ready for pod in current):
        return "image_unavailable", PROVEN, lines
    if look.refused and look.ready < look.desired:
        quota = "exceeded quota" in look.refused
        evidence = [f"the API refuses a pod of {_name(look)}: {look.refused}", _figures(look)]
        return ("quota_exceeded", PROVEN, evidence) if quota else ("inconclusive", UNDECIDED, evidence)
    crashing = [pod for pod in current if pod.crashes]
    if crashing and not any(pod.ready for pod in current):
        return _crash(found, look, crashing, now)
    stuck = [pod for pod in look.pods if pod.unschedulable is not None]
    if stuck and look.ready < look.desired:
        lines = [f"no node takes pod {pod.name}: {pod.unschedulable}" for pod in stuck]
        return "pods_unschedulable", PROVEN, [*lines, _figures(look)]
    if look.paused and look.updated < look.desired:
        return "rollout_paused", PROVEN, [f"the rollout of {_name(look)} is paused", _figures(look)]
    if look.ready >= look.desired:
        return None
    return _not_ready(found, look, now)


def _crash(found: ServiceFindings, look: WorkloadLook, crashing: Sequence[PodLook], now: float) -> _Finding:
    lines = [
        f"pod {pod.name} ended {pod.restarts} times, last by {pod.ended or 'an unknown reason'}" for pod in crashing
    ]
    broken = _broken_dependencies(found)
    older = [pod for pod in look.pods if pod.revision != look.revision and pod.ready]
    if older:
        # The release before works beside it, with the same dependencies.
        return "release_crashing", PROVEN, [*lines, f"{len(older)} pods of the revision before work beside it"]
    if broken:
        return (
            "dependency_down",
            LIKELY,
            [*broken, *lines],
        )
    if not _recent(found, now):
        return "inconclusive", UNDECIDED, [*lines, _since(found)]
    return "release_crashing", PROVEN, [*lines, _since(found)]


def _not_ready(found: ServiceFindings, look: WorkloadLook, now: float) -> _Finding:
    """Containers run, and are not ready."""
    current = look.current
    unready = [pod for pod in current if not pod.ready]
    lines = [f"pod {pod.name} runs and is not ready" for pod in unready[:5]]
    lines.append(_figures(look))
    broken = _broken_dependencies(found)
    if broken:
        return (
            "dependency_down",
            PROVEN,
            [*broken, *lines],
        )
    older = [pod for pod in look.pods if pod.revision != look.revision and pod.ready]
    if unready and older and len(unready) == len(current):
        return "release_failing", PROVEN, [*lines, f"{len(older)} pods of the revision before are ready beside it"]
    if unready and len(unready) == len(current) and _recent(found, now):
        return "release_failing", LIKELY, [*lines, _since(found)]
    return "inconclusive", UNDECIDED, [*lines, _since(found)]


def _by_way(found: ServiceFindings, look: WorkloadLook) -> _Finding:
    """All pods are ready: does what leads to them?"""
    own = [result for result in found.failing if result.target == found.service]
    route = found.route
    if found.route_wanted and route is None:
        return "traffic_misrouted", PROVEN, ["its Service does not exist", _figures(look)]
    if route is not None and route.missed:
        lines = [f"the selector of Service {route.name} wants another {key} than the pods have" for key in route.missed]
        return "traffic_misrouted", PROVEN, [*lines, f"{route.endpoints} addresses get its traffic", _figures(look)]
    if not own:
        return "healthy", PROVEN, [_figures(look)]
    evidence = [f"{result.id} fails ({result.error_class})" for result in own[:3]]
    broken = _broken_dependencies(found)
    if broken:
        return (
            "dependency_down",
            PROVEN,
            [*broken, *evidence],
        )
    if found.replicas is not None and look.desired < found.replicas.count and not found.scaled_by:
        return "scaled_down", LIKELY, [f"{_name(look)} has {look.desired} pods", *_wanted(found), *evidence]
    if all(result.error_class in _ABSENCES for result in own):
        return "way_lost", LIKELY, [*evidence, _figures(look)]
    return "inconclusive", UNDECIDED, [*evidence, _figures(look)]


# What a client sees of a service that nobody leads it to.
_ABSENCES = frozenset(("refused", "unreachable", "timeout", "name_resolution", "closed", "unavailable"))


def _wanted(found: ServiceFindings) -> list[str]:
    """How many pods there should be, and who sets the number."""
    lines = [] if found.replicas is None else [f"it had {found.replicas.count} ({found.replicas.why})"]
    return [*lines, f"{found.scaled_by} sets the number"] if found.scaled_by else lines


def _waiting(pods: Sequence[PodLook], reasons: frozenset[str]) -> list[str]:
    return [
        f"pod {pod.name} waits: {pod.waiting}, {pod.message or 'no more is said'}"
        for pod in pods
        if pod.waiting in reasons
    ]


def _broken_dependencies(found: ServiceFindings) -> list[str]:
    """A sentence for each."""
    broken = sorted({result.target for result in found.failing} & set(found.depends_on))
    return [f"{name}, which it depends on, fails its own checks" for name in broken]


def _recent(found: ServiceFindings, now: float) -> bool:
    return found.changed_at is not None and now - found.changed_at <= RECENT_SECONDS


def _since(found: ServiceFindings) -> str:
    if found.changed_at is None:
        return "since when this revision is rolled out is not known"
    made = datetime.datetime.fromtimestamp(found.changed_at, datetime.UTC)
    return f"its revision was made at {made:%Y-%m-%dT%H:%M:%SZ}"


def _name(look: WorkloadLook) -> str:
    return f"{look.kind.lower()}/{look.name}"


def _figures(look: WorkloadLook) -> str:
    return f"{_name(look)}: {look.ready} of {look.desired} pods are ready, {look.updated} of the newest revision"
