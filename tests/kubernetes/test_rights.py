"""Runbooks with the rights that `codeblue rights` prints for them, and no other."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    SECRETS,
    WORKLOAD_RESOURCES,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict
from cluster import AUDITED, Cluster, Namespace
from runbook_site import RunbookSite, Site, login, service
from sites import Keeper

pytestmark = pytest.mark.kubernetes

_GROUP = "rbac.authorization.k8s.io"
_RESOURCES = {
    "ClusterRole": Resource(_GROUP, "v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(_GROUP, "v1", "clusterrolebindings", namespaced=False),
    "RoleBinding": Resource(_GROUP, "v1", "rolebindings"),
}


def _printed(runbook: str, namespace: str, user: str) -> list[dict[str, t.Any]]:
    command = [sys.executable, "-m", "codeblue", "rights", runbook, "-n", namespace, "--to", user, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, t.Any]] = json.loads(done.stdout.splitlines()[0])["objects"]
    return found


def _account(cluster: Cluster, namespace: Namespace, runbook: str) -> Path:
    """A kubeconfig of somebody who may do what is printed, and nothing else."""
    user = f"{runbook}-{namespace.name}".replace("_", "-")
    for each in _printed(runbook, namespace.name, user):
        # Roles and bindings of the whole cluster are there from another test, and its user is another one.
        if each["kind"] == "ClusterRoleBinding":
            each["metadata"]["name"] = user
        try:
            cluster.client().create(_RESOURCES[each["kind"]], each["metadata"].get("namespace", ""), each)
        except Conflict:
            assert each["kind"] == "ClusterRole", each
    return cluster.own.kubeconfig(user, user, f"{AUDITED}-only")


def _recovered(site: RunbookSite) -> None:
    code, lines = site.codeblue("run", "--because", "a test of rights")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), lines[-1]["error"]
    said = json.dumps(lines)
    assert "forbidden" not in said.lower() and "is not allowed" not in said, said


def test_a_bad_version(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    site = Site(tmp_path, namespace, _account(cluster, namespace, "authentication_system_down"))
    namespace.set_image("Deployment", "login", "crash")
    namespace.until_pods("login", {"crash": [False, False]})
    _recovered(site)
    namespace.serves("Deployment", "login", "3.8")


def test_a_service_that_leads_nowhere(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import SERVICES

    login(namespace)
    site = Site(tmp_path, namespace, _account(cluster, namespace, "authentication_system_down"))
    change = [{"op": "add", "path": "/spec/selector/version", "value": "stable"}]
    namespace.client.patch(SERVICES, "login", namespace.name, change)
    _recovered(site)


def test_patients_in_a_log(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    import test_kubernetes_exposure as exposure

    exposure.records(namespace, "phi")
    exposure.ingress(namespace, "demo", {"/records": "records"})
    _recovered(exposure.Site(tmp_path, namespace, _account(cluster, namespace, "hipaa_compliance_violation")))


@contextlib.contextmanager
def monitoring(answer: Callable[[], tuple[int, float]]) -> Iterator[str]:
    """Simulated: the site's monitoring; a signal with a status, after some seconds."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, late = answer()
            time.sleep(late)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/signal"
    finally:
        server.shutdown()
        server.server_close()


def _service(namespace: Namespace, kubeconfig: Path, kind: str, **more: t.Any) -> dict[str, t.Any]:
    """The variables of the service `records`, of some kind; it works."""
    namespace.workload("Deployment", "records", "3.8", strategy={"type": "Recreate"})
    service(namespace, "records")
    namespace.serves("Deployment", "records", "3.8")
    variables = namespace.variables("Deployment", "records", kubeconfig)
    variables["codeblue_kind"] = kind
    variables["codeblue_kubernetes"] |= {"service": "records", "replicas": 2, **more}
    return variables


@pytest.mark.parametrize(
    ("runbook", "kind"),
    [
        ("database_connection_failure", "database"),
        ("ai_service_unavailable", "ai"),
        ("complete_system_outage", "service"),
    ],
)
def test_an_image_that_is_missing(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, runbook: str, kind: str
) -> None:
    variables = _service(namespace, _account(cluster, namespace, runbook), kind)
    site = RunbookSite(tmp_path, {"records": variables}, runbook)
    namespace.set_image("Deployment", "records", "bad")
    namespace.until_pods("records", {"bad": [False, False]})
    _recovered(site)
    namespace.serves("Deployment", "records", "3.8")


@pytest.mark.parametrize("cause", ["slow_release", "scaled_down", "overloaded"])
def test_late_answers(cluster: Cluster, namespace: Namespace, tmp_path: Path, cause: str) -> None:
    runbook = "performance_degradation"

    def late() -> tuple[int, float]:
        replicas = namespace.client.get(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name)["spec"]["replicas"]
        needed = 3 if cause == "overloaded" else 2
        return 200, 1.5 if namespace.image("Deployment", "records") == "slow" or replicas < needed else 0.0

    variables = _service(namespace, _account(cluster, namespace, runbook), "service")
    with monitoring(late) as url:
        signal = {"id": "wait", "type": "http", "topic": "performance", "url": url, "max_response": "1s"}
        variables["codeblue_checks"] |= {"signals": [{**signal, "timeout": "5s"}], "thresholds": {"response": "1s"}}
        if cause == "slow_release":
            namespace.set_image("Deployment", "records", "slow")
            namespace.serves("Deployment", "records", "slow")
        elif cause == "scaled_down":
            change = {"spec": {"replicas": 1}}
            namespace.client.merge(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name, change)
            namespace.until_pods("records", {"3.8": [True]})
        _recovered(RunbookSite(tmp_path, {"records": variables}, runbook))


def _keeper(root: Path, variables: dict[str, t.Any]) -> Keeper:
    keeper = Keeper(root, {"records": variables})
    groups = yaml.safe_load(keeper.inventory.read_text(encoding="utf-8"))
    group = {"codeblue_application_services": {"hosts": {"records": None}}}
    groups["all"]["children"]["codeblue_services"]["children"] = group
    keeper.inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")
    return keeper


def test_a_breach_and_the_way_back(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    runbook = "security_breach_response"
    kubeconfig = _account(cluster, namespace, runbook)
    secret = {"metadata": {"name": "keys"}, "stringData": {"JWT": "old-value-of-a-key"}}
    namespace.client.create(SECRETS, namespace.name, secret)
    variables = _service(namespace, kubeconfig, "service", secrets={"keys": {"JWT": "generated"}})
    stray = {
        "metadata": {"name": "helper", "labels": {"app": "records"}},
        "spec": {"containers": [{"name": "main", "image": "clinic/other:1"}]},
    }
    namespace.client.create(PODS, namespace.name, stray)
    with monitoring(lambda: (503, 0.0)) as url:
        signal = {"id": "foreign", "type": "http", "topic": "intrusion", "url": url, "timeout": "5s"}
        variables["codeblue_checks"] |= {"signals": [signal]}
        keeper = _keeper(tmp_path, variables)
        code, lines = keeper.codeblue("run", runbook, "-e", f"codeblue_evidence_recipients={keeper.recipient}")
    said = json.dumps(lines)
    assert (code, lines[-1]["outcome"]) == (1, "failed_safe"), lines[-1]
    assert "release_service --limit records" in lines[-1]["error"], lines[-1]
    assert "gave JWT of Secret keys new values" in said and "may not" not in said, said
    # Who gives it back is somebody else, who may do that and nothing else.
    variables["codeblue_kubernetes"]["kubeconfig"] = str(_account(cluster, namespace, "release_service"))
    variables["codeblue_checks"] |= {"signals": []}
    code, lines = _keeper(tmp_path, variables).codeblue("run", "release_service")
    assert code == 0 and "may not" not in json.dumps(lines), lines[-1]["error"]


def test_every_runbook_that_works_there_is_tried_with_its_rights() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    cards = (Path(__file__).parents[2] / "runbooks").glob("*/runbook.yml")
    # The Jobs of the last one are tried with the rights of whoever may do everything so far.
    names = {path.parent.name for path in cards} - {"data_corruption_detected"}
    assert not [name for name in names if f'"{name}"' not in text]


def test_what_is_not_granted_is_named(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    kubeconfig = cluster.own.kubeconfig(f"nobody-{namespace.name}", f"nobody-{namespace.name}", f"{AUDITED}-only")
    code, lines = Site(tmp_path, namespace, kubeconfig).codeblue("run")
    assert code != 0 and "list" in json.dumps(lines[-1]) and namespace.name in json.dumps(lines[-1]), lines[-1]
