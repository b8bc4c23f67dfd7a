"""The modules against slowness with real locks, real processes and real connections (about 20 s)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from host_cluster import PASSWORD, Cluster, free_port, run_module, running_cluster

BURN = "while True: pass"
# Two workers in the group of one leader, as a job has them.
JOB = f"import os\nfor _ in range(2):\n    if os.fork() == 0:\n        exec({BURN!r})\nos.wait()"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        for role in ("report", "records_app"):
            made.sql("db1", f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        made.sql("db1", "CREATE TABLE notes (id int)")
        made.sql("db1", "GRANT ALL ON notes TO report, records_app")
        yield made


@contextmanager
def waiting_writer(cluster: Cluster) -> Iterator[None]:
    """A session of the service that waits for the table until the blocker is gone."""

    def write() -> None:
        with cluster.connect("db1", user="records_app", password=PASSWORD) as connection:
            connection.execute("INSERT INTO notes VALUES (1)")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=15)
        assert not thread.is_alive()


def blocker(cluster: Cluster, user: str = "report") -> psycopg.Connection[Any]:
    connection = cluster.connect("db1", user=user, password=PASSWORD, application_name="export")
    connection.autocommit = False
    connection.execute("LOCK TABLE notes IN SHARE ROW EXCLUSIVE MODE")
    return connection


def activity(cluster: Cluster, **options: Any) -> dict[str, Any]:
    arguments = {**cluster.login("db1"), "service_roles": ["records_app"], **options}
    return run_module("postgresql_activity", arguments).result


def test_the_root_is_found_and_only_it_is_ended(cluster: Cluster) -> None:
    held = blocker(cluster)
    with waiting_writer(cluster):
        (root,) = activity(cluster, watch=5.0)["blockers"]
        assert (root["user"], root["state"], root["waiting"]) == ("report", "idle in transaction", 1)
        assert root["waiting_roles"] == ["records_app"] and root["locks"] == ["notes ShareRowExclusiveLock"]
        named = {key: root[key] for key in ("pid", "backend_start", "user")}
        arguments = {**cluster.login("db1"), **named, "guard": "30s", "service_roles": ["records_app"]}
        planned = run_module("postgresql_end_blocker", arguments, check=True).result
        assert planned["changed"] and planned["after"] == {"session": None, "guard": "30s"}
        assert len(activity(cluster)["blockers"]) == 1, "check mode changes nothing"
        ending = {**arguments, "step": cluster.step("end")}
        done = run_module("postgresql_end_blocker", ending).result
        assert done["changed"] and done["after"] == {"session": None, "guard": "30s"} and done["accepted_at"]
        assert done["undo"] == {"report": None}
    held.close()
    again = run_module("postgresql_end_blocker", ending).result
    assert not again["changed"] and again["already_done"]
    second = run_module("postgresql_end_blocker", {**arguments, "step": cluster.step("end2")}).result
    assert not second["changed"]
    cluster.supervisor("restart", "db1")
    cluster.wait_for("db1", "true")
    guards = cluster.sql("db1", "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_roles ON oid = setrole")
    assert [each[0] for each in guards if "30s" in each[0]], "a restart of the server keeps the guard"
    undo = {**cluster.login("db1"), "state": "released", "guards": done["undo"], "step": cluster.step("undo")}
    assert run_module("postgresql_end_blocker", undo).result["changed"]
    assert not run_module("postgresql_end_blocker", {**undo, "step": cluster.step("undo2")}).result["changed"]


def test_a_number_that_was_given_to_another_session_is_never_hit(cluster: Cluster) -> None:
    with blocker(cluster) as held:
        pid = held.info.backend_pid
        arguments = {
            **cluster.login("db1"),
            "pid": pid,
            "backend_start": "2026-01-01 00:00:00+00",
            "user": "report",
            "step": cluster.step("other"),
        }
        result = run_module("postgresql_end_blocker", arguments).result
        assert not result["changed"] and result["before"]["session"] is None
        assert held.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(("user", "words"), [("postgres", "a superuser"), ("records_app", "the service itself")])
def test_protected_sessions_are_refused(cluster: Cluster, user: str, words: str) -> None:
    with blocker(cluster, user) as held:
        (started,) = held.execute(
            "SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone() or ("",)
        arguments = {
            **cluster.login("db1"),
            "pid": held.info.backend_pid,
            "backend_start": started,
            "user": user,
            "guard": "30s",
            "service_roles": ["records_app"],
            "step": cluster.step(f"refused_{user}"),
        }
        refused = run_module("postgresql_end_blocker", arguments)
        assert refused.failed and words in refused.result["msg"] and refused.result["exit_code"] == 3
        assert held.execute("SELECT 1").fetchone() == (1,)
    assert cluster.sql("db1", "SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = 0")[0][0] == 0


def test_an_idle_holder_is_named_though_nobody_waits(cluster: Cluster) -> None:
    with blocker(cluster):
        time.sleep(0.3)
        seen = activity(cluster, watch=0.1, idle_seconds=0.2)
        assert seen["blockers"] == [] and [each["user"] for each in seen["idle_holders"]] == ["report"]
    assert activity(cluster, watch=0.1, idle_seconds=0.2)["idle_holders"] == []


# -- processes -------------------------------------------------------------------------------------------------


@contextmanager
def job(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", JOB], cwd=directory, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def busiest(directory: Path) -> dict[str, Any]:
    arguments = {"processes_below": str(directory), "seconds": 0.5}
    found: dict[str, Any] = run_module("machine_resources", arguments).result
    return found


def step(directory: Path, key: str) -> dict[str, Any]:
    return {"run_id": "run", "target": "t", "key": key, "generation": 1, "lock_dir": str(directory / "locks")}


def test_the_busiest_job_is_found_limited_and_released(tmp_path: Path) -> None:
    work = tmp_path / "machine"
    work.mkdir()
    with job(work) as process:
        time.sleep(0.3)
        (group,) = busiest(work)["groups"]
        assert (group["pid"], group["processes"], group["essential"]) == (process.pid, 3, None)
        assert group["processors"] > 0.05
        named = {"pid": group["pid"], "start_ticks": group["start_ticks"]}
        planned = run_module("process_limit", named, check=True).result
        assert planned["changed"] and {each["policy"] for each in planned["after"]["processes"]} == {"idle"}
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER, "check mode changes nothing"
        done = run_module("process_limit", {**named, "step": step(tmp_path, "limit")}).result
        assert done["changed"] and [each["policy"] for each in done["after"]["processes"]] == ["idle"] * 3
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert not run_module("process_limit", {**named, "step": step(tmp_path, "again")}).result["changed"]
        undo = {"state": "released", "processes": done["undo"], "step": step(tmp_path, "undo")}
        if os.geteuid() == 0:
            assert run_module("process_limit", undo).result["changed"]
            assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        stopped = run_module("process_limit", {**named, "state": "stopped", "step": step(tmp_path, "stop")}).result
        assert {each["stopped"] for each in stopped["after"]["processes"]} == {True}
        ended = run_module("process_limit", {**named, "state": "ended", "step": step(tmp_path, "end")}).result
        assert ended["after"] == {"processes": []} and ended["undo"] == []


def test_a_number_that_was_given_to_another_process_is_never_hit(tmp_path: Path) -> None:
    with job(tmp_path) as process:
        arguments = {"pid": process.pid, "start_ticks": 1, "state": "ended", "step": step(tmp_path, "k")}
        assert not run_module("process_limit", arguments).result["changed"]
        assert process.poll() is None


def test_who_carries_out_the_step_is_refused(tmp_path: Path) -> None:
    with open("/proc/self/stat", "rb") as stream:
        ticks = int(stream.read().rpartition(b")")[2].split()[19])
    own = {"pid": os.getpid(), "start_ticks": ticks, "step": step(tmp_path, "self")}
    refused = run_module("process_limit", own)
    # The tests may share a group with whatever runs them; either way nothing of it is touched.
    assert refused.failed and refused.result["exit_code"] == 3
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


# -- connections -----------------------------------------------------------------------------------------------


def test_connections_are_counted_by_where_they_come_from() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port), backlog=64):
        clients = [socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.77", 0)) for _ in range(7)]
        clients.append(socket.create_connection(("127.0.0.1", port)))
        try:
            seen = run_module("machine_resources", {"ports": [port], "seconds": 0.1}).result
        finally:
            for client in clients:
                client.close()
    assert seen["connections"] == {str(port): {"total": 8, "sources": {"127.0.0.77": 7, "127.0.0.1": 1}}}
    assert 0 <= seen["cpu"]["busy"] <= 1 and seen["cpu"]["processors"] >= 1
    assert 0 < seen["memory"]["used"] < 1 and 0 < seen["disks"][0]["used"] <= 1
