"""intrusion_look and stray_processes against real processes, sockets and logs (about 4 s)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host_cluster import run_module

_KNOWN = ["127.0.0.0/24"]
_IMPLANT = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
time.sleep(60)
"""


@pytest.fixture
def implant(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str], int]]:
    """A process that runs from a release directory, belongs to no unit, and speaks with somebody outside."""
    release = tmp_path / "records" / "releases" / "1.0.0"
    release.mkdir(parents=True)
    script = release / "statistics.py"
    script.write_text(_IMPLANT)
    with socket.create_server(("127.9.9.9", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, str(script), "127.9.9.9", str(port)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        yield tmp_path / "records", process, port
        process.kill()
        process.wait()


def _look(**given: Any) -> dict[str, Any]:
    return run_module("intrusion_look", {"known_networks": _KNOWN, **given}).result


def test_a_hidden_process_and_its_connection_are_found(implant: tuple[Path, subprocess.Popen[str], int]) -> None:
    root, process, port = implant
    found = _look(directories=[str(root)])
    assert found["strays"] == [process.pid]
    assert found["connections"] == [
        {"address": "127.9.9.9", "port": port, "state": "ESTABLISHED", "pid": process.pid, "of_unit": False}
    ]
    assert _look(directories=[str(root)], known_networks=["127.0.0.0/8"])["connections"] == []
    # Somebody who only speaks about the directory is none of its processes.
    assert _look(directories=[str(root.parent / "other")])["strays"] == []


def test_a_hidden_process_is_ended_and_nobody_else(
    implant: tuple[Path, subprocess.Popen[str], int], tmp_path: Path
) -> None:
    root, process, _port = implant
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(root / "x")])
    try:
        arguments = {"directories": [str(root)]}
        planned = run_module("stray_processes", arguments, check=True).result
        assert planned["changed"] and planned["before"] == {"strays": [process.pid]}
        assert process.poll() is None

        def step(number: int) -> dict[str, Any]:
            return {"run_id": "r", "target": "records", "key": f"k{number}", "generation": 1, "lock_dir": str(tmp_path)}

        ended = run_module("stray_processes", {**arguments, "step": step(1)}).result
        assert ended["changed"] and ended["after"] == {"strays": []}, ended
        assert process.wait(5) == -9
        assert not run_module("stray_processes", {**arguments, "step": step(2)}).result["changed"]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_users_at_foreign_addresses_are_counted_and_others_are_not(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"

    def line(seconds_ago: float, subject: str, client: str, status: int) -> str:
        moment = time.time() - seconds_ago
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"
        return json.dumps({"time": text, "user": subject, "client": client, "status": status, "path": "/records/1"})

    lines = [
        *[line(1, "nurse7", "203.0.113.77", 200)] * 3,
        line(1, "nurse7", "127.0.0.1", 200),
        line(1, "nurse7", "203.0.113.77", 401),
        line(1, "", "203.0.113.77", 200),
        line(100, "nurse8", "203.0.113.78", 200),
        line(1, "nurse9", "203.0.113.79, 10.0.0.1", 200),
        "no JSON",
        '{"torn',
    ]
    log.write_text("\n".join(lines))
    found = _look(access_logs=[str(log), str(tmp_path / "none")], access_log_names={"subject": "user"}, window=30.0)
    assert [(each["subject"], each["address"], each["requests"]) for each in found["callers"]] == [
        ("nurse7", "203.0.113.77", 3),
        ("nurse9", "203.0.113.79", 1),
    ]
    assert list(found["logs_unread"]) == [str(tmp_path / "none")]


def test_a_network_that_is_none_is_named() -> None:
    assert "no network" in _look(known_networks=["ten dot something"])["msg"]
