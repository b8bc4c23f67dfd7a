"""Secrets get new values and everybody who uses them starts with these; by a real API server and real controllers."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    SECRETS,
    WORKLOAD_RESOURCES,
    Resource,
)
from cluster import Cluster, Namespace
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_CRON_JOBS = Resource("batch", "v1", "cronjobs")
_INGRESSES = Resource("networking.k8s.io", "v1", "ingresses")
_OLD, _GIVEN = "old-value-of-a-key", "given-value-of-a-key"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def users(namespace: Namespace) -> None:
    """A Secret, a workload by a variable, one by a volume, and some that read it anew by themselves."""
    data = {"JWT": encoded(_OLD), "API": encoded(_OLD), "stays": encoded(_OLD)}
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "keys"}, "data": data})
    for name in ("records", "worker", "apart"):
        namespace.workload("Deployment", name, "3.8")
    resource = WORKLOAD_RESOURCES["Deployment"]
    variable = [{"secretRef": {"name": "keys"}}]
    change = [{"op": "add", "path": "/spec/template/spec/containers/0/envFrom", "value": variable}]
    namespace.client.patch(resource, "records", namespace.name, change)
    projected = [{"name": "v", "projected": {"sources": [{"secret": {"name": "keys"}}]}}]
    change = [{"op": "add", "path": "/spec/template/spec/volumes", "value": projected}]
    namespace.client.patch(resource, "worker", namespace.name, change)
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "clinic/pause:3.8", "envFrom": variable}]}
    job = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    namespace.client.create(_CRON_JOBS, namespace.name, {"metadata": {"name": "nightly"}, "spec": job})
    tls = {"tls": [{"secretName": "keys"}], "defaultBackend": {"service": {"name": "records", "port": {"number": 80}}}}
    namespace.client.create(_INGRESSES, namespace.name, {"metadata": {"name": "web"}, "spec": tls})
    for name in ("records", "worker", "apart"):
        namespace.serves("Deployment", name, "3.8")


def uids(namespace: Namespace, name: str) -> set[str]:
    return {each["metadata"]["uid"] for each in namespace.client.list_all(PODS, namespace.name, labels=f"app={name}")}


def values(namespace: Namespace) -> dict[str, str]:
    data = namespace.client.get(SECRETS, "keys", namespace.name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_keys_get_new_values_and_who_uses_them_starts_anew(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    users(namespace)
    user = f"rotator-{namespace.name}"
    given = tmp_path / "given"
    given.write_text(f"{_GIVEN}\n", encoding="utf-8")
    variables = namespace.variables("Deployment", "records", cluster.audited(user))
    variables["codeblue_kubernetes"]["secrets"] = {"keys": {"JWT": "generated", "API": str(given)}}
    site = Keeper(tmp_path, {"records": variables})
    given.chmod(0o644)
    open_file = site.act("kubernetes_secret_rotate")
    assert open_file.code != 0 and f"chmod 600 {given}" in open_file.said["hint"], open_file.out
    given.chmod(0o600)
    looked = site.act("kubernetes_secret_rotate", "--check")
    assert looked.code == 0 and "would give API, JWT of Secret keys new values" in looked.summary, looked.out
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    before = {name: uids(namespace, name) for name in ("records", "worker", "apart")}
    played = site.act("kubernetes_secret_rotate", reason="a test")
    assert played.code == 0 and played.result["changed"] and played.said["accepted_at"], played.out
    now = values(namespace)
    assert now["API"] == _GIVEN and now["stays"] == _OLD and now["JWT"] != _OLD and len(now["JWT"]) >= 40
    assert not before["records"] & uids(namespace, "records") and not before["worker"] & uids(namespace, "worker")
    assert before["apart"] == uids(namespace, "apart")
    assert played.result["consumers"] == [
        "Deployment records (envFrom)",
        "CronJob nightly (envFrom)",
        "Deployment worker (projected)",
        "Ingress web (tls)",
    ]
    assert "its controller loads the new certificate by itself" in played.summary
    asked = [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    writes = [each["uri"].partition("?")[0].rpartition("/")[2] for each in asked]
    assert writes == ["keys", "records", "worker"]
    written = b"".join(each.read_bytes() for each in (tmp_path / "state").rglob("*") if each.is_file())
    for value in (now["JWT"], _GIVEN, encoded(now["JWT"]), encoded(_GIVEN)):
        assert value not in played.out and value.encode() not in written
    print(f"rotated: {played.said['seconds']} s, {played.result['calls']} calls")


def test_what_a_controller_makes_is_refused_and_a_broken_consumer_is_told(namespace: Namespace, tmp_path: Path) -> None:
    users(namespace)
    variables = namespace.variables("Deployment", "records")
    variables["codeblue_kubernetes"]["secrets"] = {"keys": {"JWT": "generated"}}
    site = Keeper(tmp_path, {"records": variables})
    resource = WORKLOAD_RESOURCES["Deployment"]
    owner = namespace.client.get(resource, "records", namespace.name)["metadata"]["uid"]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "records", "uid": owner, "controller": True}
    namespace.client.merge(SECRETS, "keys", namespace.name, {"metadata": {"ownerReferences": [reference]}})
    refused = site.act("kubernetes_secret_rotate")
    assert refused.code != 0 and refused.said["exit_code"] == 3, refused.out
    assert "is made by Deployment records, nothing was changed" in refused.said["error"]
    assert values(namespace)["JWT"] == _OLD
    namespace.client.merge(SECRETS, "keys", namespace.name, {"metadata": {"ownerReferences": None}})
    namespace.set_image("Deployment", "worker", "crash")
    broken = site.act("kubernetes_secret_rotate", rollout_within=20)
    assert broken.code != 0 and "Deployment worker in namespace" in broken.said["error"], broken.out
    assert "does not work with the new values" in broken.said["error"] and values(namespace)["JWT"] != _OLD
