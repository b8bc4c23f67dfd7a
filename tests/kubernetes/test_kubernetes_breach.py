"""security_breach_response on Kubernetes, by the command: contained, rotated, and left to a person."""

from __future__ import annotations

import base64
import http.server
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, SECRETS, Resource
from cluster import Namespace
from runbook_site import service
from sites import Keeper

pytestmark = pytest.mark.kubernetes
RUNBOOK = "security_breach_response"
_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")


@pytest.fixture
def alarm() -> Iterator[str]:
    """The address of a signal that is not clear."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/signal"
    server.shutdown()
    server.server_close()


def site(root: Path, namespace: Namespace, signals: list[dict[str, t.Any]]) -> Keeper:
    variables = namespace.variables("Deployment", "records")
    variables["codeblue_kind"] = "service"
    variables["codeblue_checks"]["signals"] = signals
    variables["codeblue_kubernetes"] |= {"service": "records", "secrets": {"keys": {"JWT": "generated"}}}
    keeper = Keeper(root, {"records": variables})
    groups = yaml.safe_load(keeper.inventory.read_text(encoding="utf-8"))
    services = groups["all"]["children"]["codeblue_services"]
    services["hosts"]["records"]["codeblue_evidence_recipients"] = [keeper.recipient]
    services["children"] = {"codeblue_application_services": {"hosts": {"records": None}}}
    keeper.inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")
    return keeper


def records(namespace: Namespace) -> None:
    value = base64.b64encode(b"old-value-of-a-key").decode()
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "keys"}, "data": {"JWT": value}})
    namespace.workload("Deployment", "records", "3.8")
    change = [
        {
            "op": "add",
            "path": "/spec/template/spec/containers/0/envFrom",
            "value": [{"secretRef": {"name": "keys"}}],
        }
    ]
    namespace.client.patch(Resource("apps", "v1", "deployments"), "records", namespace.name, change)
    service(namespace, "records")
    namespace.serves("Deployment", "records", "3.8")


def test_a_breach_is_contained_and_left_to_a_person(namespace: Namespace, tmp_path: Path, alarm: str) -> None:
    records(namespace)
    stray = {
        "metadata": {"name": "helper", "labels": {"app": "records", "own": "no"}},
        "spec": {"containers": [{"name": "main", "image": "clinic/other:1"}]},
    }
    namespace.client.create(PODS, namespace.name, stray)
    keeper = site(
        tmp_path, namespace, [{"id": "foreign", "type": "http", "topic": "intrusion", "url": alarm, "timeout": "2s"}]
    )
    code, lines = keeper.codeblue("run", RUNBOOK)
    assert code == 1 and lines[-1]["outcome"] == "failed_safe", lines[-1]
    assert "release_service --limit records" in lines[-1]["error"]
    steps = [str(each.get("summary")) for each in lines if each.get("message_type") == "step"]
    assert any("cut the pods of Deployment records" in each and "is not proven" in each for each in steps), steps
    assert any("helper without a controller still run" in each for each in steps), steps
    assert any("gave JWT of Secret keys new values" in each for each in steps), steps
    assert (
        namespace.client.get(SECRETS, "keys", namespace.name)["data"]["JWT"]
        != base64.b64encode(b"old-value-of-a-key").decode()
    )
    names = [each["metadata"]["name"] for each in namespace.client.list_all(_POLICIES, namespace.name)]
    assert names == ["codeblue-quarantine-deployment-records"]
    assert list((tmp_path / "state" / "codeblue" / "evidence").rglob("*.age"))
    said = [str(each) for each in lines]
    assert any("pod helper, which no controller made" in each for each in said)
    code, lines = keeper.codeblue("run", "release_service")
    assert code == 0, lines[-1]
    assert namespace.client.list_all(_POLICIES, namespace.name) == []


def test_without_an_alarm_nothing_is_changed(namespace: Namespace, tmp_path: Path) -> None:
    records(namespace)
    code, lines = site(tmp_path, namespace, []).codeblue("run", RUNBOOK, "--because", "somebody asked")
    assert code == 0 and not any("cut the pods" in str(each) for each in lines), lines[-1]
    assert namespace.client.list_all(_POLICIES, namespace.name) == []
