"""The cluster that tests run against: programs of this machine, or a cluster that is marked as a lab."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    NAMESPACES,
    PODS,
    WORKLOAD_RESOURCES,
    Budget,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import KubernetesWorkload
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform, Workload
from control_plane import ControlPlane, programs
from simulated_node import SimulatedNode

LAB_LABEL = "codeblue.recovery/lab"
IMAGE = "clinic/pause"
_KINDS = {"Deployment": "deployment", "StatefulSet": "statefulset", "DaemonSet": "daemonset"}
_MOST_SECONDS = 30.0
AUDITED = "codeblue-audited"
CLUSTER_ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)
_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": AUDITED},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": AUDITED},
        {"kind": "ServiceAccount", "name": "default", "namespace": "default"},
    ],
}
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")


@dataclass
class Namespace:
    """A namespace of one test."""

    cluster: Cluster
    name: str
    client: KubernetesClient

    def remove(self) -> None:
        """Have it deleted; what is in it goes in the background."""
        with contextlib.suppress(NotFound, Conflict):
            uid = self.client.get(NAMESPACES, self.name)["metadata"]["uid"]
            self.client.delete(NAMESPACES, self.name, "", uid)

    def workload(self, kind: str, name: str, tag: str = "3.8", **spec: t.Any) -> dict[str, t.Any]:
        """Make a workload with two pods, one on each node for a DaemonSet."""
        replicas: dict[str, t.Any] = {} if kind == "DaemonSet" else {"replicas": 2}
        if kind == "StatefulSet":
            replicas["serviceName"] = name
        container = {"name": "main", "image": f"{IMAGE}:{tag}", "env": [{"name": "KEY", "value": "s3cret-of-old"}]}
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        manifest = {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **replicas, **spec},
        }
        return self.client.create(WORKLOAD_RESOURCES[kind], self.name, manifest)

    def set_image(self, kind: str, name: str, tag: str) -> None:
        """Roll another version out."""
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": f"{IMAGE}:{tag}"}]
        self.client.patch(WORKLOAD_RESOURCES[kind], name, self.name, change)

    def image(self, kind: str, name: str) -> str:
        """The tag that the template of a workload asks for."""
        found = self.client.get(WORKLOAD_RESOURCES[kind], name, self.name)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2])

    def pods(self, name: str) -> dict[str, list[bool]]:
        """By tag, whether each pod of a workload serves."""
        found: dict[str, list[bool]] = {}
        for pod in self.client.list_all(PODS, self.name, labels=f"app={name}"):
            if not pod["metadata"].get("deletionTimestamp"):
                tag = pod["spec"]["containers"][0]["image"].rpartition(":")[2]
                found.setdefault(tag, []).append(is_ready(pod))
        return found

    def until_pods(self, name: str, expected: Mapping[str, list[bool]]) -> None:
        """Wait until the pods are as expected."""
        deadline = time.monotonic() + _MOST_SECONDS
        while (seen := self.pods(name)) != expected:
            assert time.monotonic() < deadline, f"{name}: {seen}, expected {expected}"
            time.sleep(0.05)

    def serves(self, kind: str, name: str, tag: str) -> None:
        """Wait until all pods are of one version and serve."""
        count = 1 if kind == "DaemonSet" else 2
        self.until_pods(name, {tag: [True] * count})

    def reader(self, kind: str, name: str) -> KubernetesWorkload:
        """A workload as actions read and change it."""
        return KubernetesWorkload(self.cluster.client(), KubernetesPlatform(self.name, Workload(kind, name)))

    def variables(self, kind: str, name: str, kubeconfig: Path | None = None) -> dict[str, t.Any]:
        """How an inventory describes a workload of it."""
        return {
            "codeblue_environment": "lab",
            "codeblue_platform": "kubernetes",
            "codeblue_kind": "ai",
            "codeblue_objectives": {"rto": "5m", "rpo": "0s"},
            "codeblue_checks": {"interval": "100ms"},
            "codeblue_kubernetes": {
                "namespace": self.name,
                _KINDS[kind]: name,
                "kubeconfig": str(kubeconfig or self.cluster.kubeconfig),
            },
        }


@dataclass
class Cluster:
    """A cluster that may be filled, broken and asked.

    :param programs: those that make it up; None for a cluster that somebody else runs.
    :param node: the simulated one, whose logs can be read.
    """

    kubeconfig: Path
    programs: ControlPlane | None
    node: SimulatedNode | None = None

    def audited(self, name: str) -> Path:
        """A kubeconfig of an account that may do everything and whose requests are written down."""
        return self.own.kubeconfig(name, name, AUDITED)

    def token(self) -> str:
        """A token of an account that may do everything."""
        resource = Resource("", "v1", "serviceaccounts/default/token")
        found = self.client().create(resource, "default", {"apiVersion": "authentication.k8s.io/v1", "spec": {}})
        return str(found["status"]["token"])

    @property
    def own(self) -> ControlPlane:
        """The programs; a test that needs them is skipped where they are somebody else's."""
        if self.programs is None:
            pytest.skip("needs the programs of a control plane, not a cluster that somebody else runs")
        return self.programs

    def client(self, kubeconfig: Path | None = None, seconds: float = 60.0, **more: t.Any) -> KubernetesClient:
        return KubernetesClient(ClusterAccess(str(kubeconfig or self.kubeconfig)), Budget(seconds), **more)

    def namespace(self, name: str) -> Namespace:
        """Make a namespace; returns when pods can be made in it."""
        client = self.client(seconds=300.0)
        client.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        deadline = time.monotonic() + _MOST_SECONDS
        while not client.list_all(SERVICE_ACCOUNTS, name):
            assert time.monotonic() < deadline, "the controllers do not work"
            time.sleep(0.05)
        return Namespace(self, name, client)


def mark_as_lab(cluster: Cluster) -> None:
    """Say that a cluster of programs may be broken; one that somebody else runs is marked by them."""
    if cluster.programs is None:
        return
    deadline = time.monotonic() + _MOST_SECONDS
    while True:
        try:
            cluster.client().merge(NAMESPACES, "kube-system", "", {"metadata": {"labels": {LAB_LABEL: "true"}}})
            return
        except NotFound:
            # The API server makes it a moment after it is ready.
            assert time.monotonic() < deadline, "there is no namespace kube-system"
            time.sleep(0.1)


@contextlib.contextmanager
def find_cluster(directory: Path) -> Iterator[Cluster]:
    """The cluster to test against.

    :param directory: private, for a cluster of programs.
    """
    assets = programs()
    if assets is not None:
        plane = ControlPlane(directory, assets)
        node = None
        try:
            plane.start()
            certificates = directory / "kubelet"
            certificates.mkdir()
            node = SimulatedNode(plane.admin, certificates)
            node.start()
            cluster = Cluster(plane.admin, plane, node)
            cluster.client().create(CLUSTER_ROLE_BINDINGS, "", _BINDING)
            yield cluster
        finally:
            if node is not None:
                node.stop()
            plane.stop()
        return
    given = os.environ.get("KUBECONFIG")
    if not given:
        pytest.skip("no Kubernetes: set KUBEBUILDER_ASSETS to the programs of envtest, or KUBECONFIG to a lab's")
    cluster = Cluster(Path(given), None)
    labels = cluster.client().get(NAMESPACES, "kube-system")["metadata"].get("labels") or {}
    if labels.get(LAB_LABEL) != "true":
        pytest.skip(f"the cluster of KUBECONFIG is no lab: kubectl label namespace kube-system {LAB_LABEL}=true")
    if not os.environ.get("CODEBLUE_SIMULATED_NODE"):
        yield cluster
        return
    node = SimulatedNode(cluster.kubeconfig)
    node.start()
    try:
        yield cluster
    finally:
        node.stop()
        node.remove()
