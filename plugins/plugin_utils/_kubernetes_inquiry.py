# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at all targets on Kubernetes at once, in a process of its own, while the run is being opened.

One list of each kind and namespace serves all its services. Secrets and ConfigMaps are never listed: those that the
template of a workload in trouble names are asked for one by one, and only the names of their keys are kept.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes_breach import strays_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._forked_work import ForkedWork
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    Missing,
    NamespaceObjects,
    ServiceLook,
    WorkloadLook,
    look_at_service,
    look_at_workload,
    missing_references,
    wanted_references,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import (
    REPLICAS_KIND,
    ReplicaSources,
    replica_sources,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import (
    ROUTE_KIND,
    cut_off,
    last_good_route,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient

_LOOK_SECONDS = 20.0
# Beyond the calls' own budget: for the start of the process and the import of the client.
_AROUND_SECONDS = 10.0

_Place = tuple[str | None, str | None, str]


@dataclass(frozen=True)
class WorkloadSeen:
    """What was seen of one service.

    :param changed_at: Unix seconds when the revision that is rolled out was made; None when unknown.
    :param earlier: versions that are kept and are not rolled out, the latest first.
    :param replicas: what the cluster says about the number of its pods; None for a DaemonSet.
    :param labelled: the parts of the workload that say which labels its pods have.
    :param cut_off: by what key it is cut off on purpose; empty when it is not.
    :param strays: what acts as if it belonged to the service, one sentence each.
    :param version: what is rolled out; empty when there is none.
    """

    workload: WorkloadLook | None
    route: ServiceLook | None
    missing: tuple[Missing, ...]
    changed_at: float | None
    earlier: tuple[str, ...]
    replicas: ReplicaSources | None = None
    labelled: Mapping[str, t.Any] | None = None
    cut_off: str = ""
    strays: tuple[str, ...] = ()
    version: str = ""

    def findings(
        self,
        service: Service,
        failing: Iterable[CheckResult],
        bad: Iterable[str],
        proven: Callable[[str], Sequence[str]],
    ) -> ServiceFindings:
        """With what the checks say, ready to be judged.

        :param bad: versions that are marked bad.
        :param proven: by kind, what earlier runs have seen working, the latest first.
        """
        place = service.require_kubernetes()
        route = last_good_route(self.labelled, proven(ROUTE_KIND)) if self.labelled is not None else None
        known = self.replicas.known(proven(REPLICAS_KIND), place.replicas) if self.replicas is not None else None
        return ServiceFindings(
            service=service.name,
            depends_on=service.depends_on,
            workload=self.workload,
            route=self.route,
            route_wanted=place.service is not None,
            missing=self.missing,
            failing=tuple(failing),
            changed_at=self.changed_at,
            earlier=bool(set(self.earlier) - set(bad)),
            replicas=known,
            scaled_by=self.replicas.owner if self.replicas is not None else "",
            selector=route.text if route is not None else "",
            cut_off=self.cut_off,
            kind=service.kind,
            version=self.version,
        )


class KubernetesInquiry:
    """The namespaces of the targets, listed from the moment this is made."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        platforms = {name: service.require_kubernetes() for name, service in services.items()}
        self._work = ForkedWork(
            "the look at Kubernetes", lambda: look_at_platforms(platforms), _LOOK_SECONDS + _AROUND_SECONDS
        )

    def answers(self) -> dict[str, WorkloadSeen]:
        """Wait for all, by target.

        :raises CodeblueError: an API server cannot be asked.
        """
        return self._work.result()

    def end(self) -> None:
        """End what is still under way."""
        self._work.end()


def look_at_platforms(platforms: Mapping[str, KubernetesPlatform]) -> dict[str, WorkloadSeen]:
    """What is seen of some services, in this process.

    :raises CodeblueError: an API server cannot be asked.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
        CONTROLLER_REVISIONS,
        ENDPOINT_SLICES,
        PODS,
        REPLICA_SETS,
        SERVICES,
        WORKLOAD_RESOURCES,
        Budget,
        KubernetesClient,
    )

    always = {"Pod": PODS, "Service": SERVICES, "EndpointSlice": ENDPOINT_SLICES}
    budget = Budget(_LOOK_SECONDS)
    seen: dict[str, WorkloadSeen] = {}
    for (kubeconfig, context, namespace), names in _by_place(platforms).items():
        client = KubernetesClient(ClusterAccess(kubeconfig, context), budget)
        kinds = {platforms[name].workload.kind for name in names}
        wanted = {**always, **{kind: WORKLOAD_RESOURCES[kind] for kind in kinds}}
        if "Deployment" in kinds:
            wanted["ReplicaSet"] = REPLICA_SETS
        if kinds - {"Deployment"}:
            wanted["ControllerRevision"] = CONTROLLER_REVISIONS
        objects = NamespaceObjects({kind: client.list_all(each, namespace) for kind, each in wanted.items()})
        scalers = _autoscalers(client, namespace) if kinds - {"DaemonSet"} else []
        seen |= {name: _seen(platforms[name], objects, scalers, client) for name in names}
    return seen


def _by_place(platforms: Mapping[str, KubernetesPlatform]) -> dict[_Place, list[str]]:
    found: dict[_Place, list[str]] = {}
    for name, platform in platforms.items():
        found.setdefault((platform.kubeconfig, platform.context, platform.namespace), []).append(name)
    return found


def _seen(
    platform: KubernetesPlatform,
    objects: NamespaceObjects,
    scalers: Sequence[Mapping[str, t.Any]],
    client: KubernetesClient,
) -> WorkloadSeen:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import read_rollout

    kind, name = platform.workload.kind, platform.workload.name
    workload = objects.find(kind, name)
    look = look_at_workload(objects, kind, name)
    earlier: tuple[str, ...] = ()
    changed_at, version = None, ""
    missing: tuple[Missing, ...] = ()
    if workload is not None and look is not None and not look.complete:
        missing = missing_references(_with_wanted(objects, workload, platform.namespace, client), kind, name)
    if workload is not None:
        history = objects.by_kind["ReplicaSet" if kind == "Deployment" else "ControllerRevision"]
        rollout = read_rollout({**workload, "kind": kind}, history, objects.by_kind["Pod"])
        earlier = tuple(each.version for each in rollout.earlier)
        changed_at, version = _changed_at(workload), rollout.current.version
    route = platform.service
    counted = workload is not None and kind != "DaemonSet"
    return WorkloadSeen(
        workload=look,
        route=look_at_service(objects, route, name, kind) if route is not None else None,
        missing=missing,
        changed_at=changed_at,
        earlier=earlier,
        version=version,
        replicas=replica_sources({**(workload or {}), "kind": kind}, scalers) if counted else None,
        labelled=_labelled(workload, kind) if workload is not None else None,
        cut_off=cut_off(workload, objects.find("Service", route) if route is not None else None),
        strays=strays_of(objects, kind, name, route),
    )


def _autoscalers(client: KubernetesClient, namespace: str) -> list[dict[str, t.Any]]:
    """Asked for always: whether the number of pods is what is wrong follows from what earlier runs saw as well."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import AUTOSCALERS
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Forbidden

    try:
        return client.list_all(AUTOSCALERS, namespace)
    except Forbidden:
        # The step that scales says so.
        return []


def _labelled(workload: Mapping[str, t.Any], kind: str) -> dict[str, t.Any]:
    spec = workload["spec"]
    template = {"metadata": {"labels": (spec["template"].get("metadata") or {}).get("labels") or {}}}
    return {"kind": kind, "spec": {"selector": spec.get("selector") or {}, "template": template}}


def _with_wanted(
    objects: NamespaceObjects, workload: Mapping[str, t.Any], namespace: str, client: KubernetesClient
) -> NamespaceObjects:
    """With what its template wants of Secrets and ConfigMaps and is there: names and keys."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import CONFIG_MAPS, SECRETS
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Forbidden, NotFound

    resources = {"Secret": SECRETS, "ConfigMap": CONFIG_MAPS}
    wanted = wanted_references(workload)
    found: dict[str, list[dict[str, t.Any]]] = {kind: [] for kind in resources}
    for kind, name in dict.fromkeys((each.kind, each.name) for each in wanted):
        try:
            there = client.get(resources[kind], name, namespace)
            keys = [*(there.get("data") or {}), *(there.get("binaryData") or {})]
        except NotFound:
            continue
        except Forbidden:
            # Without the right nothing is said about it: the pods tell what they wait for.
            keys = [each.key for each in wanted if (each.kind, each.name) == (kind, name) and each.key is not None]
        found[kind].append({"metadata": {"name": name}, "data": dict.fromkeys(keys)})
    return NamespaceObjects({**objects.by_kind, **found})


def _changed_at(workload: Mapping[str, t.Any]) -> float | None:
    """When the template was last changed, by whoever owns that field: a revision that comes back keeps its age."""
    moments = [
        each["time"]
        for each in workload["metadata"].get("managedFields") or ()
        if each.get("time") and "f:template" in (each.get("fieldsV1") or {}).get("f:spec", {})
    ]
    if not moments:
        moments = [str(workload["metadata"].get("creationTimestamp") or "")]
    newest = max(moments)
    return datetime.datetime.fromisoformat(newest.replace("Z", "+00:00")).timestamp() if newest else None
