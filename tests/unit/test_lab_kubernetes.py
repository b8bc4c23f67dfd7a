"""The lab on a cluster, as far as it needs none: its objects, its inventory, digests, and what counts as real."""

from __future__ import annotations

import copy
import datetime as dt
import typing as t
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import wanted_references
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
from codeblue.lab.faults import all_faults
from codeblue.lab.kubernetes.cluster import has_kubelets
from codeblue.lab.kubernetes.faults import cluster_faults
from codeblue.lab.kubernetes.inventory import inventory
from codeblue.lab.kubernetes.layout import KubernetesLayout
from codeblue.lab.kubernetes.manifests import MADE_BY, SERVICE_NAMES, read_manifests
from codeblue.lab.kubernetes.objects import differences, digest
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.state import KubernetesLabState
from codeblue.lab.secrets import make_identity

ROOT = Path(__file__).parents[2]


def parts(directory: Path) -> ClusterParts:
    state = KubernetesLabState("/etc/kubeconfig", "lab", "clinic", "registry/clinic", "2026-01-01T00:00:00+00:00")
    state.monitor_port = 20001
    return ClusterParts(KubernetesLayout(directory), state, t.cast(t.Any, object()))


def test_every_object_is_marked_and_has_what_it_refers_to() -> None:
    manifests = read_manifests("registry/clinic", lambda name, key: f"value of {name} {key}")
    keys = {each.key: each.body for each in manifests}
    assert len(keys) == len(manifests)
    for manifest in manifests:
        assert manifest.body["metadata"]["labels"][MADE_BY[0]] == MADE_BY[1]
        if manifest.kind not in ("Deployment", "StatefulSet"):
            continue
        assert manifest.body["spec"]["template"]["spec"]["containers"][0]["image"].startswith("registry/clinic/")
        wanted = wanted_references(manifest.body)
        assert wanted, f"{manifest.name} wants a Secret and a ConfigMap: faults take them away"
        for reference in wanted:
            there = keys[f"{reference.kind}/{reference.name}"]
            assert reference.key is None or reference.key in there["data"]
        selector = keys[f"Service/{manifest.name}"]["spec"]["selector"]
        assert selector.items() <= manifest.body["spec"]["template"]["metadata"]["labels"].items()


def test_secrets_are_made_once_and_are_for_nobody_else(tmp_path: Path) -> None:
    make_identity(KubernetesLayout(tmp_path))
    first, second = parts(tmp_path), parts(tmp_path)
    assert [each.body for each in first.manifests] == [each.body for each in second.manifests]
    files = list((tmp_path / "secrets").iterdir())
    assert files and all(each.stat().st_mode & 0o077 == 0 for each in files)
    written = str(inventory(first))
    assert not [each for each in files if each.read_text().strip() in written]


def test_its_inventory_is_one(tmp_path: Path) -> None:
    make_identity(KubernetesLayout(tmp_path))
    found = inventory(parts(tmp_path))["all"]
    groups = found["children"]["codeblue_services"]["children"]
    hosts = {name: {**found["vars"], **each} for group in groups.values() for name, each in group["hosts"].items()}
    services = load_services(hosts, sorted(hosts))
    assert set(services) == set(SERVICE_NAMES)
    for service in services.values():
        assert service.environment == "lab" and service.require_kubernetes().context == "lab"
        assert [check.type for check in service.checks.shallow] == ["workload"]
        topics = {check.topic for check in service.checks.signals}
        of_patients = {"exposure"} if service.phi is not None else set()
        late = {"integrity"} if service.name == "patient_db" else {"performance"}
        assert topics == {"intrusion"} | late | of_patients
        assert service.require_kubernetes().secrets, "a breach has something to rotate"


def test_a_fault_names_a_runbook_that_is_there_and_services_of_the_clinic() -> None:
    assert not set(cluster_faults()) & set(all_faults()), "their names are told apart in the history"
    cards = {path.parent.name: load_card(path) for path in ROOT.glob("runbooks/*/runbook.yml")}
    for fault in cluster_faults().values():
        assert set(fault.hits) <= set(SERVICE_NAMES)
        assert fault.runbook is None or fault.runbook in cards, fault.name


def test_a_digest_is_of_what_the_author_wrote() -> None:
    service: dict[str, t.Any] = {
        "kind": "Service",
        "metadata": {"name": "auth", "labels": {"a": "b"}, "resourceVersion": "7"},
        "spec": {"selector": {"app": "auth"}, "clusterIP": "10.96.0.7"},
        "status": {"loadBalancer": {}},
    }
    again = copy.deepcopy(service)
    again["metadata"]["resourceVersion"] = "9"
    again["spec"]["clusterIP"] = "10.96.0.8"
    assert digest(again) == digest(service)
    again["spec"]["selector"] = {"app": "other"}
    assert digest(again) != digest(service)
    deployment: dict[str, t.Any] = {"kind": "Deployment", "metadata": {"name": "auth"}, "spec": {"replicas": 2}}
    numbered = {**deployment, "metadata": {"annotations": {"deployment.kubernetes.io/revision": "3"}}}
    assert digest(numbered) == digest(deployment)
    assert digest({**deployment, "metadata": {"annotations": {"who": "me"}}}) != digest(deployment)


def test_differences_are_told_by_name() -> None:
    said = differences({"Secret/a": "1", "Service/new": "2"}, {"Secret/a": "other", "ConfigMap/gone": "3"})
    assert said == ["ConfigMap/gone is missing", "Secret/a is not as it was", "Service/new was not there"]


def node(name: str, kubelet: str = "v1.33.0", **labels: str) -> dict[str, t.Any]:
    return {"metadata": {"name": name, "labels": labels}, "status": {"nodeInfo": {"kubeletVersion": kubelet}}}


def lease(name: str, age: float = 5.0) -> dict[str, t.Any]:
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    return {"metadata": {"name": name}, "spec": {"renewTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}


def test_what_runs_on_nodes_is_real_only_when_all_of_it_is() -> None:
    assert has_kubelets([node("a"), node("b")], [lease("a"), lease("b")])
    assert not has_kubelets([], [])
    assert not has_kubelets([node("a", simulated="true")], [lease("a")])
    assert not has_kubelets([node("a", kubelet="")], [lease("a")])
    assert not has_kubelets([node("a")], [lease("a", age=300.0)])
    assert not has_kubelets([node("a"), node("b", simulated="true")], [lease("a"), lease("b")])
