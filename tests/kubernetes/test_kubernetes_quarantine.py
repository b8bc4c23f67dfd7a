"""A workload is cut off by policies and given back, by a real API server. Nobody enforces them here, and it says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    WORKLOAD_RESOURCES,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import digest_of, kept, kind_of
from cluster import Cluster, Namespace
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
_DAEMON_SETS = WORKLOAD_RESOURCES["DaemonSet"]


def allow(namespace: Namespace, name: str, selector: dict[str, object]) -> None:
    spec = {"podSelector": selector, "ingress": [{}], "policyTypes": ["Ingress"]}
    namespace.client.create(_POLICIES, namespace.name, {"metadata": {"name": name}, "spec": spec})


def digests(namespace: Namespace) -> dict[str, str]:
    found = namespace.client.list_all(_POLICIES, namespace.name)
    return {each["metadata"]["name"]: digest_of(kept(each, kind_of("NetworkPolicy"))) for each in found}


def uids(namespace: Namespace) -> set[str]:
    found = namespace.client.list_all(PODS, namespace.name, labels="app=records")
    return {each["metadata"]["uid"] for each in found if not each["metadata"].get("deletionTimestamp")}


def test_pods_are_cut_off_and_given_back_as_they_were(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.workload("Deployment", "other", "3.8")
    allow(namespace, "for-all", {})
    allow(namespace, "for-records", {"matchLabels": {"app": "records"}})
    allow(namespace, "for-other", {"matchLabels": {"app": "other"}})
    namespace.serves("Deployment", "records", "3.8")
    before, pods = digests(namespace), uids(namespace)
    user = f"isolator-{namespace.name}"
    variables = namespace.variables("Deployment", "records", cluster.audited(user))
    variables["codeblue_kubernetes"]["management"] = ["10.9.0.0/16"]
    site = Keeper(tmp_path, {"records": variables})
    looked = site.act("kubernetes_quarantine", "--check", "--diff", reason="a test")
    assert looked.code == 0 and looked.result["set_aside"] == ["for-all", "for-records"], looked.out
    assert "would cut the pods of Deployment records" in looked.summary and "NotIn" in looked.out
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    played = site.act("kubernetes_quarantine", reason="a test")
    assert played.code == 0 and played.result["changed"] and played.said["accepted_at"], played.out
    assert played.result["proof"] == "not_proven" and "is not proven" in played.summary
    assert "whether anything enforces policies is not known" in played.summary
    assert not pods & uids(namespace)
    now = digests(namespace)
    assert now["for-other"] == before["for-other"] and set(now) - set(before) == {
        "codeblue-quarantine-deployment-records"
    }
    deny = namespace.client.get(_POLICIES, "codeblue-quarantine-deployment-records", namespace.name)["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"] and not deny.get("egress")
    assert deny["ingress"] == [{"from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}]
    for name in ("for-all", "for-records"):
        selector = namespace.client.get(_POLICIES, name, namespace.name)["spec"]["podSelector"]
        assert {"key": "app", "operator": "NotIn", "values": ["records"]} in selector["matchExpressions"]
    namespace.until_pods("records", {"3.8": [True, True]})
    time.sleep(1.1)  # times of objects are whole seconds
    replaced = uids(namespace)
    again = site.act("kubernetes_quarantine", reason="a test")
    assert again.code == 0 and not again.result["changed"] and digests(namespace) == now, again.out
    assert uids(namespace) == replaced
    back = site.act("kubernetes_quarantine", state="absent")
    assert back.code == 0 and back.result["changed"], back.out
    assert digests(namespace) == before
    found = namespace.client.get(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name)
    assert not any("codeblue" in key for key in found["metadata"].get("annotations") or {})
    nothing = site.act("kubernetes_quarantine", state="absent")
    assert nothing.code == 0 and not nothing.result["changed"] and "is not in quarantine" in nothing.summary
    print(f"cut off in {played.said['seconds']} s, given back in {back.said['seconds']} s")


def test_a_clinical_service_needs_a_word_and_a_network_that_enforces_nothing_is_said(
    namespace: Namespace, tmp_path: Path
) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    network = {
        "metadata": {"name": "kube-flannel-ds"},
        "spec": {
            "selector": {"matchLabels": {"app": "flannel"}},
            "template": {
                "metadata": {"labels": {"app": "flannel"}},
                "spec": {"containers": [{"name": "main", "image": "network/flannel:1"}]},
            },
        },
    }
    made = namespace.client.create(_DAEMON_SETS, "kube-system", network)
    try:
        variables = {**namespace.variables("Deployment", "records"), "codeblue_environment": "production"}
        site = Keeper(tmp_path, {"records": variables})
        refused = site.act("kubernetes_quarantine", reason="a test")
        assert refused.code != 0 and refused.said["exit_code"] == 3, refused.out
        assert "clinical_isolation" in refused.said["hint"] and digests(namespace) == {}
        played = site.act_accepted(
            "kubernetes_quarantine", "security_breach_response", "clinical_isolation", reason="a test"
        )
        assert played.code == 0, played.out
        assert "Flannel runs in the cluster, which does not enforce policies" in played.summary
    finally:
        namespace.client.delete(_DAEMON_SETS, "kube-flannel-ds", "kube-system", made["metadata"]["uid"])
