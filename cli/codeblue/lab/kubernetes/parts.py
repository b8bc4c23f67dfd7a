"""What a fault or a heal works with: the namespace of one lab on a cluster."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable
from functools import cached_property

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_exposure import look_at as look_for_exposure
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_workload import look_at
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import ExposureCheck, WorkloadCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    WORKLOAD_RESOURCES,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import desired_and_ready
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready

from codeblue.lab.files import make_directory
from codeblue.lab.kubernetes.cluster import LabCluster
from codeblue.lab.kubernetes.layout import KubernetesLayout
from codeblue.lab.kubernetes.manifests import RESOURCES, SERVICE_NAMES, Manifest, Object, read_manifests
from codeblue.lab.kubernetes.monitoring import not_clear
from codeblue.lab.kubernetes.state import KubernetesLabState
from codeblue.lab.secrets import new_password, read_secret, write_secret

_SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
_POLL_SECONDS = 0.1
# An image that has to be pulled first takes as long as it takes; nothing waits for longer.
READY_SECONDS = 120.0
_STRIKE_SECONDS = 60.0
_CHECK_SECONDS = 5.0


class ClusterParts:
    """The objects of one lab.

    :param client: None for a new one.
    """

    def __init__(
        self, layout: KubernetesLayout, state: KubernetesLabState, client: KubernetesClient | None = None
    ) -> None:
        self.layout = layout
        self.state = state
        self.cluster = LabCluster(state.kubeconfig, state.context)
        self.namespace = state.namespace
        self.client = client or self.cluster.client()

    @cached_property
    def manifests(self) -> list[Manifest]:
        """All objects as the lab wants them; secrets are those of its directory, made when they are first wanted."""
        return read_manifests(self.state.image, self._secret)

    def manifest(self, kind: str, name: str) -> Manifest:
        return next(each for each in self.manifests if (each.kind, each.name) == (kind, name))

    def workload_of(self, service: str) -> Manifest:
        """The workload of a service of the inventory."""
        name = SERVICE_NAMES[service]
        return next(each for each in self.manifests if each.kind in WORKLOAD_RESOURCES and each.name == name)

    def get(self, kind: str, name: str) -> Object:
        return self.client.get(RESOURCES[kind], name, self.namespace)

    def patch(self, kind: str, name: str, path: str, value: t.Any) -> None:
        """Set one field, whoever else writes the object."""
        self.client.patch(RESOURCES[kind], name, self.namespace, [{"op": "add", "path": path, "value": value}])

    def scale(self, workload: Manifest, replicas: int) -> None:
        """Say how many pods a workload is to have; with none, wait until they are gone."""
        self.patch(workload.kind, workload.name, "/spec/replicas", replicas)
        if not replicas:
            self._wait(lambda: [str(pod["metadata"]["name"]) for pod in self.pods(workload.name)], _STRIKE_SECONDS)

    def create(self, kind: str, body: Object) -> None:
        """Make an object; one of this name that is there stays as it is."""
        try:
            self.client.create(RESOURCES[kind], self.namespace, body)
        except Conflict:
            return

    def create_pod(self, body: Object) -> None:
        """Make a pod that no controller makes; one of this name that is there stays as it is."""
        try:
            self.client.create(PODS, self.namespace, body)
        except Conflict:
            return

    def delete_pod(self, name: str) -> None:
        """Delete one pod and wait until it is gone.

        :raises CodeblueError: it does not go.
        """

        def there() -> list[str]:
            try:
                self._delete_pod(self.client.get(PODS, name, self.namespace))
            except NotFound:
                return []
            return [f"pod {name} does not go"]

        if left := self._wait(there, _STRIKE_SECONDS):
            raise CodeblueError(left[0], "look at its node")

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; one that is gone is gone."""
        try:
            self.client.delete(RESOURCES[kind], name, self.namespace, self.get(kind, name)["metadata"]["uid"])
        except NotFound:
            return

    def pods(self, name: str) -> list[Object]:
        """The pods of a workload."""
        return self.client.list_all(PODS, self.namespace, labels=f"app={name}")

    def delete_pods(self, name: str) -> None:
        """Delete all pods of a workload; its controller makes others."""
        for pod in self.pods(name):
            self._delete_pod(pod)

    def delete_one_pod_each(self) -> list[str]:
        """Delete one pod of each workload, as a node that goes does; returns their names."""
        doomed = [self.pods(each.name)[:1] for each in self.manifests if each.kind in WORKLOAD_RESOURCES]
        for pod in (pod for pods in doomed for pod in pods):
            self._delete_pod(pod)
        return [str(pod["metadata"]["name"]) for pods in doomed for pod in pods]

    def delete_stuck_pods(self) -> None:
        """Delete pods that do not serve, for others to be made at once.

        A StatefulSet keeps broken ones, also of an old template; a kubelet looks for what was missing, or for an image,
        after minutes only.
        """
        for manifest in self.manifests:
            if manifest.kind in WORKLOAD_RESOURCES:
                for pod in self.pods(manifest.name):
                    if not is_ready(pod):
                        self._delete_pod(pod)

    def wait_account(self, seconds: float) -> None:
        """Wait until pods can be made in a new namespace.

        :raises CodeblueError: nobody makes its account.
        """

        def missing() -> list[str]:
            found = self.client.list_all(_SERVICE_ACCOUNTS, self.namespace)
            return [] if found else [f"namespace {self.namespace} gets no service account"]

        if left := self._wait(missing, seconds):
            raise CodeblueError(left[0], "look whether kube-controller-manager works")

    def incomplete(self) -> list[str]:
        """One line for each workload that is not as its manifest wants it, with all pods ready."""
        return [line for each in self.manifests if each.kind in WORKLOAD_RESOURCES for line in self._incomplete(each)]

    def wait_complete(self, seconds: float = READY_SECONDS) -> list[str]:
        """Wait until every workload is complete; what is not after that time."""
        return self._wait(self.incomplete, seconds)

    def wait_away(self, *services: str) -> None:
        """Wait until the workload checks of services fail: the damage is done.

        :raises CodeblueError: one of them works on.
        """

        def working() -> list[str]:
            return [f"{name} works on" for name in services if self.check(name).error_class is None]

        if left := self._wait(working, _STRIKE_SECONDS):
            raise CodeblueError(f"the fault does not strike: {left[0]}", "codeblue lab heal --platform kubernetes")

    def wait_signalled(self, signals: t.Sequence[str], *services: str) -> None:
        """Wait until signals of the site's monitoring are not clear for services, while these work.

        :raises CodeblueError: the monitoring sees nothing.
        """

        def unseen() -> list[str]:
            found = [f"{name} does not work" for name in services if self.check(name).error_class is not None]
            return found or [
                f"the monitoring sees no {signal} of {name}"
                for name in services
                for signal in signals
                if not self._is_seen(signal, name)
            ]

        if left := self._wait(unseen, _STRIKE_SECONDS):
            raise CodeblueError(f"the fault does not strike: {left[0]}", "codeblue lab heal --platform kubernetes")

    def _is_seen(self, signal: str, service: str) -> bool:
        """Whether a signal is not clear: one of the monitoring, or one that a service has by its inventory."""
        from codeblue.lab.kubernetes.inventory import services_of

        own = [each for each in services_of(self)[service].checks.signals if isinstance(each, ExposureCheck)]
        mine = [each for each in own if each.id == signal]
        return (
            look_for_exposure(mine[0]).error_class is not None if mine else bool(not_clear(self.state, signal, service))
        )

    def check(self, service: str) -> Finding:
        """What its own check says of the workload and the Service of a service."""
        workload = self.workload_of(service)
        return look_at(
            WorkloadCheck(
                id="workload",
                timeout=_CHECK_SECONDS,
                max_response=None,
                namespace=self.namespace,
                kind=workload.kind,
                name=workload.name,
                service=SERVICE_NAMES[service],
                kubeconfig=self.state.kubeconfig,
                context=self.state.context,
            )
        )

    def _incomplete(self, manifest: Manifest) -> list[str]:
        try:
            found = self.get(manifest.kind, manifest.name)
        except NotFound:
            return [f"{manifest.key} is missing"]
        status = found.get("status") or {}
        desired, ready = desired_and_ready(manifest.kind, found)
        updated, all_pods = int(status.get("updatedReplicas") or 0), int(status.get("replicas") or 0)
        observed = int(status.get("observedGeneration") or 0) >= int(found["metadata"]["generation"])
        if observed and desired == ready == updated == all_pods == manifest.body["spec"]["replicas"]:
            return []
        return [f"{manifest.key}: {ready} of {desired} pods are ready, {updated} are of the newest version"]

    def _wait(self, look: Callable[[], list[str]], seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(_POLL_SECONDS)

    def _delete_pod(self, pod: Object) -> None:
        try:
            self.client.delete(PODS, pod["metadata"]["name"], self.namespace, pod["metadata"]["uid"])
        except (NotFound, Conflict):
            # Its controller was quicker.
            return

    def _secret(self, name: str, key: str) -> str:
        path = self.layout.secret(f"{name}.{key}")
        if not path.exists():
            make_directory(self.layout.secrets, 0o700)
            write_secret(path, new_password())
        return read_secret(path)
