"""The PostgreSQL modules for machines against real servers under a real supervisord (about 25 s)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import parse_lsn
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_password import scram_verifier
from host_cluster import PASSWORD, Cluster, run_module, running_cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """For tests that leave the servers as they found them."""
    with running_cluster() as made:
        yield made


def _idle(cluster: Cluster, user: str, count: int, **options: object) -> list[psycopg.Connection[object]]:
    return [cluster.connect("db1", user=user, password=PASSWORD, **options) for _ in range(count)]


# -- looking ---------------------------------------------------------------------------------------------------


def test_status_of_both_members(shared: Cluster) -> None:
    primary = run_module("postgresql_status", shared.member("db1", service_roles=["postgres"])).result
    standby = run_module("postgresql_status", shared.member("db2")).result
    assert (primary["role"], standby["role"]) == ("primary", "standby")
    assert primary["process"]["state"] == "running"
    assert primary["postmaster"]["pid_file"] == "agrees"
    assert primary["replication"][0]["name"] == "db2"
    assert primary["system_identifier"] == standby["system_identifier"]
    assert standby["wal"]["receiver_status"] == "streaming"
    assert parse_lsn(standby["wal"]["received_lsn"]) >= parse_lsn(primary["wal"]["flush_lsn"])
    assert primary["changed"] is False
    assert primary["seconds"] < 1.5


def test_status_tells_the_kind_of_a_failed_login(shared: Cluster) -> None:
    result = run_module("postgresql_status", shared.member("db1", admin_user="nobody_here")).result
    assert result["sql"]["kind"] == "authentication"
    assert result["port_open"]
    assert result["wal_on_disk"]["lsn"]


def test_status_of_a_stopped_process_does_not_hang(shared: Cluster) -> None:
    pid = shared.postmaster_pid("db1")
    lsn = shared.sql("db1", "SELECT pg_current_wal_flush_lsn()::text")[0][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        result = run_module("postgresql_status", shared.member("db1")).result
        assert time.monotonic() - started < 3.5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result["sql"]["kind"] == "stopped"
    assert result["postmaster"]["stopped_by_signal"]
    assert result["port_open"], "the kernel still takes connections for it"
    assert result["role"] == "primary"
    assert parse_lsn(result["wal_on_disk"]["lsn"]) >= parse_lsn(lsn)


def test_status_with_the_data_directory_gone(cluster: Cluster) -> None:
    data_dir = cluster.data_dir("db1")
    data_dir.rename(data_dir.with_name("elsewhere"))
    os.kill(int((data_dir.with_name("elsewhere") / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    result = run_module("postgresql_status", cluster.member("db1")).result
    assert result["control"]["readable"] is False
    assert result["role"] == "unknown"
    assert result["sql"]["answers"] is False
    data_dir.with_name("elsewhere").rename(data_dir)


# -- sessions and passwords ------------------------------------------------------------------------------------


def test_ending_sessions_spares_the_service(shared: Cluster) -> None:
    shared.sql("db1", f"CREATE ROLE report LOGIN PASSWORD '{PASSWORD}'")
    shared.sql("db1", f"CREATE ROLE records_app LOGIN PASSWORD '{PASSWORD}'")
    held = _idle(shared, "report", 12) + _idle(shared, "records_app", 8)
    arguments = {
        **shared.login("db1"),
        "users": ["report"],
        "application_names": [""],
        "service_roles": ["records_app"],
        "idle_seconds": 0,
        "connection_limit": 3,
    }
    planned = run_module("postgresql_end_sessions", arguments, check=True).result
    assert planned["changed"] and planned["ended"] == 12
    full = run_module("postgresql_status", shared.member("db1")).result
    assert full["connections"]["free_for_services"] <= 2
    done = run_module("postgresql_end_sessions", {**arguments, "step": shared.step()}).result
    assert done["before"]["matching"] == {"report": 12}
    assert done["ended"] == 12
    assert done["after"]["matching"] == {}
    assert done["after"]["free_for_services"] == done["before"]["free_for_services"] + 12
    assert done["undo"] == {"report": -1}
    assert [connection.closed for connection in held[12:]] == [False] * 8
    assert held[12].execute("SELECT 1").fetchone() == (1,)
    again = run_module("postgresql_end_sessions", {**arguments, "step": shared.step()}).result
    assert again["changed"] is False
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        _idle(shared, "report", 4)
    undo = {**shared.login("db1"), "state": "released", "limits": done["undo"], "step": shared.step()}
    assert run_module("postgresql_end_sessions", undo).result["after"]["limits"] == {"report": -1}
    refused = run_module("postgresql_end_sessions", {**arguments, "users": ["records_app"], "step": shared.step()})
    assert refused.failed and refused.result["exit_code"] == 2
    for connection in held:
        connection.close()


def test_admin_gets_in_when_every_place_is_taken(shared: Cluster) -> None:
    shared.sql("db1", f"CREATE ROLE leak LOGIN PASSWORD '{PASSWORD}'")
    held = []
    with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
        while True:
            held += _idle(shared, "leak", 1)
    status = run_module("postgresql_status", shared.member("db1")).result
    assert status["sql"]["answers"]
    assert status["connections"]["free_for_services"] == 0
    assert status["sessions"][0]["user"] == "leak"
    arguments = {**shared.login("db1"), "users": ["leak"], "idle_seconds": 0, "step": shared.step()}
    assert run_module("postgresql_end_sessions", arguments).result["ended"] == len(held)


def test_a_server_without_a_place_for_anybody_is_asked_again(shared: Cluster) -> None:
    """The places for superusers are taken as well, and the first of them is given back after a second."""
    shared.sql("db1", f"CREATE ROLE hoarder LOGIN PASSWORD '{PASSWORD}'")
    held = []
    with pytest.raises(psycopg.OperationalError):
        while True:
            held += _idle(shared, "hoarder", 1)
    reserved = []
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        while True:
            reserved.append(shared.connect("db1"))
    threading.Timer(1.0, reserved[0].close).start()
    arguments = {**shared.login("db1"), "users": ["hoarder"], "idle_seconds": 0, "step": shared.step()}
    done = run_module("postgresql_end_sessions", arguments).result
    assert done["ended"] == len(held)
    for connection in reserved[1:]:
        connection.close()


def _until_logged(cluster: Cluster, text: str) -> None:
    """The server's log is written by a process of its own."""
    deadline = time.monotonic() + 10.0
    while text not in cluster.log("db1").read_text():
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


def test_password_by_verifier_leaves_no_trace(shared: Cluster) -> None:
    shared.sql("db1", f"CREATE ROLE auth_app LOGIN PASSWORD '{PASSWORD}'")
    held = _idle(shared, "auth_app", 2)
    shared.sql("db1", "SELECT 'statements are logged'")
    _until_logged(shared, "statements are logged")
    verifier = scram_verifier("a-new-password")
    arguments = {**shared.login("db1"), "role": "auth_app", "verifier": verifier, "end_sessions": True}
    assert run_module("postgresql_set_password", arguments, check=True).result["changed"]
    outcome = run_module("postgresql_set_password", {**arguments, "step": shared.step()}, diff=True)
    assert outcome.result["after"] == {"verifier_matches": True}
    assert outcome.result["sessions_ended"] == 2
    keys = verifier.split("$")[2]
    assert keys not in outcome.output
    shared.sql("db1", "SELECT 'all before is logged'")
    _until_logged(shared, "all before is logged")
    assert keys not in shared.log("db1").read_text()
    assert all(keys not in path.read_text() for path in (shared.root / "locks").rglob("*.jsonl"))
    shared.connect("db1", user="auth_app", password="a-new-password").close()
    with pytest.raises(psycopg.OperationalError):
        shared.connect("db1", user="auth_app", password=PASSWORD)
    assert run_module("postgresql_set_password", {**arguments, "step": shared.step()}).result["changed"] is False
    wrong = run_module("postgresql_set_password", {**arguments, "verifier": "in plain text", "step": shared.step()})
    assert wrong.result["exit_code"] == 2 and "in plain text" not in wrong.output
    for connection in held:
        connection.close()


def test_read_only_and_back(shared: Cluster) -> None:
    shared.sql("db1", "CREATE DATABASE clinic")
    arguments = {**shared.login("db1", database="clinic"), "name": "clinic"}
    held = shared.connect("db1", dbname="clinic")
    done = run_module("postgresql_read_only", {**arguments, "state": "read_only", "step": shared.step()}).result
    assert done["sessions_ended"] == 1 and done["undo"] == "none"
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        shared.sql("db1", "CREATE TABLE t (n int)", dbname="clinic")
    status = run_module("postgresql_status", shared.member("db1")).result
    assert status["read_only_databases"] == ["clinic"]
    back = {**arguments, "state": "restored", "previous": done["undo"], "step": shared.step()}
    assert run_module("postgresql_read_only", back).result["changed"]
    shared.sql("db1", "CREATE TABLE t (n int)", dbname="clinic")
    held.close()


def test_limits_and_read_only_survive_a_restart_of_the_server(shared: Cluster) -> None:
    shared.sql("db1", f"CREATE ROLE audit LOGIN PASSWORD '{PASSWORD}'")
    shared.sql("db1", "CREATE DATABASE ward")
    capping = {**shared.login("db1"), "users": ["audit"], "idle_seconds": 0, "connection_limit": 2}
    capped = run_module("postgresql_end_sessions", {**capping, "step": shared.step()}).result
    stopping = {**shared.login("db1", database="ward"), "name": "ward"}
    stopped = run_module("postgresql_read_only", {**stopping, "state": "read_only", "step": shared.step()}).result
    assert capped["changed"] and stopped["changed"]
    before = shared.postmaster_pid("db1")
    shared.supervisor("restart", "db1")
    shared.wait_for("db1", "true")
    assert shared.postmaster_pid("db1") != before

    held = _idle(shared, "audit", 2)
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        _idle(shared, "audit", 1)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        shared.sql("db1", "CREATE TABLE t (n int)", dbname="ward")
    assert not run_module("postgresql_end_sessions", {**capping, "idle_seconds": 60, "step": shared.step()}).result[
        "changed"
    ]

    for connection in held:
        connection.close()
    released = {"state": "released", "limits": capped["undo"], "step": shared.step()}
    assert run_module("postgresql_end_sessions", {**shared.login("db1"), **released}).result["changed"]
    back = {"state": "restored", "previous": stopped["undo"], "step": shared.step()}
    assert run_module("postgresql_read_only", {**stopping, **back}).result["changed"]
    shared.sql("db1", "CREATE TABLE t (n int)", dbname="ward")
    shared.wait_until_in_step()


# -- the way of a dead primary ---------------------------------------------------------------------------------


def _write(cluster: Cluster, first: int, last: int) -> None:
    for number in range(first, last + 1):
        cluster.sql("db1", f"INSERT INTO written VALUES ({number})")


def _promote(cluster: Cluster, **changes: object) -> dict[str, Any]:
    arguments = {**cluster.login("db2"), "slots": ["db1"], "step": cluster.step("promote"), **changes}
    return run_module("postgresql_promote", arguments).result


def _rejoin_arguments(cluster: Cluster, **changes: object) -> dict[str, object]:
    source = {
        "address": "127.0.0.1",
        "port": cluster.ports["db2"],
        "admin_passfile": str(cluster.passfile),
        "replication_user": "postgres",
    }
    return {**cluster.member("db1", strategy="rewind", slot="db1", source=source), **changes}


def test_a_hung_primary_is_fenced_the_standby_promoted_and_the_old_one_rejoined(cluster: Cluster) -> None:
    _write(cluster, 1, 5)
    cluster.wait_until_in_step()
    # Replication stops first, so that there is something to lose: exactly the writes 6 to 8.
    cluster.sql("db2", "ALTER SYSTEM SET primary_conninfo = ''")
    cluster.sql("db2", "SELECT pg_reload_conf()")
    cluster.wait_for("db2", "count(*) = 0 FROM pg_stat_wal_receiver")
    _write(cluster, 6, 8)
    os.kill(cluster.postmaster_pid("db1"), signal.SIGSTOP)

    standby = run_module("postgresql_status", cluster.member("db2")).result
    received = standby["wal"]["received_lsn"]
    primary = run_module("postgresql_status", cluster.member("db1", count_commits_after=received)).result
    assert primary["wal_on_disk"]["commits_after"] == 3

    fence = {**cluster.member("db1"), "state": "fenced"}
    planned = run_module("postgresql_fence", fence, check=True).result
    assert planned["changed"] and not planned["fenced"]
    started = time.monotonic()
    fenced = run_module("postgresql_fence", {**fence, "step": cluster.step("fence")}).result
    assert fenced["fenced"], fenced["evidence"]
    assert time.monotonic() - started < 4
    assert (cluster.data_dir("db1") / "standby.signal").exists()
    again = run_module("postgresql_fence", {**fence, "step": cluster.step("fence")}).result
    assert again["fenced"] and not again["changed"]

    end_of_log = primary["wal_on_disk"]["lsn"]
    refused = _promote(cluster, primary_lsn=end_of_log, maximum_loss_bytes=0)
    assert refused["failed"] and refused["exit_code"] == 3 and "would lose" in refused["msg"]
    other = _promote(cluster, system_identifier="1")
    assert other["failed"] and other["exit_code"] == 3
    promoted = _promote(cluster, primary_lsn=end_of_log, system_identifier=standby["system_identifier"])
    assert promoted["after"]["timeline"] == promoted["before"]["timeline"] + 1
    assert promoted["lost_bytes"] == parse_lsn(end_of_log) - parse_lsn(received)
    assert promoted["slots_made"] == ["db1"]
    assert "primary_slot_name" in promoted["settings_removed"]
    assert _promote(cluster)["changed"] is False
    cluster.sql("db2", "INSERT INTO written VALUES (100)")

    rejoined = run_module("postgresql_rejoin", {**_rejoin_arguments(cluster), "step": cluster.step("rejoin")}).result
    assert not rejoined.get("failed"), rejoined
    assert rejoined["method"] == "rewind"
    cluster.wait_for("db1", "max(n) = 100 FROM written")
    assert [row[0] for row in cluster.sql("db1", "SELECT n FROM written ORDER BY n")] == [1, 2, 3, 4, 5, 100]
    configuration = (cluster.data_dir("db1") / "postgresql.auto.conf").read_text()
    assert PASSWORD not in configuration
    assert "primary_slot_name = 'db1'" in configuration and "'db2'" not in configuration
    again = run_module("postgresql_rejoin", {**_rejoin_arguments(cluster), "step": cluster.step("rejoin")}).result
    assert again["method"] == "none" and not again["changed"]


def test_rejoin_by_a_copy_when_the_data_is_unusable(cluster: Cluster) -> None:
    _write(cluster, 1, 3)
    cluster.wait_until_in_step()
    os.kill(cluster.postmaster_pid("db1"), signal.SIGKILL)
    fenced = run_module(
        "postgresql_fence", {**cluster.member("db1"), "state": "fenced", "step": cluster.step("fence")}
    ).result
    assert fenced["fenced"], fenced["evidence"]
    assert _promote(cluster)["changed"]
    (cluster.data_dir("db1") / "global" / "pg_control").write_bytes(b"\0" * 8192)
    failed = run_module("postgresql_rejoin", {**_rejoin_arguments(cluster), "step": cluster.step("rejoin")})
    assert failed.failed and "rewind_then_copy" in failed.result["hint"]
    arguments = _rejoin_arguments(cluster, strategy="rewind_then_copy")
    rejoined = run_module("postgresql_rejoin", {**arguments, "step": cluster.step("rejoin")}).result
    assert rejoined["method"] == "copy", rejoined
    assert Path(rejoined["kept_data_dir"]).is_dir()
    assert rejoined["after"]["streaming_from"] == f"127.0.0.1:{cluster.ports['db2']}"
    cluster.wait_for("db1", "count(*) = 3 FROM written")


def test_a_running_primary_is_not_rejoined(shared: Cluster) -> None:
    refused = run_module("postgresql_rejoin", {**_rejoin_arguments(shared), "step": shared.step("rejoin")})
    assert refused.failed and refused.result["exit_code"] == 3


def test_start_replays_the_log_and_a_fence_can_be_released(cluster: Cluster) -> None:
    _write(cluster, 1, 3)
    os.kill(cluster.postmaster_pid("db1"), signal.SIGKILL)
    fence = {**cluster.member("db1"), "state": "fenced", "step": cluster.step("fence")}
    assert run_module("postgresql_fence", fence).result["fenced"]
    release = {**cluster.member("db1"), "state": "released", "step": cluster.step("release")}
    assert run_module("postgresql_fence", release).result["changed"]
    assert not (cluster.data_dir("db1") / "standby.signal").exists()
    start = {**cluster.member("db1"), "step": cluster.step("start")}
    started = run_module("postgresql_start", start).result
    assert started["crash_recovery"] and started["in_recovery"] is False
    assert len(cluster.sql("db1", "SELECT n FROM written")) == 3
    repeated = run_module("postgresql_start", start).result
    assert repeated["already_done"] and not repeated["changed"]


def test_a_server_that_does_not_stay_up_shows_its_log(cluster: Cluster) -> None:
    cluster.supervisor("stop", "db2")
    with (cluster.data_dir("db2") / "postgresql.conf").open("a") as stream:
        stream.write("no_such_setting_at_all = 1\n")
    failed = run_module("postgresql_start", {**cluster.member("db2"), "step": cluster.step("start"), "timeout": 10})
    assert failed.failed
    assert "FATAL" in failed.result["msg"]


def test_a_foreign_server_is_never_killed(cluster: Cluster) -> None:
    """The pid file of a dead server names a living one."""
    os.kill(cluster.postmaster_pid("db1"), signal.SIGKILL)
    cluster.wait_for("db2", "true")
    stranger = cluster.postmaster_pid("db2")
    pid_file = cluster.data_dir("db1") / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(stranger), *lines[1:]]) + "\n")
    fence = {**cluster.member("db1"), "state": "fenced", "step": cluster.step("fence")}
    result = run_module("postgresql_fence", fence).result
    assert result["fenced"]
    assert Path(f"/proc/{stranger}").exists() and cluster.postmaster_pid("db2") == stranger
    assert cluster.sql("db2", "SELECT pg_is_in_recovery()") == [(True,)]
