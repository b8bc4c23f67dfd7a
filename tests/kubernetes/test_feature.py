"""An AI service whose release crashes: its feature is switched off in a ConfigMap first, and given back in steps."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONFIG_MAPS,
    WORKLOAD_RESOURCES,
)
from cluster import Cluster, Namespace
from runbook_site import RunbookSite, service

pytestmark = pytest.mark.kubernetes
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]
FLAGS = {"ai_enabled": True, "ai_share": 40, "theme": "dark"}


def data(namespace: Namespace) -> dict[str, str]:
    return dict(namespace.client.get(CONFIG_MAPS, "records-flags", namespace.name)["data"])


def site(
    namespace: Namespace,
    root: Path,
    place: dict[str, t.Any],
    kubeconfig: Path | None = None,
    deep: list[dict[str, t.Any]] | None = None,
) -> RunbookSite:
    """A clinic whose records use suggestions of an AI service.

    :param deep: checks of records.
    """
    ai = namespace.variables("Deployment", "ai", kubeconfig)
    records = {**namespace.variables("Deployment", "records", kubeconfig), "codeblue_kind": "service"}
    records["codeblue_checks"] = {**records["codeblue_checks"], **({"deep": deep} if deep else {})}
    places = [{"config_map": "records-flags", **place}]
    feature = {"used_by": "records", "enabled": "ai_enabled", "share": "ai_share", "places": places}
    ai["codeblue_kubernetes"] |= {"service": "ai", "features": {"suggestions": feature}}
    return RunbookSite(root, {"ai": ai, "records": records}, "ai_service_unavailable")


def clinic(namespace: Namespace, flags: dict[str, str]) -> None:
    namespace.workload("Deployment", "ai", "3.8", strategy={"type": "Recreate"})
    namespace.workload("Deployment", "records", "3.8")
    service(namespace, "ai")
    namespace.client.create(CONFIG_MAPS, namespace.name, {"metadata": {"name": "records-flags"}, "data": flags})
    namespace.serves("Deployment", "ai", "3.8")
    namespace.serves("Deployment", "records", "3.8")


def test_records_go_on_without_suggestions_until_the_release_is_back(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    clinic(namespace, {"flags.json": json.dumps(FLAGS), "motd": "hello"})
    user = f"feature-{namespace.name}"
    made = site(namespace, tmp_path, {"key": "flags.json"}, cluster.audited(user))
    namespace.set_image("Deployment", "ai", "crash")
    namespace.until_pods("ai", {"crash": [False, False]})
    code, planned = made.codeblue("plan")
    assert code == 0, planned[-1]
    assert any("suggestions_off_1_records-flags" in str(each.get("summary")) for each in planned), planned
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] == "patch"]
    code, lines = made.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-3:])
    assert json.loads(data(namespace)["flags.json"]) == FLAGS and data(namespace)["motd"] == "hello"
    namespace.serves("Deployment", "ai", "3.8")
    run = max(made.store().runs(), key=lambda each: each.run_id)
    set_to = [
        (each.result or {}).get("after")
        for each in made.store().steps(run.run_id)
        if each.target == "ai" and each.action.endswith("_1_records-flags") and not each.action.startswith("look_")
    ]
    assert set_to == [
        {"ai_enabled": False, "ai_share": 0},
        *({"ai_enabled": True, "ai_share": share} for share in (2, 10, 20, 40)),
    ]
    asked = [each for each in cluster.own.audited() if each["user"] == user and each["verb"] == "patch"]
    patched = [each["uri"].split("/")[-2] for each in asked]
    assert patched == ["configmaps", "deployments", *["configmaps"] * 4]
    print(f"off after {lines[-1]['first_action_seconds']} s, all of it {lines[-1]['seconds']} s")


@pytest.fixture
def front(namespace: Namespace) -> Iterator[str]:
    """Simulated: the way to records, which fails once a tenth of its requests uses suggestions, switched on or back."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            flags = json.loads(data(namespace)["flags.json"])
            overrun = bool(flags["ai_enabled"]) and 10 <= flags["ai_share"] < FLAGS["ai_share"]
            self.send_response(503 if overrun else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/health"
    server.shutdown()
    server.server_close()


def test_a_gate_that_closes_switches_the_feature_off_again(namespace: Namespace, tmp_path: Path, front: str) -> None:
    clinic(namespace, {"flags.json": json.dumps(FLAGS)})
    check = {"id": "answers", "type": "http", "url": front, "timeout": "5s"}
    made = site(namespace, tmp_path, {"key": "flags.json", "refreshed_within": 1}, deep=[check])
    namespace.set_image("Deployment", "ai", "crash")
    namespace.until_pods("ai", {"crash": [False, False]})
    code, lines = made.codeblue("run")
    assert code == 1 and lines[-1]["outcome"] == "failed_safe", json.dumps(lines[-3:])
    assert "suggestions is off again: records: answers fails (unavailable) at 25 %" in lines[-1]["error"], lines[-1]
    # Records work without it, and the release is back all the same.
    assert json.loads(data(namespace)["flags.json"]) == {**FLAGS, "ai_enabled": False, "ai_share": 0}
    namespace.serves("Deployment", "ai", "3.8")
    run = max(made.store().runs(), key=lambda each: each.run_id)
    gates = [each for each in made.store().steps(run.run_id) if each.action.startswith("gate_suggestions_")]
    assert [(each.action, each.outcome) for each in gates] == [
        ("gate_suggestions_5", "ok"),
        ("gate_suggestions_25", "failed"),
    ]


def test_a_person_switches_it_off_and_pods_that_read_it_at_their_start_are_made_anew(
    namespace: Namespace, tmp_path: Path
) -> None:
    clinic(namespace, {"ai_enabled": "true", "ai_share": "25"})
    made = site(namespace, tmp_path, {"restarts": "deployment/records"})
    before = {each["metadata"]["uid"] for each in pods(namespace)}
    assert operate(made, "off") == (0, "None")
    assert data(namespace) == {"ai_enabled": "false", "ai_share": "0"}
    namespace.serves("Deployment", "records", "3.8")
    assert not before & {each["metadata"]["uid"] for each in pods(namespace)}
    generation = namespace.client.get(DEPLOYMENTS, "records", namespace.name)["metadata"]["generation"]
    assert operate(made, "off") == (0, "None")
    again = namespace.client.get(DEPLOYMENTS, "records", namespace.name)["metadata"]["generation"]
    assert again == generation, "what is off already restarts nobody"
    namespace.client.merge(CONFIG_MAPS, "records-flags", namespace.name, {"immutable": True})
    code, error = operate(made, "on")
    assert code == 3 and "ConfigMap records-flags" in error and "is immutable" in error
    assert data(namespace) == {"ai_enabled": "false", "ai_share": "0"}


def pods(namespace: Namespace) -> list[dict[str, t.Any]]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS

    found = namespace.client.list_all(PODS, namespace.name, labels="app=records")
    return [each for each in found if not each["metadata"].get("deletionTimestamp")]


def operate(made: RunbookSite, state: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "codeblue", "run", "feature_switch", "-i", str(made.inventory), "--limit", "ai"]
    done = subprocess.run(
        [*command, "-e", f"codeblue_feature_state={state}", "--json"],
        env=made.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, str(json.loads(done.stdout.splitlines()[-1])["error"])
