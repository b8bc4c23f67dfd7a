# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until all pods of a workload are of one revision and serve, or until it is plain that they will not.

One call each time while it goes on. The pods are looked at when nothing has moved for a moment, for they say why.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import (
    Revision,
    hash_of,
    is_ready,
    owned_by,
)

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Budget, KubernetesClient
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
# So many unchanged answers in a row before the pods are asked.
_STILL = 3
# From these a pod comes back by somebody's hand only. `ErrImagePull` and `ContainerCreating` often pass.
_HOPELESS = frozenset(
    (
        "ImagePullBackOff",
        "InvalidImageName",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    )
)

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Waited:
    """How it ended.

    :param problem: why not all pods serve; empty when they do.
    :param replaced: pods that were deleted because they stood in the way.
    """

    problem: str
    seconds: float
    replaced: tuple[str, ...] = ()


class RolloutWaiter:
    """Waits for one workload.

    :param meanwhile: called over and over, so that others see that somebody is at work.
    :param clear_the_way: given the pods of other revisions that have to be deleted; returns the names of those it did.
    """

    def __init__(
        self,
        client: KubernetesClient,
        place: KubernetesPlatform,
        meanwhile: Callable[[], None],
        clear_the_way: Callable[[Sequence[Object]], Sequence[str]],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._place = place
        self._meanwhile = meanwhile
        self._clear = clear_the_way
        self._sleep = sleep

    def wait(self, wanted: Revision, budget: Budget) -> Waited:
        """Wait for all pods of a revision.

        :raises KubernetesError: the workload cannot be read.
        """
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
            PODS,
            WORKLOAD_RESOURCES,
        )

        started = time.monotonic()
        resource = WORKLOAD_RESOURCES[self._place.workload.kind]
        pause, still, last = _FIRST_PAUSE, 0, None
        replaced: list[str] = []
        problem = "its controller has not begun"
        while True:
            workload = self._client.get(resource, self._place.workload.name, self._place.namespace)
            problem = progress(workload)
            if not problem:
                return Waited("", time.monotonic() - started, tuple(replaced))
            now = (problem, workload["status"])
            still, pause = (still + 1, pause) if now == last else (0, _FIRST_PAUSE)
            last = now
            failure = refused_pods(workload)
            if still >= _STILL and not failure and _is_seen(workload):
                pods = self._client.list_all(PODS, self._place.namespace, labels=selector_of(workload))
                own = _own(workload, pods)
                broken = in_the_way(workload, own, wanted.hash)
                if broken:
                    replaced += self._clear(broken)
                    still = 0
                failure = hopeless(own, str(workload["kind"]), wanted.hash) or self._not_made(workload, own, broken)
            if failure or budget.left <= 0:
                said = failure or f"{problem} after {time.monotonic() - started:.0f} s"
                return Waited(said, time.monotonic() - started, tuple(replaced))
            self._meanwhile()
            self._sleep(min(pause, budget.left))
            pause = min(pause * 1.6, _LONGEST_PAUSE)

    def _not_made(self, workload: Object, pods: Sequence[Object], broken: Sequence[Object]) -> str:
        """Why a StatefulSet's or DaemonSet's pods are not made; a Deployment says so itself."""
        if workload["kind"] == "Deployment" or broken or len(pods) >= _wanted(workload):
            return ""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import EVENTS

        fields = f"involvedObject.uid={workload['metadata']['uid']},reason=FailedCreate"
        events = self._client.list_all(EVENTS, self._place.namespace, fields=fields)
        latest = max(events, key=lambda each: str(each.get("lastTimestamp") or ""), default=None)
        return f"its pods cannot be made: {_short(str(latest.get('message')))}" if latest is not None else ""


def progress(workload: Object) -> str:
    """What is still missing, in one line; empty when the rollout is complete."""
    status, wanted = workload.get("status") or {}, _wanted(workload)
    if not _is_seen(workload):
        return "its controller has not begun"
    if workload["kind"] == "DaemonSet":
        updated, serving = status.get("updatedNumberScheduled") or 0, status.get("numberAvailable") or 0
        existing = status.get("currentNumberScheduled") or 0
    else:
        updated, serving = status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0
        existing = status.get("replicas") or 0
    if updated < wanted:
        return f"{updated} of {wanted} pods are of the wanted version"
    if serving < wanted:
        return f"{serving} of {wanted} pods serve"
    if existing > wanted:
        return f"{existing - wanted} pods of another version are still there"
    return ""


def refused_pods(workload: Object) -> str:
    """Why the API refuses the pods of a Deployment, or that its own deadline is over; empty when neither."""
    for each in (workload.get("status") or {}).get("conditions") or ():
        if each.get("type") == "ReplicaFailure" and each.get("status") == "True" and _is_seen(workload):
            return f"its pods cannot be made: {_short(str(each.get('message')))}"
    return ""


def hopeless(pods: Iterable[Object], kind: str, wanted: str) -> str:
    """Why a pod of the wanted revision will not come up; empty when it may.

    :param wanted: by which its pods are labelled; empty for any.
    """
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp") or (wanted and hash_of(pod, kind) != wanted):
            continue
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _HOPELESS:
                said = _short(str(waiting.get("message") or ""))
                return f"pod {pod['metadata']['name']}: {waiting['reason']}{f', {said}' if said else ''}"
    return ""


def in_the_way(workload: Object, pods: Sequence[Object], wanted: str) -> list[Object]:
    """Pods of other revisions that their controller will not replace by itself.

    A StatefulSet that starts its pods in order waits for a broken one for ever, also after its template was mended.
    With the strategy OnDelete nothing is replaced by itself: the broken ones go first, then one that serves at a time.
    """
    kind = str(workload["kind"])
    others = [
        each
        for each in pods
        if wanted and hash_of(each, kind) != wanted and not each["metadata"].get("deletionTimestamp")
    ]
    broken = [each for each in others if not is_ready(each)]
    if kind == "Deployment" or not others:
        return []
    if (workload["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        all_serve = all(is_ready(each) for each in pods) and len(pods) >= _wanted(workload)
        return broken or (others[-1:] if all_serve else [])
    return broken if kind == "StatefulSet" else []


def selector_of(workload: Object) -> str:
    """The label selector of its pods, as a query has it."""
    selector = workload["spec"]["selector"]
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        values = ",".join(each.get("values") or ())
        parts.append(
            {
                "In": f"{each['key']} in ({values})",
                "NotIn": f"{each['key']} notin ({values})",
                "Exists": str(each["key"]),
                "DoesNotExist": f"!{each['key']}",
            }[each["operator"]]
        )
    return ",".join(parts)


def _own(workload: Object, pods: Sequence[Object]) -> list[Object]:
    # Those of a Deployment belong to its ReplicaSets, whose hash tells them apart.
    if workload["kind"] == "Deployment":
        return list(pods)
    return owned_by(pods, str(workload["metadata"]["uid"]))


def _wanted(workload: Object) -> int:
    if workload["kind"] == "DaemonSet":
        return int((workload.get("status") or {}).get("desiredNumberScheduled") or 0)
    return int(workload["spec"].get("replicas", 1))


def _is_seen(workload: Object) -> bool:
    observed = (workload.get("status") or {}).get("observedGeneration") or 0
    return bool(observed >= workload["metadata"]["generation"])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:200] + "…"
