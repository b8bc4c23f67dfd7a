"""Lost answers and killed actions of restores, rotations and quarantines: nothing is done twice, nothing is lost."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    SECRETS,
    WORKLOAD_RESOURCES,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import digest_of, kept, kind_of
from cluster import Cluster, Namespace
from faulty_proxy import Fault, FaultyProxy
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]
_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
_VALUE = base64.b64encode(b"old-value-of-a-key").decode()


def prepared(namespace: Namespace) -> None:
    """A workload with a Secret, and a policy that lets everything in."""
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "keys"}, "data": {"JWT": _VALUE}})
    namespace.workload("Deployment", "records", "3.8")
    wanted = [{"secretRef": {"name": "keys"}}]
    change = [{"op": "add", "path": "/spec/template/spec/containers/0/envFrom", "value": wanted}]
    namespace.client.patch(_DEPLOYMENTS, "records", namespace.name, change)
    spec = {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}
    namespace.client.create(_POLICIES, namespace.name, {"metadata": {"name": "open"}, "spec": spec})
    namespace.serves("Deployment", "records", "3.8")


def site(namespace: Namespace, root: Path, proxy: FaultyProxy) -> Keeper:
    own = namespace.cluster.own
    config = own.token_kubeconfig(f"faulty-{namespace.name}", namespace.cluster.token(), proxy.url)
    variables = namespace.variables("Deployment", "records", config)
    variables["codeblue_kubernetes"]["secrets"] = {"keys": {"JWT": "generated"}}
    return Keeper(root, {"records": variables})


def digests(namespace: Namespace) -> dict[str, str]:
    found = namespace.client.list_all(_POLICIES, namespace.name)
    return {each["metadata"]["name"]: digest_of(kept(each, kind_of("NetworkPolicy"))) for each in found}


def test_lost_answers_of_a_restore_are_no_second_change(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    prepared(namespace)
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        keeper = site(namespace, tmp_path, proxy)
        assert keeper.act("kubernetes_snapshot", recipients=[keeper.recipient]).code == 0
        uid = namespace.client.get(SECRETS, "keys", namespace.name)["metadata"]["uid"]
        namespace.client.delete(SECRETS, "keys", namespace.name, uid)
        proxy.next("POST", Fault(503), Fault(passes=True))
        restored = keeper.act("kubernetes_restore", objects=["Secret/keys"], identity=str(keeper.identity))
        assert restored.code == 0 and restored.result["changed"], restored.out
        assert namespace.client.get(SECRETS, "keys", namespace.name)["data"]["JWT"] == _VALUE
        change = {"data": {"JWT": "b3RoZXI="}, "immutable": False}
        namespace.client.merge(SECRETS, "keys", namespace.name, change)
        proxy.next("PATCH", Fault(passes=True))
        replaced = keeper.act("kubernetes_restore", replace=["Secret/keys"], identity=str(keeper.identity))
        assert replaced.code == 0 and replaced.result["changed"], replaced.out
        found = namespace.client.get(SECRETS, "keys", namespace.name)
        assert found["data"]["JWT"] == _VALUE and "immutable" not in found


def test_lost_answers_of_a_quarantine_are_no_second_change(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    prepared(namespace)
    before = digests(namespace)
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        keeper = site(namespace, tmp_path, proxy)
        proxy.next("PATCH", Fault(passes=True), Fault(503), Fault(passes=True))
        proxy.next("POST", Fault(passes=True))
        closed = keeper.act("kubernetes_quarantine", reason="a test")
        assert closed.code == 0 and closed.result["changed"], closed.out
        proxy.next("PATCH", Fault(passes=True))
        proxy.next("DELETE", Fault(passes=True))
        opened = keeper.act("kubernetes_quarantine", state="absent")
        assert opened.code == 0 and digests(namespace) == before, opened.out


def test_a_killed_rotation_is_taken_up_and_makes_no_second_value(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    prepared(namespace)
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        keeper = site(namespace, tmp_path, proxy)
        running: list[int] = []
        proxy.next("PATCH", Fault(passes=True, then=lambda: os.killpg(running[0], signal.SIGKILL)))
        process = keeper.begin("kubernetes_secret_rotate")
        running.append(process.pid)
        killed = keeper.ended(process)
        assert killed.code != 0
        made = namespace.client.get(SECRETS, "keys", namespace.name)["data"]["JWT"]
        assert made != _VALUE
        (run,) = keeper.store().runs()
        again = keeper.act("kubernetes_secret_rotate", run_id=run.run_id)
    assert again.code == 0 and again.result["changed"], again.out
    assert namespace.client.get(SECRETS, "keys", namespace.name)["data"]["JWT"] == made
    note = namespace.client.get(_DEPLOYMENTS, "records", namespace.name)["spec"]["template"]["metadata"]["annotations"]
    assert note["codeblue.recovery/restarted-at"] == run.run_id
    steps = [(each.action, each.outcome) for each in keeper.store().steps(run.run_id)]
    assert steps == [("rotate_keys", "ok"), ("restart_Deployment_records", "ok"), ("prove_rotation", "ok")]


def test_a_killed_quarantine_is_taken_up(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    prepared(namespace)
    before = digests(namespace)
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        keeper = site(namespace, tmp_path, proxy)
        running: list[int] = []
        proxy.next("POST", Fault(passes=True, then=lambda: os.killpg(running[0], signal.SIGKILL)))
        process = keeper.begin("kubernetes_quarantine", reason="a test")
        running.append(process.pid)
        assert keeper.ended(process).code != 0
        (run,) = keeper.store().runs()
        again = keeper.act("kubernetes_quarantine", reason="a test", run_id=run.run_id)
        assert again.code == 0 and again.result["changed"], again.out
        assert again.result["set_aside"] == ["open"]
        opened = keeper.act("kubernetes_quarantine", state="absent")
    assert opened.code == 0 and digests(namespace) == before, opened.out
