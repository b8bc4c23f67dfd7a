"""data_corruption_detected on Kubernetes, by the command. Objects and Jobs are real; the contents of the database are
simulated, but in the tests with `local` in their names, whose Jobs run on a real PostgreSQL of this machine."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    CONFIG_MAPS,
    JOBS,
    SECRETS,
    WORKLOAD_RESOURCES,
)
from cluster import Cluster, Namespace
from real_database import ADMIN, BIN_DIR, NAME, PASSWORD, RULES, RealDatabase
from runbook_site import RunbookSite, service

pytestmark = pytest.mark.kubernetes
RUNBOOK = "data_corruption_detected"
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class Alarm:
    """The site's monitoring of the data: 503 while something says that they are damaged."""

    def __init__(self, damaged: Callable[[], bool]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(503 if damaged() else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Nothing is printed."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def check(self) -> dict[str, t.Any]:
        url = f"http://127.0.0.1:{self.server.server_address[1]}/integrity"
        return {"id": "monitor", "type": "http", "topic": "integrity", "url": url, "timeout": "5s"}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Site(RunbookSite):
    """An account whose only service is a database, with one workload that writes to it."""

    def __init__(
        self, root: Path, namespace: Namespace, alarm: Alarm | None, tag: str = "ok", kubeconfig: Path | None = None
    ) -> None:
        recipient = str(pyrage.x25519.Identity.generate().to_public())
        variables = namespace.variables("StatefulSet", "patient-db", kubeconfig)
        variables["codeblue_kind"] = "database"
        variables["codeblue_checks"]["signals"] = [alarm.check] if alarm is not None else []
        variables["codeblue_snapshot_recipients"] = variables["codeblue_evidence_recipients"] = [recipient]
        variables["codeblue_objectives"] = {"rto": "15m", "rpo": "5m"}
        variables["codeblue_kubernetes"] |= {
            "service": "patient-db",
            "database": {
                "engine": "postgresql",
                "image": f"clinic/tools:{tag}",
                "name": NAME,
                "credentials": {"secret": "patient-db-admin"},
                "dumps": {"nfs_server": "backups.clinic.example", "nfs_path": "/dumps"},
                "writers": ["deployment/records"],
                "integrity": [json.loads(json.dumps(rule.as_arguments())) for rule in RULES],
            },
        }
        super().__init__(root, {"patient_db": variables}, RUNBOOK)


def clinic(namespace: Namespace, state: str = "damaged") -> None:
    namespace.workload("StatefulSet", "patient-db", "3.8", podManagementPolicy="Parallel")
    namespace.workload("Deployment", "records", "3.8")
    service(namespace, "patient-db")
    encoded = {key: base64.b64encode(each.encode()).decode() for key, each in (("user", ADMIN), ("password", PASSWORD))}
    namespace.client.create(SECRETS, namespace.name, {"metadata": {"name": "patient-db-admin"}, "data": encoded})
    contents = {"metadata": {"name": "patient-db-contents"}, "data": {"state": state}}
    namespace.client.create(CONFIG_MAPS, namespace.name, contents)
    namespace.serves("StatefulSet", "patient-db", "3.8")
    namespace.serves("Deployment", "records", "3.8")


def state_of(namespace: Namespace) -> str:
    return str(namespace.client.get(CONFIG_MAPS, "patient-db-contents", namespace.name)["data"]["state"])


def replicas(namespace: Namespace) -> int:
    return int(namespace.client.get(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name)["spec"]["replicas"])


def jobs(namespace: Namespace) -> list[dict[str, t.Any]]:
    found = namespace.client.list_all(JOBS, namespace.name)
    return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))


def steps_of(namespace: Namespace) -> list[str]:
    return sorted(each["metadata"]["labels"]["codeblue.recovery/step"] for each in jobs(namespace))


def said(lines: list[dict[str, t.Any]]) -> str:
    """What a run printed, for when it ended otherwise."""
    steps = [f"{each.get('stage')}: {each.get('summary')}" for each in lines if each.get("message_type") == "step"]
    return "\n".join([*steps, str(lines[-1].get("error"))])


@pytest.fixture
def simulated(namespace: Namespace) -> Iterator[Alarm]:
    clinic(namespace)
    alarm = Alarm(lambda: state_of(namespace) != "clean")
    yield alarm
    alarm.stop()


_ALL = ["assess", "dump", "read_only", "restore_beside", "swap", "writable"]


def test_damage_is_mended_by_jobs_and_writers_come_back(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, simulated: Alarm
) -> None:
    assert cluster.own
    user = f"corruption-{namespace.name}"
    site = Site(tmp_path, namespace, simulated, kubeconfig=cluster.audited(user))
    code, lines = site.codeblue("plan")
    assert code == 0 and "job_restore_beside" in json.dumps(lines), said(lines)
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    assert state_of(namespace) == "clean" and replicas(namespace) == 2
    namespace.serves("Deployment", "records", "3.8")
    made = jobs(namespace)
    assert steps_of(namespace) == _ALL
    for job in made:
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        assert spec["backoffLimit"] == 0 and spec["activeDeadlineSeconds"] and spec["ttlSecondsAfterFinished"]
        assert pod["restartPolicy"] == "Never" and pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["resources"]["limits"]
        assert PASSWORD not in json.dumps(job), "it comes from the Secret, by the kubelet"
    assert PASSWORD not in json.dumps(lines)
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "nothing_to_do", said(lines)
    assert len(jobs(namespace)) == len(made)


def test_without_a_signal_the_rules_are_asked_before_anything_is_stopped(namespace: Namespace, tmp_path: Path) -> None:
    clinic(namespace, "clean")
    code, lines = Site(tmp_path, namespace, None).codeblue("run", "--because", "a nurse says so")
    assert code == 1 and "every one of 3 integrity rules holds" in lines[-1]["error"], said(lines)
    assert steps_of(namespace) == ["assess"] and replicas(namespace) == 2


def test_a_job_that_fails_leaves_writes_stopped_and_the_next_run_mends(
    namespace: Namespace, tmp_path: Path, simulated: Alarm
) -> None:
    site = Site(tmp_path, namespace, simulated, "fails-dump-1")
    code, lines = site.codeblue("run")
    assert code != 0 and "it was made to fail" in lines[-1]["error"], said(lines)
    assert replicas(namespace) == 0
    # That run is closed; the next one knows from the writer itself how many pods it had.
    text = site.inventory.read_text(encoding="utf-8").replace("fails-dump-1", "ok")
    site.inventory.write_text(text, encoding="utf-8")
    code, lines = site.codeblue("run")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    assert replicas(namespace) == 2 and state_of(namespace) == "clean"
    found = namespace.client.get(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name)
    assert "codeblue.recovery/stopped-writer" not in (found["metadata"].get("annotations") or {})


def test_a_killed_run_finds_its_jobs_and_swaps_once(namespace: Namespace, tmp_path: Path, simulated: Alarm) -> None:
    site = Site(tmp_path, namespace, simulated)

    def kill() -> None:
        """While a Job works, or right after it: neither its result nor the end of its step is written down."""
        while "restore_beside" not in steps_of(namespace):
            time.sleep(0.02)
        (run,) = site.store().runs()
        while not (steps := site.store().open_intents(run.run_id)):
            time.sleep(0.01)
        status = Path(f"/proc/{steps[0].worker.pid}/stat").read_text(encoding="utf-8")
        for pid in (int(status.rpartition(")")[2].split()[1]), steps[0].worker.pid):
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    code, lines = site.codeblue("run")
    thread.join()
    assert code != 0, said(lines)
    (run,) = site.store().runs()
    code, lines = site.resume(run.run_id)
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    assert steps_of(namespace) == _ALL, "no Job was made a second time"
    assert replicas(namespace) == 2 and state_of(namespace) == "clean"


@pytest.fixture(scope="module")
def server() -> Iterator[RealDatabase]:
    running = RealDatabase()
    yield running
    running.stop()


def test_local_a_real_database_comes_back_by_the_scripts_of_the_jobs(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, server: RealDatabase
) -> None:
    assert cluster.own and cluster.node is not None
    clinic(namespace)
    server.nightly("nightly.dump")
    hour = time.time() - 3600
    os.utime(server.dumps / "nightly.dump", (hour, hour))
    cluster.node.local = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "DUMPS": str(server.dumps),
        "PATH": f"{BIN_DIR}{os.pathsep}{os.environ['PATH']}",
    }
    with server.connect() as connection:
        connection.execute("UPDATE records SET note = 'overwritten' WHERE id <= 40")
        connection.execute("INSERT INTO visits (record) VALUES (1)")

    def damaged() -> bool:
        with server.connect() as asked:
            found = asked.execute("SELECT count(*) FROM records WHERE note = 'overwritten'").fetchone()
        return found != (0,)

    alarm = Alarm(damaged)
    try:
        site = Site(tmp_path, namespace, alarm, "local")
        code, lines = site.codeblue("run")
        # An hour of entries may be gone from these tables, and five minutes are allowed.
        assert code == 3 and "1.0 h old" in lines[-1]["error"] and damaged(), said(lines)
        with server.connect() as connection, pytest.raises(Exception, match="read-only"):
            connection.execute("DELETE FROM visits")
        assert replicas(namespace) == 0
        code, lines = site.codeblue("run", "--accept", "data_loss")
    finally:
        alarm.stop()
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), said(lines)
    assert "40 rows out, 40 back" in said(lines)
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM visits").fetchone() == (501,)
        assert not damaged() and connection.execute("DELETE FROM visits WHERE id > 500").rowcount == 1
    assert "overwritten" not in json.dumps(lines) and "note 7" not in json.dumps(lines)
    assert replicas(namespace) == 2
