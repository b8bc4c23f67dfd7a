# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether somebody is inside of a service on Kubernetes. Pure.

Sockets and processes of containers are not seen through an API server. What is seen are pods that take the service's
traffic and that its workload did not make, and containers that were put into its pods; and what the monitoring says.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import NamespaceObjects
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import fits
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

_MOST_STRAYS = 10
_RELEASE = (
    "Nobody here can see whether it is clean: look at the evidence and at its image, roll a good one out, then: "
    "codeblue run release_service --limit {name}."
)


def strays_of(objects: NamespaceObjects, kind: str, name: str, route: str | None) -> tuple[str, ...]:
    """What does not belong to a workload and acts as if it did, one sentence each.

    :param route: the Service that leads to it; None when there is none.
    """
    workload = objects.find(kind, name)
    if workload is None:
        return ()
    makers = objects.owned_by("ReplicaSet", workload) if kind == "Deployment" else [workload]
    own = {str(pod["metadata"]["uid"]) for maker in makers for pod in objects.owned_by("Pod", maker)}
    service = objects.find("Service", route) if route is not None else None
    selector = (service or {}).get("spec", {}).get("selector") or {}
    found = []
    for pod in objects.by_kind.get("Pod", ()):
        metadata = pod["metadata"]
        if str(metadata["uid"]) in own:
            added = [str(each["name"]) for each in pod["spec"].get("ephemeralContainers") or ()]
            if added:
                found.append(f"container {', '.join(added)} was put into pod {metadata['name']}")
        elif not _is_made(pod) and fits(selector, metadata.get("labels") or {}):
            found.append(f"pod {metadata['name']}, which no controller made, takes traffic of Service {route}")
    return tuple(sorted(found)[:_MOST_STRAYS])


def judge_breach(name: str, strays: Sequence[str], alarms: Sequence[CheckResult], cut_off: str) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param alarms: signals of the topic `intrusion` of this service that are not clear.
    :param cut_off: by what key it is cut off on purpose already; empty when it is not.
    """
    cause, confidence, treatment = _judged(bool(strays), bool(alarms), cut_off)
    evidence = [*strays, *(f"the monitoring says so: {each.id}" for each in alarms)]
    if cut_off:
        evidence.append(f"it is cut off on purpose already: {cut_off}")
    next_step = _RELEASE.format(name=name) if treatment in ("quarantine", "person") else ""
    if treatment == "person" and not cut_off:
        next_step = f"Find out who made them; to cut the service off: codeblue run quarantine_service --limit {name}."
    return {
        "cause": cause,
        "confidence": confidence,
        "treatment": treatment,
        "evidence": tuple(evidence),
        "next_step": next_step,
        # What the same runbook needs of services on machines.
        **{key: [] for key in ("machines", "peers", "callers", "subjects")},
        "strays": len(strays),
    }


def _judged(strays: bool, alarmed: bool, cut_off: str) -> tuple[str, float, str]:
    if cut_off:
        return "cut_off", PROVEN, "person" if strays or alarmed else "none"
    if alarmed:
        # The monitoring sees what nobody can here. Cutting a clinical service off needs a person's word besides.
        return "intrusion", PROVEN if strays else LIKELY, "quarantine"
    if strays:
        return "inconclusive", UNDECIDED, "person"
    return "healthy", LIKELY, "none"


def _is_made(pod: Mapping[str, t.Any]) -> bool:
    return any(owner.get("controller") for owner in pod["metadata"].get("ownerReferences") or ())
