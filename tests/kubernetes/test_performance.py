"""A service that answers late: a slow release is left, a workload that is too small grows for the time being."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    AUTOSCALERS,
    QUOTAS,
    WORKLOAD_RESOURCES,
)
from cluster import Namespace
from runbook_site import RunbookSite, service

pytestmark = pytest.mark.kubernetes
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]
_LATE = 0.8


@contextlib.contextmanager
def front(is_late: Callable[[], bool]) -> Iterator[str]:
    """Simulated: the way to the pods. Its answers are late while the workload is as a test says."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(_LATE if is_late() else 0)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: t.Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def records(namespace: Namespace) -> None:
    namespace.workload("Deployment", "records", "3.8")
    service(namespace, "records")
    namespace.serves("Deployment", "records", "3.8")


def site(namespace: Namespace, root: Path, url: str) -> RunbookSite:
    found = namespace.variables("Deployment", "records")
    signal = {"id": "answer_time", "type": "http", "topic": "performance", "url": url, "max_response": "400ms"}
    found["codeblue_kind"] = "service"
    found["codeblue_kubernetes"]["service"] = "records"
    found["codeblue_checks"] |= {"signals": [{**signal, "timeout": "3s"}], "thresholds": {"response": "400ms"}}
    return RunbookSite(root, {"records": found}, "performance_degradation")


def replicas(namespace: Namespace) -> int:
    return int(namespace.client.get(DEPLOYMENTS, "records", namespace.name)["spec"]["replicas"])


def test_a_slow_release_is_left(namespace: Namespace, tmp_path: Path) -> None:
    records(namespace)
    namespace.set_image("Deployment", "records", "slow")
    namespace.serves("Deployment", "records", "slow")
    with front(lambda: namespace.image("Deployment", "records") == "slow") as url:
        made = site(namespace, tmp_path, url)
        code, planned = made.codeblue("plan")
        assert code == 0 and any("slow_release" in str(each.get("summary")) for each in planned), planned
        code, lines = made.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-3:])
    namespace.serves("Deployment", "records", "3.8")
    (bad,) = made.bad_versions("records")
    assert bad.startswith("pause:slow+") and replicas(namespace) == 2


def test_what_is_too_small_grows_within_the_quota_and_that_is_due(namespace: Namespace, tmp_path: Path) -> None:
    records(namespace)
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    made_quota = namespace.client.create(QUOTAS, namespace.name, quota)
    deadline = time.monotonic() + 20
    while not (made_quota.get("status") or {}).get("used"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        made_quota = namespace.client.get(QUOTAS, "small", namespace.name)
    with front(lambda: replicas(namespace) < 3) as url:
        made = site(namespace, tmp_path, url)
        code, lines = made.codeblue("run")
        assert code == 3 and "quota small, pods leaves no room" in lines[-1]["error"], json.dumps(lines[-2:])
        assert replicas(namespace) == 2
        namespace.client.merge(QUOTAS, "small", namespace.name, {"spec": {"hard": {"pods": "9"}}})
        time.sleep(1.0)
        code, lines = made.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-3:])
    namespace.until_pods("records", {"3.8": [True, True, True]})
    said = " ".join(str(each.get("summary")) for each in lines)
    assert "scale deployment records --replicas=2 (it was scaled out for the time being)" in said, said
    # What was given for the time being is no number that a later run goes back to.
    assert made.store().proven_versions("records", "kubernetes_replicas") == []


def test_a_plan_says_as_the_run_that_an_autoscaler_owns_the_number_of_pods(
    namespace: Namespace, tmp_path: Path
) -> None:
    records(namespace)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "records"}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}
    namespace.client.create(AUTOSCALERS, namespace.name, {"metadata": {"name": "records"}, "spec": spec})
    with front(lambda: True) as url:
        made = site(namespace, tmp_path, url)
        code, planned = made.codeblue("plan")
        text = json.dumps(planned)
        assert code == 0 and "records: overloaded" in text, planned
        assert "scale it out" not in text and "would scale" not in text, planned
        code, lines = made.codeblue("run")
    assert code == 1 and lines[-1]["outcome"] == "failed_safe", lines[-1]
    assert "look at its bounds" in lines[-1]["error"] and replicas(namespace) == 2
