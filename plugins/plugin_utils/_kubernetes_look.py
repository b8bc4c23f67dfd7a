# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a workload of Kubernetes and its Service are, read from the lists of their namespace. Pure.

One list of each kind serves all services of a namespace, so that the calls to the API do not grow with them.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Object = Mapping[str, t.Any]

# Reasons for which a container waits that a wait does not mend.
IMAGE_REASONS = frozenset(
    ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
)
CONFIGURATION_REASONS = frozenset(("CreateContainerConfigError", "CreateContainerError"))
CRASH_REASON = "CrashLoopBackOff"
# A container that ended so often has not ended by accident.
_CRASHES = 2
_HASH_LABELS = ("pod-template-hash", "controller-revision-hash")
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True)
class PodLook:
    """One pod of a workload.

    :param revision: the hash of the template that it was made from.
    :param waiting: why its first container that waits does so; None when none waits.
    :param message: the kubelet's words about it, short; they name images and objects, no values.
    :param ended: the reason of the last end of a container, such as `OOMKilled`; None when none ended.
    :param unschedulable: why no node takes it; None when one did.
    :param leaving: it was told to go.
    """

    name: str
    revision: str
    images: tuple[str, ...]
    ready: bool
    waiting: str | None
    message: str
    restarts: int
    ended: str | None
    unschedulable: str | None
    node: str | None
    leaving: bool

    @property
    def crashes(self) -> bool:
        """A container ends again and again."""
        return self.waiting == CRASH_REASON or (not self.ready and self.restarts >= _CRASHES)


@dataclass(frozen=True)
class WorkloadLook:
    """A Deployment, StatefulSet or DaemonSet, and its pods.

    :param revision: the hash of the template that is rolled out now; empty when the controller has not said it.
    :param desired: how many pods there should be.
    :param observed: the controller has seen the latest change.
    :param refused: what the API says when a pod cannot be created, such as a quota; None when it can.
    """

    kind: str
    name: str
    revision: str
    images: tuple[str, ...]
    desired: int
    ready: int
    updated: int
    observed: bool
    paused: bool
    refused: str | None
    pods: tuple[PodLook, ...]

    @property
    def current(self) -> tuple[PodLook, ...]:
        """The pods of the revision that is rolled out now."""
        return tuple(pod for pod in self.pods if pod.revision == self.revision and not pod.leaving)

    @property
    def complete(self) -> bool:
        """All pods are of the newest revision and ready."""
        return self.observed and self.desired == self.ready == self.updated


@dataclass(frozen=True)
class ServiceLook:
    """A Service.

    :param selects: how many pods of the workload its selector fits, whether they are ready or not.
    :param endpoints: how many addresses take traffic.
    :param missed: the keys of the selector that the pods of the workload have another value for, or none.
    """

    name: str
    selects: int
    endpoints: int
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """A Secret or ConfigMap, or a key of one, that the template wants and that is not there.

    :param key: None when the whole object is missing.
    """

    kind: str
    name: str
    key: str | None

    def text(self) -> str:
        """For people; names only."""
        return f"{self.kind} {self.name}" if self.key is None else f"key {self.key} of {self.kind} {self.name}"


@dataclass(frozen=True)
class NamespaceObjects:
    """The listed objects of one namespace, by kind."""

    by_kind: Mapping[str, Sequence[Object]]

    def find(self, kind: str, name: str) -> Object | None:
        """The object, None when there is none."""
        return next((each for each in self.by_kind.get(kind, ()) if each["metadata"]["name"] == name), None)

    def owned_by(self, kind: str, owner: Object) -> list[Object]:
        """Objects that the owner controls; by uid, as names come back."""
        uid = owner["metadata"]["uid"]
        return [
            each
            for each in self.by_kind.get(kind, ())
            if any(ref["uid"] == uid and ref.get("controller") for ref in each["metadata"].get("ownerReferences") or ())
        ]


def look_at_workload(objects: NamespaceObjects, kind: str, name: str) -> WorkloadLook | None:
    """How the workload is; None when it does not exist.

    :param kind: `Deployment`, `StatefulSet` or `DaemonSet`.
    """
    workload = objects.find(kind, name)
    if workload is None:
        return None
    spec, status = workload["spec"], workload.get("status") or {}
    if kind == "Deployment":
        sets = objects.owned_by("ReplicaSet", workload)
        pods = [pod for each in sets for pod in objects.owned_by("Pod", each)]
        revision = _newest_template(sets)
    else:
        pods = objects.owned_by("Pod", workload)
        revision = _newest_revision(objects.owned_by("ControllerRevision", workload), kind)
    desired, ready = desired_and_ready(kind, workload)
    updated = int(status.get("updatedNumberScheduled" if kind == "DaemonSet" else "updatedReplicas") or 0)
    generation = int(workload["metadata"].get("generation") or 0)
    return WorkloadLook(
        kind=kind,
        name=name,
        revision=revision,
        images=_images(spec["template"]["spec"]),
        desired=desired,
        ready=ready,
        updated=updated,
        observed=int(status.get("observedGeneration") or 0) >= generation,
        paused=bool(spec.get("paused")),
        refused=_refusal(status),
        pods=tuple(sorted((_pod(each) for each in pods), key=lambda pod: pod.name)),
    )


def look_at_service(objects: NamespaceObjects, name: str, workload: str, kind: str) -> ServiceLook | None:
    """How the Service leads to the pods of the workload; None when it does not exist."""
    service = objects.find("Service", name)
    if service is None:
        return None
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    owner = objects.find(kind, workload)
    template = ((owner or {}).get("spec") or {}).get("template", {}).get("metadata", {}).get("labels") or {}
    parts = [
        each
        for each in objects.by_kind.get("EndpointSlice", ())
        if (each["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == name
    ]
    fitting = [pod for pod in objects.by_kind.get("Pod", ()) if _fits(selector, pod["metadata"].get("labels") or {})]
    return ServiceLook(
        name=name,
        selects=len(fitting),
        endpoints=ready_endpoints(parts),
        missed=tuple(sorted(key for key, value in selector.items() if template.get(key) != value)),
    )


def desired_and_ready(kind: str, workload: Object) -> tuple[int, int]:
    """How many pods there should be, and how many are ready."""
    spec, status = workload["spec"], workload.get("status") or {}
    if kind == "DaemonSet":
        return int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
    return int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)


def selecting_service(name: str) -> str:
    """The label selector for the EndpointSlices of a Service."""
    return f"{_SERVICE_LABEL}={name}"


def ready_endpoints(slices: Iterable[Object]) -> int:
    """How many addresses of these EndpointSlices take traffic."""
    return sum(
        1 for part in slices for each in part.get("endpoints") or () if (each.get("conditions") or {}).get("ready")
    )


def missing_references(objects: NamespaceObjects, kind: str, name: str) -> tuple[Missing, ...]:
    """What the template of the workload wants of Secrets and ConfigMaps and is not there.

    What it marks as optional is left out. Values are not looked at.
    """
    workload = objects.find(kind, name)
    if workload is None:
        return ()
    found: dict[Missing, None] = {}
    for each in wanted_references(workload):
        there = objects.find(each.kind, each.name)
        if there is None:
            found[Missing(each.kind, each.name, None)] = None
        elif each.key is not None and each.key not in {**(there.get("data") or {}), **(there.get("binaryData") or {})}:
            found[each] = None
    return tuple(found)


def wanted_references(workload: Object) -> tuple[Missing, ...]:
    """Every Secret and ConfigMap, or key of one, that the template cannot do without."""
    wanted = {
        Missing(kind, name, key): None
        for kind, name, key, optional in _references(workload["spec"]["template"]["spec"])
        if not optional
    }
    return tuple(wanted)


_Reference = tuple[str, str, str | None, bool]


def _references(pod: Mapping[str, t.Any]) -> Iterable[_Reference]:
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        for source in container.get("envFrom") or ():
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if field in source:
                    yield kind, source[field]["name"], None, bool(source[field].get("optional"))
        for variable in container.get("env") or ():
            origin = variable.get("valueFrom") or {}
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if field in origin:
                    yield kind, origin[field]["name"], origin[field]["key"], bool(origin[field].get("optional"))
    for volume in pod.get("volumes") or ():
        yield from _volume(volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                if field in source:
                    yield from _items(kind, source[field]["name"], source[field])


def _volume(volume: Mapping[str, t.Any]) -> Iterable[_Reference]:
    if "secret" in volume:
        yield from _items("Secret", volume["secret"]["secretName"], volume["secret"])
    if "configMap" in volume:
        yield from _items("ConfigMap", volume["configMap"]["name"], volume["configMap"])


def _items(kind: str, name: str, source: Mapping[str, t.Any]) -> Iterable[_Reference]:
    optional = bool(source.get("optional"))
    for item in source.get("items") or ({"key": None},):
        yield kind, name, item["key"], optional


def _pod(pod: Object) -> PodLook:
    status = pod.get("status") or {}
    labels = pod["metadata"].get("labels") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [
        each["state"]["waiting"]
        for each in containers
        if "waiting" in (each.get("state") or {})
        # Every container begins like this, and is on its way.
        and each["state"]["waiting"].get("reason") not in (None, "ContainerCreating", "PodInitializing")
    ]
    ends = [
        (each.get("lastState") or {}).get("terminated") or (each.get("state") or {}).get("terminated")
        for each in containers
    ]
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    return PodLook(
        name=pod["metadata"]["name"],
        revision=next((labels[key] for key in _HASH_LABELS if key in labels), ""),
        images=_images(pod["spec"]),
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        waiting=str(waiting[0]["reason"]) if waiting else None,
        message=str(waiting[0].get("message") or "")[:200] if waiting else "",
        restarts=sum(int(each.get("restartCount") or 0) for each in containers),
        ended=next((str(each.get("reason") or f"exit {each.get('exitCode')}") for each in ends if each), None),
        unschedulable=str(scheduled.get("message") or scheduled.get("reason") or "")[:200]
        if scheduled.get("status") == "False"
        else None,
        node=pod["spec"].get("nodeName"),
        leaving="deletionTimestamp" in pod["metadata"],
    )


def _images(pod: Mapping[str, t.Any]) -> tuple[str, ...]:
    return tuple(str(each.get("image", "")) for each in pod["containers"])


def _refusal(status: Mapping[str, t.Any]) -> str | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition.get("message") or condition.get("reason") or "")[:300]
    return None


def _newest_template(sets: Sequence[Object]) -> str:
    """The hash of the ReplicaSet with the highest revision: the one that is rolled out."""
    newest = max(sets, key=_revision_number, default=None)
    return "" if newest is None else str((newest["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def _revision_number(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", "0")
    return int(text) if str(text).isdigit() else 0


def _newest_revision(revisions: Sequence[Object], kind: str) -> str:
    """What the pods of the newest revision carry as their label: its name for a StatefulSet, else its hash.

    A rollout that is rolled back gives an old revision the highest number again.
    """
    newest = max(revisions, key=lambda each: int(each.get("revision") or 0), default=None)
    if newest is None:
        return ""
    if kind == "StatefulSet":
        return str(newest["metadata"]["name"])
    return str((newest["metadata"].get("labels") or {}).get("controller-revision-hash", ""))


def _fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """A selector without keys selects nothing: its endpoints are somebody else's affair."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
