"""A snapshot that is being taken gives way to an emergency, at the store and on the machine. About 25 s."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from codeblue.lab import Lab
from drill_support import codeblue

pytestmark = [pytest.mark.lab, pytest.mark.drill]


def test_a_slow_snapshot_does_not_hold_up_a_failover(lab: Lab, state_directory: Path) -> None:
    inventory = str(lab.inventory_path)
    # 64 kB/s: the backup of some 40 MB would take ten minutes.
    before = codeblue("snapshot", "list", "--json").messages[:-1]
    command = ["snapshot", "create", "--json", "--full", "-i", inventory, "--limit", "patient_db"]
    snapshot = subprocess.Popen(
        [sys.executable, "-m", "codeblue", *command, "-e", "codeblue_snapshot_max_rate=64"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lock = lab.layout.lock_dir("db1") / "patient_db.lock"
        deadline = time.monotonic() + 30.0
        while not (lock.exists() and ", yields" in lock.read_text()):
            assert time.monotonic() < deadline and snapshot.poll() is None
            time.sleep(0.1)
        lab.break_("pool_exhausted")
        ended = codeblue("run", "database_connection_failure", "--json", "-i", inventory)
        assert ended.exit_code == 0, ended.summary
        output = snapshot.communicate(timeout=60.0)[0]
    finally:
        if snapshot.poll() is None:
            snapshot.kill()
            snapshot.wait()
    assert snapshot.returncode not in (0, 5), output.splitlines()[-1]
    # The latest first.
    runs = [each for each in codeblue("audit", "list", "--json").messages if each["message_type"] == "run"]
    taken = [each["outcome"] for each in runs if each["runbook"] == "snapshot_services"]
    assert taken[0] == "interrupted"
    # What it had begun is no snapshot.
    assert codeblue("snapshot", "list", "--json").messages[:-1] == before
    again = codeblue("snapshot", "create", "--json", "-i", inventory, "--limit", "patient_db")
    assert again.exit_code == 0, again.summary
