"""Evidence of a namespace goes into the store of evidence, encrypted, with its custody; logs are simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import EvidenceStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import SECRETS, Resource
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity
from cluster import Cluster, Namespace
from simulated_kubelet import MARK
from simulated_node import NODE
from sites import Keeper

pytestmark = pytest.mark.kubernetes
_NODE_STATUS = Resource("", "v1", f"nodes/{NODE}/status", namespaced=False)
_VALUE = "b3BlbiBzZXNhbWU="


@pytest.fixture
def silent(cluster: Cluster) -> Iterator[None]:
    """The node answers for no logs."""
    assert cluster.own and cluster.node is not None
    cluster.client().merge(_NODE_STATUS, "", "", {"status": {"addresses": None, "daemonEndpoints": None}})
    yield
    cluster.client().merge(_NODE_STATUS, "", "", {"status": cluster.node.reached_at})


def test_evidence_is_kept_with_its_custody_and_without_values(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    assert cluster.own
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "database"}, "data": {"key": _VALUE}})
    namespace.workload("Deployment", "records", "crash")
    namespace.until_pods("records", {"crash": [False, False]})
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records")})
    looked = site.act("collect_evidence", "--check", recipients=[site.recipient])
    assert looked.code == 0 and "would take evidence" in looked.summary, looked.out
    played = site.act("collect_evidence", recipients=[site.recipient], within="10s", bytes_per_log=2000)
    assert played.code == 0 and played.result["missing"] == [], played.out
    (run,) = site.store().runs()
    evidence = EvidenceStore(site.root / "state" / "codeblue" / "evidence", run.run_id, site.store())
    entry = evidence.taken("records", "namespace")
    assert entry is not None and entry.digest in evidence.recorded()
    contents: dict[str, bytearray] = {}
    for piece in entry.pieces:
        assert evidence.damage(piece) == ""
        evidence.read(piece, Identity(site.identity), contents.setdefault(piece.name, bytearray()).extend)
    logs = {name: content for name, content in contents.items() if name.startswith("log_")}
    assert len(logs) == 4 and sum(name.endswith("_previous") for name in logs) == 2
    assert all(
        content.endswith(b"\n") and len(content) <= 2000 and MARK.encode() in content for content in logs.values()
    )
    assert {"pods", "events", "ReplicaSet", "Secret", "Deployment"} <= set(contents)
    (kept,) = [each for each in json.loads(contents["Secret"]) if each["metadata"]["name"] == "database"]
    assert kept["data"]["key"].startswith("hidden ") and kept["metadata"]["managedFields"]
    everything = b"".join(bytes(content) for content in contents.values()) + played.out.encode()
    assert _VALUE.encode() not in everything and b"s3cret-of-old" not in everything
    print(f"{len(entry.pieces)} pieces, {entry.size_bytes} bytes in {played.said['seconds']} s")


@pytest.mark.usefixtures("silent")
def test_logs_that_cannot_be_had_are_named_and_the_rest_is_taken(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    site = Keeper(tmp_path, {"records": namespace.variables("Deployment", "records")})
    played = site.act("collect_evidence", recipients=[site.recipient], within="10s")
    assert played.code == 0, played.out
    (told,) = played.result["evidence"]
    names = {piece["name"] for piece in told["pieces"]}
    assert {"pods", "Deployment"} <= names and not any(name.startswith("log_") for name in names)
    print(f"without a kubelet: {played.said['seconds']} s")
    (tmp_path / "gone").mkdir()
    away = Keeper(tmp_path / "gone", {"records": namespace.variables("Deployment", "records", tmp_path / "no-file")})
    silent = away.act("collect_evidence", recipients=[away.recipient])
    assert silent.code == 0 and silent.result["missing"] == ["records"], silent.out
