"""Modules that are killed in the middle and called again, at many moments (about 35 s)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytest
from host_cluster import MODULES, Cluster, run_module, running_cluster

# Seconds after the start of the module; a rejoin by rewind takes about 1.5 s here, and its last moments count too.
_MOMENTS = (0.2, 0.3, 0.4, 0.55, 0.7, 0.9, 1.1, 1.4)


def _kill_after(module: str, arguments: dict[str, Any], seconds: float) -> None:
    settings = {"_ansible_check_mode": False, "_ansible_diff": False, "_ansible_remote_tmp": tempfile.gettempdir()}
    child = subprocess.Popen(
        [sys.executable, "-m", f"{MODULES}.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **settings}}))
    child.stdin.close()
    time.sleep(seconds)
    child.kill()
    child.wait()


def _until_done(module: str, arguments: dict[str, Any], seconds: float = 40) -> dict[str, Any]:
    """Call again while a tool of the killed attempt still holds the lock."""
    end = time.monotonic() + seconds
    while True:
        result = run_module(module, arguments).result
        held = result.get("failed") and "holds the lock" in result["msg"]
        if not held or time.monotonic() > end:
            assert not result.get("failed"), result
            return result


def _rejoin_arguments(cluster: Cluster, old: str, new: str, strategy: str) -> dict[str, Any]:
    source = {
        "address": "127.0.0.1",
        "port": cluster.ports[new],
        "admin_passfile": str(cluster.passfile),
        "replication_user": "postgres",
    }
    return {**cluster.member(old), "strategy": strategy, "slot": old, "source": source}


@pytest.mark.parametrize(("strategy", "moments"), [("rewind_then_copy", _MOMENTS), ("copy", (0.3, 0.7, 0.9))])
def test_a_rejoin_that_is_killed_is_finished_by_the_next_call(strategy: str, moments: tuple[float, ...]) -> None:
    """The roles change with every moment. Each member has a marker in its own configuration."""
    with running_cluster() as cluster:
        for member in cluster.ports:
            with (cluster.data_dir(member) / "postgresql.conf").open("a") as stream:
                stream.write(f"cluster_name = 'own-{member}'\n")
        old, new = "db1", "db2"
        for number, moment in enumerate(moments):
            cluster.sql(old, f"INSERT INTO written VALUES ({number})")
            lsn = cluster.sql(old, "SELECT pg_current_wal_lsn()::text")[0][0]
            cluster.wait_for(new, f"pg_last_wal_replay_lsn() >= '{lsn}'")
            os.kill(cluster.postmaster_pid(old), signal.SIGKILL)
            fence = {**cluster.member(old), "state": "fenced"}
            assert run_module("postgresql_fence", {**fence, "step": cluster.step("fence")}).result["fenced"]
            promote = {**cluster.login(new), "slots": [old], "step": cluster.step("promote")}
            promoted = run_module("postgresql_promote", promote).result
            assert promoted["after"]["in_recovery"] is False, promoted

            arguments = {**_rejoin_arguments(cluster, old, new, strategy), "step": cluster.step("rejoin")}
            _kill_after("postgresql_rejoin", arguments, moment)
            result = _until_done("postgresql_rejoin", arguments)
            assert result["after"]["streaming_from"] == f"127.0.0.1:{cluster.ports[new]}", result

            lsn = cluster.sql(new, "SELECT pg_current_wal_lsn()::text")[0][0]
            cluster.wait_for(old, f"pg_last_wal_replay_lsn() >= '{lsn}'")
            rows = [row[0] for row in cluster.sql(old, "SELECT n FROM written ORDER BY n")]
            assert rows == list(range(number + 1)), (moment, result)
            assert f"own-{old}" in (cluster.data_dir(old) / "postgresql.conf").read_text(), (moment, result)
            left = [path.name for path in (cluster.root / "locks").iterdir() if path.suffix == ".json"]
            assert left == [], (moment, result)
            old, new = new, old


def test_a_fence_that_is_killed_is_finished_by_the_next_call() -> None:
    with running_cluster() as cluster:
        for moment in (0.12, 0.16, 0.2, 0.3):
            os.kill(cluster.postmaster_pid("db1"), signal.SIGSTOP)
            fence = {**cluster.member("db1"), "state": "fenced", "step": cluster.step("fence")}
            _kill_after("postgresql_fence", fence, moment)
            result = run_module("postgresql_fence", fence).result
            assert result["fenced"], result
            release = {**cluster.member("db1"), "state": "released", "step": cluster.step("release")}
            run_module("postgresql_fence", release)
            assert not (cluster.data_dir("db1") / "standby.signal").exists()
            start = {**cluster.member("db1"), "step": cluster.step("start")}
            assert run_module("postgresql_start", start).result["in_recovery"] is False


def test_a_cap_that_was_cut_off_can_still_be_undone() -> None:
    """The first attempt is stopped between the cap and the end of the sessions."""
    with running_cluster() as cluster:
        cluster.sql("db1", "CREATE ROLE report LOGIN CONNECTION LIMIT 17 PASSWORD 'x'")
        arguments = {**cluster.login("db1"), "users": ["report"], "connection_limit": 2, "idle_seconds": 0}
        step = cluster.step("end")
        accepted = {"key": "end", "event": "accepted", "at": 100.0, "generation": step["generation"]}
        accepted["before"] = {"matching": {"report": 4}, "free_for_services": 0, "limits": {"report": 17}}
        receipts = cluster.root / "locks" / "receipts" / "patient_db"
        receipts.mkdir(parents=True)
        (receipts / f"{step['run_id']}.jsonl").write_text(json.dumps(accepted) + "\n")
        cluster.sql("db1", "ALTER ROLE report CONNECTION LIMIT 2")
        result = run_module("postgresql_end_sessions", {**arguments, "step": step}).result
        assert result["changed"] and result["undo"] == {"report": 17}
        assert result["before"]["limits"] == {"report": 17} and result["accepted_at"] == 100.0
