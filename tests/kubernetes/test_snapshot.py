"""The objects of a namespace are kept, encrypted, and read back; by a real API server."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONFIG_MAPS,
    SECRETS,
    SERVICES,
    WORKLOAD_RESOURCES,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import KINDS, ObjectName
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import KeptObjects
from cluster import Cluster, Namespace
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_VALUE = "b3BlbiBzZXNhbWU="


def keep(site: Keeper, snapshot_id: str) -> KeptObjects:
    store = ContentStore.open(site.root / "state" / "codeblue" / "snapshots", identity=site.identity)
    return KeptObjects(store, snapshot_id, None)


def test_a_namespace_is_kept_without_what_the_server_manages(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    port = {"port": 80, "targetPort": 8080}
    for name, spec in (("records", {"selector": {"app": "records"}}), ("headless", {"clusterIP": "None"})):
        body = {"metadata": {"name": name}, "spec": {**spec, "ports": [port]}}
        namespace.client.create(SERVICES, namespace.name, body)
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "database"}, "data": {"key": _VALUE}})
    namespace.serves("Deployment", "records", "3.8")
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records")})
    played = site.act("kubernetes_snapshot", recipients=[site.recipient])
    assert played.code == 0, played.out
    assert played.result["kinds"]["Deployment"] == 1 and played.result["unknown"] == []
    assert played.result["calls"] == len(KINDS)
    kept = keep(site, played.result["snapshot_id"])
    found = kept.read(ObjectName.of("Deployment", "records"))
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"} and set(found["metadata"]) == {"name", "namespace"}
    assert "clusterIP" not in kept.read(ObjectName.of("Service", "records"))["spec"]
    assert kept.read(ObjectName.of("Service", "headless"))["spec"]["clusterIP"] == "None"
    assert kept.read(ObjectName.of("Secret", "database"))["data"] == {"key": _VALUE}
    (entry,) = site.store().snapshots("records")
    assert (entry.state, entry.level) == ("verified", "objects")
    written = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert _VALUE.encode() not in written and _VALUE not in played.out
    # Another server takes every one of them.
    other = namespace.cluster.namespace(f"{namespace.name}-b")
    for name in (ObjectName.of("Deployment", "records"), ObjectName.of("Service", "headless")):
        body = kept.read(name)
        body["metadata"]["namespace"] = other.name
        resource = WORKLOAD_RESOURCES["Deployment"] if name.kind == "Deployment" else SERVICES
        other.client.create(resource, other.name, body)
    other.remove()


def test_check_mode_asks_nothing_and_what_may_not_be_read_is_named(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    user = f"reader-{namespace.name}"
    config = cluster.own.kubeconfig(user, user)
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records", config)})
    played = site.act("kubernetes_snapshot", "--check", recipients=[site.recipient])
    assert played.code == 0 and f"would keep the objects of namespace {namespace.name}" in played.summary, played.out
    played = site.act("kubernetes_snapshot", recipients=[site.recipient])
    assert played.code != 0 and "the account may not list serviceaccounts" in played.said["error"], played.out
    assert site.store().snapshots("records") == []
    without = site.act("kubernetes_snapshot")
    assert without.code != 0 and "set codeblue_snapshot_recipients" in without.said["hint"]


def test_two_hundred_workloads_are_kept_in_ten_seconds(namespace: Namespace, tmp_path: Path) -> None:
    def make(number: int) -> None:
        namespace.client.create(
            WORKLOAD_RESOURCES["Deployment"],
            namespace.name,
            {
                "metadata": {"name": f"records-{number}"},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {"app": f"r{number}"}},
                    "template": {
                        "metadata": {"labels": {"app": f"r{number}"}},
                        "spec": {"containers": [{"name": "main", "image": "clinic/pause:3.8"}]},
                    },
                },
            },
        )
        body = {"metadata": {"name": f"c{number}"}, "data": {"text": json.dumps({"number": number})}}
        namespace.client.create(CONFIG_MAPS, namespace.name, body)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(200)))
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records-0")})
    started = time.monotonic()
    played = site.act("kubernetes_snapshot", recipients=[site.recipient])
    assert played.code == 0, played.out
    print(
        f"{sum(played.result['kinds'].values())} objects, 200 of them Deployments: {played.said['seconds']} s in the"
        f" step, {time.monotonic() - started:.1f} s with ansible-playbook, {played.result['calls']} calls"
    )
    assert played.result["kinds"]["Deployment"] == 200 and played.result["calls"] == len(KINDS)
    assert played.said["seconds"] <= 10


def test_the_command_creates_verifies_proves_and_restores(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records")})
    groups = yaml.safe_load(site.inventory.read_text(encoding="utf-8"))
    groups["all"]["children"]["codeblue_services"]["hosts"]["records"]["codeblue_snapshot_recipients"] = [
        site.recipient
    ]
    site.inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")
    for command, state in (("create", "verified"), ("verify", "verified"), ("prove", "proven")):
        identity = [] if command == "create" else ["--identity", str(site.identity)]
        code, lines = site.snapshot(command, "-i", str(site.inventory), "--json", *identity)
        assert code == 0, lines[-1]
        (entry,) = site.store().snapshots("records")
        assert entry.state == state, (command, lines[-1])
    place = tmp_path / "looked-at"
    wanted = [entry.snapshot_id, "Deployment/records.json", "--level", "objects", "--to", str(place)]
    code, _lines = site.snapshot("restore", *wanted, "--identity", str(site.identity))
    found = json.loads((place / "Deployment" / "records.json").read_text(encoding="utf-8"))
    assert code == 0 and found["kind"] == "Deployment"
