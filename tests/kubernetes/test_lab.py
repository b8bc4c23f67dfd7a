"""The lab on a cluster: up, broken, healed, down; and what it refuses to touch. Pods are simulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    NAMESPACES,
    SECRETS,
    WORKLOAD_RESOURCES,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
from cluster import LAB_LABEL, Cluster, mark_as_lab
from codeblue.lab.kubernetes.cluster import NODES
from codeblue.lab.kubernetes.faults import cluster_faults
from lab_command import LabCommand

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[LabCommand]:
    mark_as_lab(cluster)
    command = LabCommand(tmp_path, cluster)
    yield command
    command("lab", "down")


def test_up_break_heal_down(cluster: Cluster, lab: LabCommand) -> None:
    code, said = lab("lab", "up", "--namespace", lab.namespace)
    assert code == 0 and not said[0]["already"], said
    code, said = lab("lab", "up")
    assert code == 0 and said[0]["already"], said
    namespace = cluster.client().get(NAMESPACES, lab.namespace)
    assert namespace["metadata"]["labels"]["codeblue.recovery/made-by"] == "lab"
    _code, before = lab("lab", "status")
    assert before[0]["changed"] == []
    assert cluster.programs is None or not before[0]["kubelets"]
    code, said = lab("lab", "break", "auth_image_missing")
    assert code == 0 and not said[0]["already"], said
    code, said = lab("lab", "break", "auth_image_missing")
    assert code == 0 and said[0]["already"], said
    # What nobody told the lab of is found all the same.
    client = cluster.client()
    secret = client.get(SECRETS, "records-database-password", lab.namespace)
    client.delete(SECRETS, "records-database-password", lab.namespace, secret["metadata"]["uid"])
    client.create(SECRETS, lab.namespace, {"metadata": {"name": "somebodys"}})
    _code, said = lab("lab", "status")
    assert said[0]["active_faults"] == ["auth_image_missing"]
    assert set(said[0]["changed"]) == {
        "Deployment/auth is not as it was",
        "Secret/records-database-password is missing",
        "Secret/somebodys was not there",
    }
    code, said = lab("lab", "heal")
    assert code == 0, said
    _code, after = lab("lab", "status")
    assert after[0]["changed"] == [] and after[0]["services"] == before[0]["services"]
    assert client.get(SECRETS, "records-database-password", lab.namespace)["data"] == secret["data"]
    code, said = lab("lab", "down")
    assert code == 0 and said[0]["was_there"]
    with pytest.raises(NotFound):
        cluster.client().get(NAMESPACES, lab.namespace)
    assert not lab.directory.exists()


@pytest.mark.parametrize("fault", ["auth_quota_hit", "auth_nodes_drained", "auth_pods_lost"])
def test_what_a_fault_does_beside_objects_is_healed(cluster: Cluster, lab: LabCommand, fault: str) -> None:
    lab("lab", "up", "--namespace", lab.namespace)
    code, said = lab("lab", "break", fault)
    assert code == 0, said
    code, said = lab("lab", "heal")
    assert code == 0, said
    _code, said = lab("lab", "status")
    assert said[0]["changed"] == [] and said[0]["services"]["auth"].startswith("2 of 2")
    nodes = cluster.client().list_all(NODES)
    assert not [each["metadata"]["name"] for each in nodes if each["spec"].get("unschedulable")]


def test_only_a_cluster_that_is_marked_is_filled(cluster: Cluster, lab: LabCommand) -> None:
    client = cluster.own and cluster.client()
    client.merge(NAMESPACES, "kube-system", "", {"metadata": {"labels": {LAB_LABEL: None}}})
    try:
        code, said = lab("lab", "up", "--namespace", lab.namespace)
    finally:
        mark_as_lab(cluster)
    assert code == 3 and "is not marked as a lab" in said[-1]["error"], said
    assert f"kubectl label namespace kube-system {LAB_LABEL}=true" in said[-1]["hint"]
    with pytest.raises(NotFound):
        client.get(NAMESPACES, lab.namespace)


def test_a_namespace_of_somebody_else_is_left_alone(cluster: Cluster, lab: LabCommand) -> None:
    theirs = cluster.namespace(lab.namespace)
    try:
        theirs.workload("Deployment", "theirs")
        code, said = lab("lab", "up", "--namespace", lab.namespace)
        assert code == 3 and "was not made by a lab" in said[-1]["error"], said
        assert theirs.client.list_all(WORKLOAD_RESOURCES["Deployment"], lab.namespace)
        code, said = lab("lab", "down")
        assert code == 0 and not said[0]["was_there"]
        assert theirs.client.get(NAMESPACES, lab.namespace)
    finally:
        theirs.remove()


def test_a_fault_that_there_is_not_is_named(lab: LabCommand) -> None:
    code, said = lab("lab", "break", "primary_dead")
    assert code == 2 and "there is no lab of a cluster" in said[-1]["error"], said
    lab("lab", "up", "--namespace", lab.namespace)
    code, said = lab("lab", "break", "primary_dead")
    assert code == 2 and "there is no fault 'primary_dead' on kubernetes" in said[-1]["error"], said
    assert next(iter(cluster_faults())) in said[-1]["hint"]
