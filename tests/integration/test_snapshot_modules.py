"""The modules for base backups and restores, run as Ansible runs them. Takes about 25 s."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import command_line, list_processes
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_stream import tar_stream
from host_cluster import MODULES, ModuleResult, run_module
from snapshot_cluster import OS_USER, Cluster


class Machine:
    """Runs modules against one cluster, each call as a step of its own unless a key is given."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._count = 0

    def __call__(self, module: str, check: bool = False, key: str | None = None, **arguments: Any) -> ModuleResult:
        return run_module(module, self.arguments(module, key, **arguments), check=check)

    def arguments(self, module: str, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        self._count += 1
        login: dict[str, Any] = {
            "bin_dir": self.cluster.login.bin_dir,
            "os_user": OS_USER,
            "socket_dir": str(self.cluster.root),
            "admin_user": "admin",
            "destination": str(self.cluster.backups),
        }
        if module != "postgresql_verify_backup":
            login["step"] = {
                "run_id": "run",
                "target": "patient_db",
                "key": key or f"key-{self._count}",
                "generation": 1,
                "lock_dir": str(self.cluster.root / "locks"),
            }
        return {**login, **arguments}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    cluster = Cluster()
    try:
        cluster.start()
        cluster.sql("CREATE TABLE sentinel AS SELECT generate_series(1, 500) AS n")
        yield Machine(cluster)
    finally:
        cluster.close()


def test_backup_verify_restore_and_remove(machine: Machine) -> None:
    cluster = machine.cluster
    planned = machine("postgresql_base_backup", check=True, backup_id="B1").result
    assert planned["changed"] and "no earlier backup" in planned["reason"]
    assert not cluster.backups.exists() and not (cluster.root / "locks").exists()
    taken = machine("postgresql_base_backup", backup_id="B1", key="take").result
    assert taken["changed"] and taken["accepted_at"] and taken["after"] == {"backups": ["B1"]}
    again = machine("postgresql_base_backup", backup_id="B1", key="take").result
    assert again["already_done"] and not again["changed"] and again["backup"] == taken["backup"]
    assert not machine("postgresql_base_backup", backup_id="B1").result["changed"]
    cluster.sql("INSERT INTO sentinel VALUES (501)")
    second = machine("postgresql_base_backup", backup_id="B2").result["backup"]
    assert (second["kind"], second["parent"]) == ("incremental", "B1")
    cluster.archive_now()

    verified = machine(
        "postgresql_verify_backup",
        backup_id="B2",
        expected_digest=second["digest"],
        archive_dir=str(cluster.archive),
    ).result
    assert verified["ok"] and verified["backups"] == ["B1", "B2"] and verified["archive"]["complete"], verified

    copy = {
        "directory": str(cluster.root / "copy"),
        "archive_dir": str(cluster.archive),
        "target": {"kind": "lsn", "value": cluster.sql("SELECT pg_current_wal_lsn()")},
        "queries": {"sentinels": "SELECT count(*) FROM sentinel"},
    }
    cluster.archive_now()
    cluster.sql("DELETE FROM sentinel")
    planned = machine("postgresql_restore_beside", check=True, **copy).result
    assert planned["changed"] and planned["backups"] == ["B1", "B2"] and not Path(copy["directory"]).exists()
    restored = machine("postgresql_restore_beside", **copy).result
    assert restored["answers"] == {"sentinels": "501"}, restored
    assert restored["after"] == {"present": True, "running": True, "ready": True, "backups": ["B1", "B2"]}
    once_more = machine("postgresql_restore_beside", **copy).result
    assert not once_more["changed"] and once_more["answers"] == {"sentinels": "501"}
    other = machine("postgresql_restore_beside", **{**copy, "target": {"kind": "immediate"}})
    assert other.result["failed"] and "another backup or target" in other.result["msg"]
    writing = machine("postgresql_restore_beside", **{**copy, "queries": {"x": "DELETE FROM sentinel"}})
    assert writing.result["failed"] and "read-only" in writing.result["msg"]
    removed = machine("postgresql_restore_beside", state="absent", directory=copy["directory"]).result
    assert removed["changed"] and not Path(copy["directory"]).exists()
    assert not machine("postgresql_restore_beside", state="absent", directory=copy["directory"]).result["changed"]


def test_a_restore_that_was_killed_is_cleared_away_by_the_next(machine: Machine) -> None:
    cluster = machine.cluster
    machine("postgresql_base_backup", backup_id="K1", kind="full")
    cluster.archive_now()
    arguments = {"directory": str(cluster.root / "killed"), "archive_dir": str(cluster.archive), "backup_id": "K1"}
    # As left by a module that was killed in the middle of copying.
    result = machine("postgresql_restore_beside", **arguments).result
    marker = cluster.root / "killed" / "codeblue-beside.json"
    marker.write_text(marker.read_text().replace('"ready": true', '"ready": false'))
    again = machine("postgresql_restore_beside", **arguments).result
    assert again["changed"] and again["copy"]["port"] != 0, again
    assert again["before"]["ready"] is False and result["changed"]
    machine("postgresql_restore_beside", state="absent", directory=arguments["directory"])


def test_a_backup_that_was_killed_is_cleared_away_by_the_next(machine: Machine) -> None:
    cluster = machine.cluster
    left = cluster.backups / "D1"
    arguments = machine.arguments("postgresql_base_backup", backup_id="D1", kind="full", max_rate=32)
    process = subprocess.Popen(
        [sys.executable, "-m", f"{MODULES}.postgresql_base_backup"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        process.stdin.close()
        assert Deadline(10).wait_until((left / "data" / "PG_VERSION").exists, 0.05)
        process.kill()
    with pytest.raises(Refused, match="under way"):
        # pg_basebackup outlives the module, and the destination stays locked for as long as it writes.
        cluster.backup("D2")
    # By name too: the server's own process carries the label in its title.
    writers = [entry for entry in list_processes() if entry.name == "pg_basebackup"]
    orphans = [entry for entry in writers if "--label=codeblue D1" in command_line(entry.pid)]
    assert orphans
    for orphan in orphans:
        orphan.kill(signal.SIGKILL)
    assert Deadline(10).wait_until(lambda: all(orphan.gone for orphan in orphans))
    result = machine("postgresql_base_backup", backup_id="D2", kind="full").result
    assert result.get("changed"), result["msg"]
    assert not left.exists() and (cluster.backups / "D2" / "backup.json").exists()


def test_auto_becomes_full_when_the_server_does_not_know_what_changed(machine: Machine) -> None:
    cluster = machine.cluster
    machine("postgresql_base_backup", backup_id="S1", kind="full")
    cluster.sql("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    time.sleep(0.3)
    off = machine("postgresql_base_backup", backup_id="S2", check=True).result
    assert off["reason"] == "summarize_wal is off on the server"
    failed = machine("postgresql_base_backup", backup_id="S2", kind="incremental").result
    assert failed["failed"] and failed["exit_code"] == 2 and failed["hint"]
    cluster.sql("CHECKPOINT")
    cluster.archive_now()
    for path in (cluster.data_dir / "pg_wal" / "summaries").iterdir():
        path.unlink()
    cluster.sql("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT")
    cluster.sql("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")
    result = machine("postgresql_base_backup", backup_id="S3", timeout=60).result
    assert result.get("changed"), result["msg"]
    assert result["backup"]["kind"] in ("full", "incremental")
    if result["backup"]["kind"] == "full":
        assert "what changed since" in result["reason"]
    assert machine("postgresql_verify_backup", backup_id="S3").result["ok"]


def test_a_machine_with_python_3_8_can_load_it() -> None:
    candidates = ["python3.8", *map(str, Path.home().glob(".pyenv/versions/3.8.*/bin/python"))]
    works = (
        name for name in candidates if shutil.which(name) and not subprocess.call([name, "-c", ""], stderr=DEVNULL)
    )
    python = next(works, None)
    if python is None:
        pytest.skip("no Python 3.8 here")
    script = (
        "import sys, importlib; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module('ansible_collections.codeblue.recovery.plugins.module_utils.' + name)\n"
    )
    names = ["_base_backup", "_verify_backup", "_wal_archive", "_restore_beside", "_snapshot_swap", "_snapshot_pieces"]
    site = sysconfig.get_path("purelib")
    done = subprocess.run([python, "-B", "-c", script, site, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_of_the_machine_are_read_in_pieces(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "conf").write_bytes(b"x = 1\n" * 100_000)

    def fetch(cursor: str | None) -> dict[str, Any]:
        arguments = {"root": str(source), "paths": [], "cursor": cursor, "piece_bytes": 400_000}
        return run_module("file_read_stream", arguments).result

    content = tar_stream(fetch).read()
    assert content.count(b"x = 1\n") == 100_000
