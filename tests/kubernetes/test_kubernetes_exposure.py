"""hipaa_compliance_violation on Kubernetes, by the command, on a real API server. Logs and what answers for pages are
simulated; objects, endpoints, evidence and breaches are real."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from account import Account
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    ENDPOINT_SLICES,
    INGRESSES,
    SERVICES,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    ready_endpoints,
    selecting_service,
)
from cluster import Cluster, Namespace
from faulty_proxy import Fault, FaultyProxy
from runbook_site import RunbookSite, service

pytestmark = pytest.mark.kubernetes
RUNBOOK = "hipaa_compliance_violation"
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_PATIENT = "PT-0000"


class Front:
    """Simulated: what stands before the Service and answers from outside, led by the real endpoints and images."""

    def __init__(self, namespace: Namespace) -> None:
        front = self
        self.requests: list[tuple[str, int]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = front.status(namespace, self.path)
                front.requests.append((self.path, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Nothing is printed."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def status(self, namespace: Namespace, path: str) -> int:
        if not addresses(namespace, "records"):
            return 503
        if path == "/patients":
            return 200 if set(namespace.pods("records")) == {"public"} else 401
        return 200

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def front(namespace: Namespace) -> Iterator[Front]:
    made = Front(namespace)
    yield made
    made.stop()


class Site(RunbookSite):
    """An account whose only service holds patients' data."""

    def __init__(self, root: Path, namespace: Namespace, kubeconfig: Path | None = None, front: Front | None = None):
        identity = pyrage.x25519.Identity.generate()
        variables = namespace.variables("Deployment", "records", kubeconfig)
        variables["codeblue_kind"] = "service"
        variables["codeblue_kubernetes"] |= {"service": "records", "ways_in": []}
        variables["codeblue_phi"] = {
            "identifiers": {"patient_ref": r"PT-\d{6}"},
            "access_containers": ["main"],
            "organisation": "Clinic",
            **({"refused_requests": ["/patients"]} if front is not None else {}),
        }
        variables["codeblue_evidence_recipients"] = [str(identity.to_public())]
        if front is not None:
            variables["codeblue_checks"]["deep"] = [
                {"id": "home", "type": "http", "url": f"{front.url}/home", "status": 200, "timeout": "2s"}
            ]
        super().__init__(root, {"records": variables}, RUNBOOK)

    def evidence(self) -> list[str]:
        return sorted(path.name for path in (self.root / "state" / "codeblue" / "evidence").rglob("*.age"))


def said(lines: list[dict[str, t.Any]]) -> str:
    """What a run printed, for when it ended otherwise."""
    steps = [f"{each.get('stage')}: {each.get('summary')}" for each in lines if each.get("message_type") == "step"]
    return "\n".join([*steps, str(lines[-1].get("error"))])


def addresses(namespace: Namespace, name: str) -> int:
    slices = namespace.client.list_all(ENDPOINT_SLICES, namespace.name, labels=selecting_service(name))
    return ready_endpoints(slices)


def records(namespace: Namespace, tag: str) -> None:
    """A service whose good version was followed by another one."""
    namespace.workload("Deployment", "records", "3.8", strategy={"type": "Recreate"})
    service(namespace, "records")
    namespace.serves("Deployment", "records", "3.8")
    if tag != "3.8":
        namespace.set_image("Deployment", "records", tag)
        namespace.serves("Deployment", "records", tag)


def holds_no_patient(site: Account, lines: list[dict[str, t.Any]]) -> None:
    """Neither what was printed nor what was kept in the clear tells of a patient."""
    assert _PATIENT not in json.dumps(lines)
    for path in site.root.rglob("*"):
        if path.is_file() and path.suffix != ".age":
            assert _PATIENT.encode() not in path.read_bytes(), path


def test_a_version_that_logs_patients_is_left_and_its_logs_go(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    assert cluster.own
    records(namespace, "phi")
    user = f"privacy-{namespace.name}"
    site = Site(tmp_path, namespace, cluster.audited(user))
    code, lines = site.codeblue("plan")
    assert code == 0 and "phi_in_log" in json.dumps(lines), said(lines)
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    namespace.serves("Deployment", "records", "3.8")
    (breach,) = site.store().breaches()
    # Ten made-up patients, each in the logs of both pods.
    assert (breach.affected, breach.cause, breach.status) == (10, "phi_in_log", "exercise")
    assert breach.exposure_ended_at and breach.facts["nature"]["log_lines"] == 20
    kept = site.evidence()
    assert sum("log_records-" in name for name in kept) >= 2 and any("events" in name for name in kept), kept
    holds_no_patient(site, lines)
    before = namespace.pods("records")
    code, lines = site.codeblue("run", "--because", "asked again")
    assert code == 0 and lines[-1]["outcome"] in ("nothing_to_do", "recovered"), lines[-1]
    assert namespace.pods("records") == before and len(site.store().breaches()) == 1
    assert namespace.image("Deployment", "records") == "3.8"


def test_a_page_that_is_open_is_closed_and_comes_back_with_the_version_before(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, front: Front
) -> None:
    assert cluster.own
    records(namespace, "public")
    site = Site(tmp_path, namespace, front=front)
    assert front.status(namespace, "/patients") == 200
    code, lines = site.codeblue("run", "--because", "somebody reports a page")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    assert "public_endpoint" in json.dumps(lines)
    # It led nowhere before anything else was done, and leads to other pods now.
    assert front.status(namespace, "/patients") == 401 and addresses(namespace, "records") == 2
    selector = namespace.client.get(SERVICES, "records", namespace.name)["spec"]["selector"]
    assert selector == {"app": "records"}
    assert site.decision("lead_nowhere_records")["from"] == "app=records"
    (breach,) = site.store().breaches()
    assert (breach.cause, breach.affected, breach.facts["acquired"]["answers"]) == ("public_endpoint", 5, 10)
    holds_no_patient(site, lines)


def test_ways_in_that_nobody_meant_are_taken_and_can_be_made_again(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    assert cluster.own
    records(namespace, "3.8")
    service(namespace, "other")
    namespace.client.patch(
        SERVICES, "records", namespace.name, [{"op": "add", "path": "/spec/type", "value": "NodePort"}]
    )
    ingress(namespace, "demo", {"/records": "records"})
    ingress(namespace, "shared", {"/records": "records", "/other": "other"})
    site = Site(tmp_path, namespace)
    code, lines = site.codeblue("run")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    found = namespace.client.get(SERVICES, "records", namespace.name)["spec"]
    assert found["type"] == "ClusterIP" and not any("nodePort" in port for port in found["ports"])
    with pytest.raises(NotFound):
        namespace.client.get(INGRESSES, "demo", namespace.name)
    (rule,) = namespace.client.get(INGRESSES, "shared", namespace.name)["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/other"]
    assert any("Ingress_demo" in name for name in site.evidence())
    assert "ways_in" in json.dumps(lines[-1].get("due") or lines), "what was closed is due to be looked at"
    assert site.store().breaches() == [], "nobody's data was seen to leave"
    code, lines = site.codeblue("run", "--because", "asked again")
    assert code == 0 and "close_Ingress_demo" not in json.dumps(lines)


def test_an_ingress_stays_where_nobody_could_make_it_again(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    assert cluster.own
    records(namespace, "3.8")
    ingress(namespace, "demo", {"/records": "records"})
    site = Site(tmp_path, namespace)
    text = site.inventory.read_text(encoding="utf-8").replace("codeblue_evidence_recipients", "unused_recipients")
    site.inventory.write_text(text, encoding="utf-8")
    code, lines = site.codeblue("run")
    assert code != 0 and "codeblue_evidence_recipients names nobody" in lines[-1]["error"], lines[-1]
    assert namespace.client.get(INGRESSES, "demo", namespace.name)
    assert addresses(namespace, "records") == 0, "it is closed all the same"


def test_a_killed_run_is_resumed_and_gives_back_what_it_closed(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, front: Front
) -> None:
    records(namespace, "public")

    def kill() -> None:
        """The Service leads nowhere by now; neither the answer nor the result in the journal will be seen."""
        (run,) = site.store().runs()
        (step,) = site.store().open_intents(run.run_id)
        playbook = int(Path(f"/proc/{step.worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        for pid in (playbook, step.worker.pid):
            os.kill(pid, signal.SIGKILL)

    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        config = cluster.own.token_kubeconfig(f"killed-{namespace.name}", cluster.token(), proxy.url)
        site = Site(tmp_path, namespace, config, front)
        proxy.next("PATCH", Fault(passes=True, then=kill))
        code, lines = site.codeblue("run", "--because", "somebody reports a page")
        assert code != 0, said(lines)
        (run,) = site.store().runs()
        assert [each.action for each in site.store().open_intents(run.run_id)] == ["lead_nowhere_records"]
        code, lines = site.resume(run.run_id)
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    steps = [action for action, outcome in site.steps("records") if outcome == "ok"]
    wanted = [
        "choose",
        "lead_nowhere_records",
        "open_breach",
        "choose_1",
        "roll_back_1",
        "prove_1",
        "lead_back_records",
    ]
    assert steps == wanted, steps
    assert front.status(namespace, "/patients") == 401 and namespace.image("Deployment", "records") == "3.8"
    assert len(site.store().breaches()) == 1


def ingress(namespace: Namespace, name: str, paths: dict[str, str]) -> None:
    backends = [
        {"path": path, "pathType": "Prefix", "backend": {"service": {"name": to, "port": {"number": 80}}}}
        for path, to in paths.items()
    ]
    spec = {"rules": [{"host": "demo.example.org", "http": {"paths": backends}}]}
    namespace.client.create(INGRESSES, namespace.name, {"metadata": {"name": name}, "spec": spec})
