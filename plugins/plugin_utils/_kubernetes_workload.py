# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One workload in a cluster: read with all that a decision about its version needs, and brought to another version."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    AUTOSCALERS,
    CONTROLLER_REVISIONS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    WORKLOAD_RESOURCES,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    Conflict,
    Forbidden,
    KubernetesError,
    NamespaceGoing,
    NotFound,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import (
    TELL,
    Reconciler,
    find_reconcilers,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import (
    Revision,
    Rollout,
    read_rollout,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import version_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import selector_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

# Controllers write the status of a workload all the time while it rolls out.
_MOST_CONFLICTS = 8


@dataclass(frozen=True)
class SeenWorkload:
    """A workload as it was at one moment.

    :param manifest: as the API gave it.
    """

    manifest: Mapping[str, t.Any] = field(repr=False)
    rollout: Rollout


@dataclass(frozen=True)
class Switched:
    """How a change of version ended.

    :param accepted_at: Unix time; None when it was there already.
    """

    accepted_at: float | None
    paused: bool = False


class KubernetesWorkload:
    """The workload of a service."""

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform) -> None:
        self._client = client
        self._place = place
        self._resource = WORKLOAD_RESOURCES[place.workload.kind]

    def read(self) -> SeenWorkload:
        """Read it with its revisions and pods.

        :raises NotFound: it is not there, or not its namespace.
        :raises NamespaceGoing: all of its namespace is being deleted.
        :raises KubernetesError: it cannot be read.
        """
        namespace = self._place.namespace
        manifest = self._manifest()
        if manifest["metadata"].get("deletionTimestamp"):
            self._say_if_namespace_goes()
            raise KubernetesError(f"{self._place} is being deleted", "find out who deletes it")
        selector = selector_of(manifest)
        history = REPLICA_SETS if self._place.workload.kind == "Deployment" else CONTROLLER_REVISIONS
        revisions = self._client.list_all(history, namespace, labels=selector)
        pods = self._client.list_all(PODS, namespace, labels=selector)
        return SeenWorkload(manifest, read_rollout(manifest, revisions, pods))

    def reconcilers(self, seen: SeenWorkload) -> list[Reconciler]:
        """Who else keeps it.

        :raises KubernetesError: one that its labels name cannot be looked at.
        """
        try:
            scalers = self._client.list_all(AUTOSCALERS, self._place.namespace)
        except Forbidden as error:
            untold = Reconciler("a HorizontalPodAutoscaler", TELL, error.message, "may keep the number of pods")
            return [*find_reconcilers(self._client, seen.manifest, []), untold]
        return find_reconcilers(self._client, seen.manifest, scalers)

    def switch(self, seen: SeenWorkload, bad: str, good: Revision) -> Switched:
        """Have it make pods of the good version, unless it is what somebody else has just made of it.

        :param seen: what was decided on.
        :param bad: the version that it is to leave.
        :raises Refused: it is of a third version.
        :raises KubernetesError: it was not changed.
        """
        manifest, sent = seen.manifest, False
        for _conflict in range(_MOST_CONFLICTS):
            version, paused = version_of(manifest["spec"]["template"]), bool(manifest["spec"].get("paused"))
            if version == good.version and not paused:
                # With an answer that was lost on the way, it was this very call that did it.
                return Switched(time.time() if sent else None)
            if version not in (bad, good.version):
                raise Refused(
                    f"{self._place}: somebody has rolled {version} out meanwhile, nothing was overwritten",
                    "look whether that works; run again to leave it",
                )
            try:
                self._client.patch(
                    self._resource,
                    self._place.workload.name,
                    self._place.namespace,
                    _operations(manifest, good.template, paused),
                )
                return Switched(time.time(), paused)
            except Conflict:
                sent, manifest = True, self._manifest()
        raise KubernetesError(f"{self._place}: is changed over and over by others", "find out who keeps it")

    def delete_pods(self, pods: Sequence[Mapping[str, t.Any]]) -> list[str]:
        """Delete these very pods; those that are gone already are left out. Returns their names."""
        deleted = []
        for pod in pods:
            name, uid = str(pod["metadata"]["name"]), str(pod["metadata"]["uid"])
            try:
                self._client.delete(PODS, name, self._place.namespace, uid)
            except (NotFound, Conflict):
                # Its controller was quicker.
                continue
            deleted.append(name)
        return deleted

    def _manifest(self) -> dict[str, t.Any]:
        try:
            return self._client.get(self._resource, self._place.workload.name, self._place.namespace)
        except NotFound:
            self._say_if_namespace_goes()
            raise NotFound(f"there is no {self._place}", "look at codeblue_kubernetes in the inventory") from None

    def _say_if_namespace_goes(self) -> None:
        try:
            found = self._client.get(NAMESPACES, self._place.namespace)
        except Forbidden:
            return
        except NotFound:
            raise NotFound(f"there is no namespace {self._place.namespace}", "look at codeblue_kubernetes") from None
        if found["metadata"].get("deletionTimestamp"):
            raise NamespaceGoing(
                f"namespace {self._place.namespace} is being deleted, nothing new can be made in it",
                "find out who deletes it; what was in it comes back from a snapshot",
            )


def _operations(manifest: Mapping[str, t.Any], template: Mapping[str, t.Any], paused: bool) -> list[dict[str, t.Any]]:
    # The whole template: merged into the bad one, what that one added would stay.
    version = manifest["metadata"]["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/spec/template", "value": dict(template)},
        *([{"op": "replace", "path": "/spec/paused", "value": False}] if paused else []),
    ]
