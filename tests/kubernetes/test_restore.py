"""What is missing in a namespace is made again from a snapshot; by a real API server. Pods are simulated."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONFIG_MAPS,
    SECRETS,
    WORKLOAD_RESOURCES,
)
from cluster import Cluster, Namespace
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]
_VALUE = "b3BlbiBzZXNhbWU="


def service_with_secret(namespace: Namespace) -> None:
    """A workload whose pods need a Secret with two keys, and a ConfigMap."""
    data = {"key": _VALUE, "other": "Zm9v"}
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "database"}, "data": data})
    namespace.client.create(CONFIG_MAPS, namespace.name, {"metadata": {"name": "settings"}, "data": {"mode": "good"}})
    namespace.workload("Deployment", "records", "needs-database")
    wanted = [{"secretRef": {"name": "database"}}, {"configMapRef": {"name": "settings"}}]
    origin = {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "database", "key": "other"}}}
    change = [
        {"op": "add", "path": "/spec/template/spec/containers/0/envFrom", "value": wanted},
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": origin},
    ]
    namespace.client.patch(_DEPLOYMENTS, "records", namespace.name, change)
    namespace.serves("Deployment", "records", "needs-database")


def remove(namespace: Namespace, resource: t.Any, name: str) -> None:
    uid = namespace.client.get(resource, name, namespace.name)["metadata"]["uid"]
    namespace.client.delete(resource, name, namespace.name, uid)


def kept(namespace: Namespace, root: Path, kubeconfig: Path | None = None) -> Keeper:
    site = Keeper(root, {"records": namespace.variables("Deployment", "records", kubeconfig)})
    played = site.act("kubernetes_snapshot", recipients=[site.recipient])
    assert played.code == 0, played.out
    return site


def test_a_deleted_secret_and_a_lost_key_come_back(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    service_with_secret(namespace)
    user = f"restorer-{namespace.name}"
    site = kept(namespace, tmp_path, cluster.audited(user))
    remove(namespace, SECRETS, "database")
    # The newest snapshot does not have it any more.
    site.act("kubernetes_snapshot", recipients=[site.recipient])
    namespace.client.merge(
        _DEPLOYMENTS, "records", namespace.name, {"spec": {"template": {"metadata": {"annotations": {"turn": "2"}}}}}
    )
    before = len(cluster.own.audited())
    looked = site.act("kubernetes_restore", "--check", "--diff", identity=str(site.identity))
    assert looked.code == 0 and "would make again Secret database, from snapshot" in looked.summary, looked.out
    asked = [each for each in cluster.own.audited()[before:] if each["user"] == user]
    assert asked and not [each for each in asked if each["verb"] in _WRITES]
    assert "hidden " in looked.out and _VALUE not in looked.out
    played = site.act("kubernetes_restore", identity=str(site.identity))
    assert played.code == 0 and played.result["changed"] and played.said["accepted_at"], played.out
    assert namespace.client.get(SECRETS, "database", namespace.name)["data"]["key"] == _VALUE
    namespace.serves("Deployment", "records", "needs-database")
    print(f"restored: {played.said['seconds']} s, {played.result['calls']} calls")
    namespace.client.merge(SECRETS, "database", namespace.name, {"data": {"other": None, "key": "Y2hhbmdlZA=="}})
    lost = site.act("kubernetes_restore", identity=str(site.identity))
    assert lost.code == 0 and "made again other of Secret database" in lost.summary, lost.out
    data = namespace.client.get(SECRETS, "database", namespace.name)["data"]
    assert data == {"other": "Zm9v", "key": "Y2hhbmdlZA=="}
    again = site.act("kubernetes_restore", identity=str(site.identity))
    assert again.code == 0 and not again.result["changed"] and "nothing of Deployment records" in again.summary


def test_a_workload_comes_back_and_what_was_changed_only_by_name(namespace: Namespace, tmp_path: Path) -> None:
    service_with_secret(namespace)
    site = kept(namespace, tmp_path)
    namespace.client.merge(CONFIG_MAPS, "settings", namespace.name, {"data": {"mode": "bad", "extra": "1"}})
    for resource, name in ((_DEPLOYMENTS, "records"), (SECRETS, "database")):
        remove(namespace, resource, name)
    played = site.act("kubernetes_restore", identity=str(site.identity))
    assert played.code == 0, played.out
    assert [each["kind"] for each in played.result["restored"]] == ["Secret", "Deployment"]
    namespace.serves("Deployment", "records", "needs-database")
    assert namespace.client.get(CONFIG_MAPS, "settings", namespace.name)["data"]["mode"] == "bad"
    named = site.act("kubernetes_restore", replace=["ConfigMap/settings"], identity=str(site.identity))
    assert named.code == 0 and named.result["changed"], named.out
    assert namespace.client.get(CONFIG_MAPS, "settings", namespace.name)["data"] == {"mode": "good"}
    wrong = site.act("kubernetes_restore", objects=["Pod/x"], identity=str(site.identity))
    assert wrong.code != 0 and "'Pod' is none that snapshots hold" in wrong.said["error"]
    blind = site.act("kubernetes_restore", objects=["Secret/none"])
    assert blind.code != 0 and "set codeblue_snapshot_identity" in blind.said["hint"], blind.out


def test_what_a_controller_keeps_is_not_made_by_hand(namespace: Namespace, tmp_path: Path) -> None:
    service_with_secret(namespace)
    owner = namespace.client.get(CONFIG_MAPS, "settings", namespace.name)["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "uid": owner, "controller": True}
    namespace.client.merge(SECRETS, "database", namespace.name, {"metadata": {"ownerReferences": [reference]}})
    site = kept(namespace, tmp_path)
    remove(namespace, SECRETS, "database")
    played = site.act("kubernetes_restore", identity=str(site.identity))
    assert played.code != 0 and played.said["exit_code"] == 3, played.out
    assert "Secret database is made by ConfigMap settings" in played.said["error"]


def test_a_run_of_the_runbook_makes_a_deleted_secret_again(namespace: Namespace, tmp_path: Path) -> None:
    service_with_secret(namespace)
    site = kept(namespace, tmp_path)
    groups = yaml.safe_load(site.inventory.read_text(encoding="utf-8"))
    services = groups["all"]["children"]["codeblue_services"]
    services["hosts"]["records"] |= {"codeblue_kind": "auth", "codeblue_snapshot_identity": str(site.identity)}
    services["children"] = {"codeblue_auth_services": {"hosts": {"records": None}}}
    site.inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")
    remove(namespace, SECRETS, "database")
    namespace.client.merge(
        _DEPLOYMENTS, "records", namespace.name, {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
    )
    note = {"spec": {"template": {"metadata": {"annotations": {"turn": "2"}}}}}
    namespace.client.merge(_DEPLOYMENTS, "records", namespace.name, note)
    namespace.until_pods("records", {"needs-database": [False, False]})
    code, lines = site.codeblue("run", "authentication_system_down")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-1])
    namespace.serves("Deployment", "records", "needs-database")
    print(f"recovered: first change after {lines[-1]['first_action_seconds']} s of {lines[-1]['seconds']} s")
