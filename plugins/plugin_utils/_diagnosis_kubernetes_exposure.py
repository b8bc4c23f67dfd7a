# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where patients' data is exposed by a service on Kubernetes: in its logs, by its answers, by a way in nobody meant.

All are looked at whatever the signal said, because a release that does the one may do the other. Only counts, paths
without numbers, and names of pods, objects and versions go into the result.
"""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Budget, KubernetesClient
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_exposure import ask_pods, has_front
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_pod_logs import LogScan, PodLogs
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_ways_in import WayIn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

# Reading logs is what takes long; what was not read in time is said, and then the finding is inconclusive.
_LOOK_SECONDS = 20.0
# One question for a log: a node that does not answer for its logs leaves time for the others.
_PATIENCE = 2.0
_ASK_SECONDS = 3.0
_MOST_PAGES = 20
_MOST_EVIDENCE = 12
CLOSE = "close_exposure"


@dataclass(frozen=True)
class ExposureSeen:
    """What was seen of one service.

    :param open_on: page to where it was answered without a credential.
    :param given: page to how often it gave patients to callers whom nobody had asked who they are.
    :param problems: what could not be looked at.
    """

    scan: LogScan
    open_on: Mapping[str, Sequence[str]]
    given: Mapping[str, int]
    ways: Sequence[WayIn]
    problems: Sequence[str]


def look(service: Service) -> ExposureSeen:
    """Look at logs, answers and ways in of a service.

    :raises KubernetesError: not even the pods can be listed.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure import ways_nobody_meant

    place, policy = service.require_kubernetes(), service.phi
    if policy is None:
        raise AssertionError("only services with patients' data are looked at")
    access = ClusterAccess(place.kubeconfig, place.context)
    client = KubernetesClient(access, Budget(_LOOK_SECONDS), patience=_PATIENCE)
    logs = PodLogs(client, place)
    pods = logs.pods()
    # Digests are compared within this look only: nobody needs the key afterwards.
    scan = LogScan(policy, secrets.token_bytes(32))
    for log in logs.read(pods):
        scan.add(log)
    given = dict(scan.access.paths)
    pages = sorted({*policy.refused_requests, *(pattern.replace("{n}", "1") for pattern in given)})[:_MOST_PAGES]
    answers, problems = ask_pods(client, place, pods, pages)
    open_on = {page: [f"pod {pod}" for pod, status in of.items() if _is_open(status)] for page, of in answers.items()}
    outside = _from_outside(service, pages)
    for page, status in outside.items():
        if status is not None and _is_open(status):
            open_on.setdefault(page, []).append("the way from outside")
    if any(status is not None for status in outside.values()):
        # Whoever was asked from outside was answered by one of the pods.
        problems = []
    found = {page: where for page, where in open_on.items() if where}
    return ExposureSeen(scan, found, given, ways_nobody_meant(client, place), [*logs.left_out, *problems])


def judge_exposure(
    service: Service, looked: WorkloadSeen, seen: ExposureSeen, reported: bool, detected_at: str | None
) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param looked: the workload, for the version that is rolled out.
    :param reported: the monitoring reports an exposure.
    """
    scan = seen.scan
    current = looked.workload.revision if looked.workload is not None else ""
    by_version = bool(seen.open_on) or any(pod.hash == current for pod in scan.dirty.values())
    began = min([each for each in (scan.first, scan.access.as_dict()["first"]) if each], default=None)
    data = {
        "exposure": {
            "pages": sorted(seen.open_on),
            "pods": {pod.name: pod.uid for pod in scan.dirty.values()},
            "ways": [each.key for each in seen.ways],
            "version": looked.version if by_version else "",
            "began_at": began,
            "detected_at": detected_at,
            "people_at_least": len(scan.people | scan.access.people),
        }
    }
    evidence = _evidence(seen)
    cause, confidence, treatment, next_step = _cause(seen, reported)
    if cause == "inconclusive":
        said = [*seen.problems, *evidence] or ["monitoring reports an exposure, and neither logs nor answers show one"]
        evidence = said
    elif cause == "healthy":
        evidence = ["nothing is exposed"]
    else:
        evidence += seen.problems
    if cut := looked.cut_off:
        evidence.append(f"it is cut off on purpose already: {cut}")
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence[:_MOST_EVIDENCE]),
        "treatment": treatment,
        "next_step": next_step,
        **data,
    }


def _cause(seen: ExposureSeen, reported: bool) -> tuple[str, float, str, str]:
    """Cause, confidence, treatment and the next step of a person."""
    if seen.open_on:
        # An open page that gave nothing yet may be an empty one.
        return "public_endpoint", PROVEN if seen.given or seen.scan.lines else LIKELY, CLOSE, ""
    if seen.ways:
        return "public_way", PROVEN, CLOSE, ""
    if seen.scan.dirty:
        return "phi_in_log", PROVEN, CLOSE, ""
    if seen.problems:
        return "inconclusive", UNDECIDED, "person", "look at what could not be read, then run it again"
    if seen.given:
        return "past_disclosure", LIKELY, CLOSE, ""
    if reported:
        return "inconclusive", UNDECIDED, "person", "ask monitoring what it saw, and where"
    return "healthy", PROVEN, "none", ""


def _evidence(seen: ExposureSeen) -> list[str]:
    found = [f"{page} is answered without a credential on {', '.join(on[:5])}" for page, on in seen.open_on.items()]
    found += [
        f"{number} answers with data of patients went to callers whom nobody had asked who they are ({pattern})"
        for pattern, number in sorted(seen.given.items())
    ]
    return found + [each.text for each in seen.ways] + seen.scan.evidence()


def _from_outside(service: Service, pages: Sequence[str]) -> dict[str, int | None]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import front_of, statuses_from_outside

    if not pages or not has_front(service):
        return {}
    return statuses_from_outside(front_of(service), pages, _ASK_SECONDS)


def _is_open(status: int) -> bool:
    return 200 <= status < 300
