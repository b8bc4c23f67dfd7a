# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evidence of a service on Kubernetes: what goes first when a pod does, before what the API server keeps anyway.

Pods with their state, the ends of their logs with those of containers that ended before, events, then the manifests of
the namespace with who wrote which field when. Values of Secrets and variables are replaced by digests that only tell
within this one collection which are the same.
"""

from __future__ import annotations

import json
import secrets
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONTROLLER_REVISIONS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    WORKLOAD_RESOURCES,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    ApiUnavailable,
    KubernetesError,
    NotFound,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import KINDS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import without_values
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import selector_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

#: Under this name the store of evidence keeps it.
NAMESPACE = "namespace"
_MOST_PODS = 50
_MOST_EVENTS = 2000

Object = Mapping[str, t.Any]


@dataclass
class NamespaceEvidence:
    """What was collected.

    :param pieces: name to content, in the order in which it was taken.
    :param left_out: what could not be taken, and why.
    """

    pieces: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class EvidenceCollector:
    """Collects for one service; what cannot be had is named and the rest is taken.

    :param client: its budget is the time box.
    :param most: bytes of the end of each log.
    """

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform, most: int) -> None:
        self._client = client
        self._place = place
        self._most = most
        self._salt = secrets.token_bytes(16)
        self._found = NamespaceEvidence()

    def collect(self) -> NamespaceEvidence:
        """All of it.

        :raises KubernetesError: not even the pods can be listed.
        """
        pods = self._own_pods()
        self._keep("pods", pods)
        if len(pods) > _MOST_PODS:
            self._found.left_out.append(f"logs of {len(pods) - _MOST_PODS} more pods")
        for pod in pods[:_MOST_PODS]:
            self._logs(pod)
        self._list("events", EVENTS, most=_MOST_EVENTS)
        self._list("ReplicaSet", REPLICA_SETS)
        self._list("ControllerRevision", CONTROLLER_REVISIONS)
        for kind in KINDS:
            self._list(kind.kind, Resource(kind.group, kind.version, kind.plural))
        return self._found

    def _own_pods(self) -> list[dict[str, t.Any]]:
        """Those of the workload, or all of the namespace where it is gone."""
        workload = self._place.workload
        try:
            manifest = self._client.get(WORKLOAD_RESOURCES[workload.kind], workload.name, self._place.namespace)
            selector = selector_of(manifest)
        except NotFound:
            selector = ""
        return self._client.list_all(PODS, self._place.namespace, labels=selector)

    def _logs(self, pod: Object) -> None:
        name, status = str(pod["metadata"]["name"]), pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for state in [*states, *(status.get("ephemeralContainerStatuses") or ())]:
            container = str(state["name"])
            # One that ended before says more about why than the one that runs.
            for previous in ([True] if state.get("restartCount") else []) + [False]:
                piece = f"log_{name}_{container}{'_previous' if previous else ''}"
                try:
                    self._found.pieces[piece] = self._client.log(
                        name, container, self._place.namespace, self._most, previous
                    )
                except ApiUnavailable as error:
                    self._found.left_out.append(f"{piece}: {error.message}")
                    return
                except KubernetesError as error:
                    self._found.left_out.append(f"{piece}: {error.message}")

    def _list(self, piece: str, resource: Resource, most: int | None = None) -> None:
        try:
            found = self._client.list_all(resource, self._place.namespace)
        except KubernetesError as error:
            self._found.left_out.append(f"{piece}: {error.message}")
            return
        if most is not None and len(found) > most:
            self._found.left_out.append(f"{piece}: {len(found) - most} older ones")
            found = sorted(found, key=lambda each: str(each["metadata"].get("creationTimestamp")))[-most:]
        if found:
            self._keep(piece, [{"kind": piece, **each} if piece[0].isupper() else each for each in found])

    def _keep(self, piece: str, found: Sequence[Object]) -> None:
        shown = [without_values(each, self._salt) for each in found]
        self._found.pieces[piece] = json.dumps(shown, sort_keys=True, indent=1).encode()
