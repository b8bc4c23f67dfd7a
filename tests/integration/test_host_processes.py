"""process_state and machine_evidence against a real supervisord and the real machine (about 6 s)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._process_hold import HoldRecord, hold, release
from ansible_collections.codeblue.recovery.plugins.module_utils._process_systemd import SystemdUnit
from host_cluster import free_port, run_module

_SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
[unix_http_server]
file={root}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:web]
command={python} -m http.server {port} --bind 127.0.0.1
autostart=true
startsecs=0
stdout_logfile={root}/web.log
redirect_stderr=true
[program:other]
command=/bin/sleep 1000
autostart=false
startsecs=0
[program:broken]
command=/bin/sh -c "echo 'password=open-sesame is wrong' >&2; exit 3"
autostart=false
autorestart=true
startsecs=1
startretries=2
stdout_logfile={root}/broken.log
redirect_stderr=true
[program:silent]
command=/bin/sleep 1000
autostart=false
startsecs=0
"""


@dataclass
class Manager:
    root: Path
    port: int
    number: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start supervisord, as a start of the machine would."""
        config = self.root / "supervisord.conf"
        config.write_text(_SUPERVISORD.format(root=self.root, python=sys.executable, port=self.port))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        end = time.monotonic() + 10
        while not (self.root / "supervisor.sock").exists() and time.monotonic() < end:
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)

    def state(self, name: str) -> str:
        """As supervisord says it; asking in check mode changes nothing."""
        return str(self.bring(self.unit(name, "started"), check=True)["before"][name]["state"])

    def unit(self, name: str, state: str, **more: Any) -> dict[str, Any]:
        return {
            "manager": "supervisor",
            "socket": str(self.root / "supervisor.sock"),
            "unit": name,
            "state": state,
            **more,
        }

    def bring(self, *units: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        self.number += 1
        step = {"run_id": "run", "target": "t", "key": f"k{self.number}", "generation": 1, "lock_dir": str(self.root)}
        return run_module("process_state", {"units": list(units), "step": step, **options}, check=check).result


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="codeblue-processes-") as directory:
        made = Manager(Path(directory), free_port())
        made.start()
        yield made
        made.stop()


def test_several_units_at_once(manager: Manager) -> None:
    units = (
        manager.unit("web", "restarted", wait_for={"url": f"http://127.0.0.1:{manager.port}/"}),
        manager.unit("other", "started"),
    )
    planned = manager.bring(*units, check=True)
    assert planned["changed"] and planned["after"]["other"] == {"state": "running"}
    done = manager.bring(*units)
    assert not done.get("failed"), done
    assert done["before"]["web"]["pid"] != done["after"]["web"]["pid"]
    assert done["after"]["other"]["state"] == "running"
    again = manager.bring(units[1])
    assert again["changed"] is False and again["accepted_at"] is None
    stopped = manager.bring(manager.unit("other", "stopped"))
    assert stopped["after"]["other"]["state"] == "stopped"


def test_a_held_unit_stays_stopped_until_supervisord_itself_starts(manager: Manager) -> None:
    held = manager.bring(manager.unit("web", "held"))
    assert held["changed"] and held["after"]["web"]["state"] == "stopped", held
    control = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{manager.root}/supervisor.sock"]
    for command in ("reread", "update"):
        subprocess.run([*control, command], check=True, capture_output=True, timeout=20)
    assert manager.state("web") == "stopped", "its configuration read anew starts nothing"

    manager.stop()
    manager.start()
    assert manager.state("web") in ("running", "starting"), "supervisord starts what is configured to start"
    again = manager.bring(manager.unit("web", "held"))
    assert again["changed"] and again["after"]["web"]["state"] == "stopped", "and the same step stops it again"
    released = manager.bring(manager.unit("web", "started"))
    assert released["after"]["web"]["state"] == "running"
    assert list((manager.root / "held").iterdir()) == []


# systemd runs as the first process or not at all. What a start of the machine goes by are links, and those are made by
# the real systemctl below a directory; only `show` is answered by a stand-in.
_SYSTEMCTL = """#!/bin/sh
shift
case "$1" in show) cat {root}/shown;; stop|start|is-active) ;; *) exec systemctl --quiet --root={root} "$@";; esac
"""


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl")
@pytest.mark.parametrize(
    ("directory", "link", "held", "released"),
    [
        ("usr/lib/systemd/system", "etc/systemd/system/web.service", "/dev/null", None),
        (
            "etc/systemd/system",
            "etc/systemd/system/multi-user.target.wants/web.service",
            None,
            "/etc/systemd/system/web.service",
        ),
    ],
    ids=["masked", "disabled"],
)
def test_a_held_unit_of_systemd_is_not_started_with_the_machine(
    tmp_path: Path, directory: str, link: str, held: str | None, released: str | None
) -> None:
    file = tmp_path / directory / "web.service"
    file.parent.mkdir(parents=True)
    file.write_text("[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(_SYSTEMCTL.format(root=tmp_path))
    systemctl.chmod(0o755)
    subprocess.run(["systemctl", "--quiet", f"--root={tmp_path}", "enable", "web.service"], check=True, timeout=20)
    (tmp_path / "shown").write_text(f"LoadState=loaded\nUnitFileState=enabled\nFragmentPath=/{directory}/web.service\n")
    unit, record = SystemdUnit("web.service", str(systemctl)), HoldRecord(str(tmp_path), SystemdUnit("web.service"))

    def points_to() -> str | None:
        place = tmp_path / link
        return str(place.readlink()) if place.is_symlink() else None

    hold(unit, record, Deadline(20))
    assert points_to() == held
    release(unit, record, Deadline(20))
    assert points_to() == released and record.read() is None


def test_a_unit_that_ends_again_fails_with_its_log(manager: Manager) -> None:
    failed = manager.bring(manager.unit("broken", "started"), timeout=10)
    assert failed["failed"]
    failure = failed["failures"]["broken"]
    assert failure["crash_looping"]
    assert any("is wrong" in line for line in failure["log"])
    assert "open-sesame" not in json.dumps(failed)


def test_a_unit_that_runs_and_does_not_answer(manager: Manager) -> None:
    failed = manager.bring(manager.unit("silent", "started", wait_for={"port": free_port()}), timeout=1)
    assert failed["failed"] and "does not answer" in failed["msg"]


def test_unknown_unit_and_dead_manager(manager: Manager) -> None:
    unknown = manager.bring(manager.unit("nothing", "started"))
    assert unknown["exit_code"] == 2 and "nothing" in unknown["msg"]
    dead = manager.bring({**manager.unit("web", "started"), "socket": str(manager.root / "no.sock")})
    assert dead["exit_code"] == 1 and "is supervisord running" in dead["hint"]


def test_evidence_is_bounded_and_its_hashes_hold(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_text("line\n" * 100000)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        arguments = {
            "log_files": [str(log), str(tmp_path / "missing")],
            "hashed_files": [str(log)],
            "bytes_per_log": 1000,
        }
        result = run_module("machine_evidence", arguments).result
    document = gzip.decompress(base64.b64decode(result["content"]))
    assert hashlib.sha256(document).hexdigest() == result["summary"]["sha256"]
    parts = json.loads(document)
    assert len(parts[f"log:{log}"]["tail"]) == 1000
    assert parts[f"log:{tmp_path}/missing"] == {"error": "no regular file"}
    assert parts[f"file:{log}"]["sha256"] == hashlib.sha256(log.read_bytes()).hexdigest()
    assert any(process["pid"] == os.getpid() for process in parts["processes"])
    listening = {"local": f"127.0.0.1:{port}", "remote": "0.0.0.0:0", "state": "LISTEN", "uid": os.geteuid()}
    assert {**listening, "pids": [os.getpid()]} in parts["connections"]
    assert result["summary"]["left_out"] == []


def test_evidence_beyond_the_size_is_named(tmp_path: Path) -> None:
    log = tmp_path / "noise.log"
    log.write_text(base64.b64encode(os.urandom(6_000_000)).decode())
    result = run_module("machine_evidence", {"log_files": [str(log)], "bytes_per_log": 8_000_000}).result
    assert result["summary"]["left_out"] == [f"log:{log}"]
    assert len(result["content"]) < 2 * 1024 * 1024
