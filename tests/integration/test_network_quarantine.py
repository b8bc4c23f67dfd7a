"""network_quarantine with real nftables, in a network namespace of its own (about 8 s)."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._nftables import Closed, rules
from ansible_collections.codeblue.recovery.plugins.module_utils._quarantine_unit import QuarantineUnit

_MODULE = "ansible_collections.codeblue.recovery.plugins.modules"


def _why_not() -> str:
    if os.geteuid() != 0:
        return "only root may filter"
    if not shutil.which("nft") or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "nft, unshare or nsenter is not installed"
    done = subprocess.run(["unshare", "--net", "nft", "list", "tables"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "this machine makes no network namespaces that filter"


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not())

# Answers each line with the same line, on as many connections as come; and keeps one open to somebody outside.
_SERVER = """
import socket, sys, threading
def serve(address, port):
    listener = socket.create_server((address, port))
    def one(connection):
        with connection:
            try:
                while data := connection.recv(100):
                    connection.sendall(data)
            except OSError:
                return
    def accept():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
serve("127.0.0.1", 8080)
serve("127.0.0.1", 2222)
serve("127.9.9.9", 443)
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass
class Namespace:
    """A machine's network of its own."""

    pid: int
    root: Path
    generation: int = 0

    def run(self, *argv: str, stdin: str = "", environment: dict[str, str] | None = None) -> Any:
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **(environment or {})},
        )

    def module(
        self, module: str, /, check: bool = False, environment: dict[str, str] | None = None, **given: Any
    ) -> Any:
        self.generation += 1
        step = {
            "run_id": "run",
            "target": "records",
            "key": f"step-{self.generation}",
            "generation": 1,
            "lock_dir": str(self.root / "locks"),
        }
        arguments = {
            **given,
            **({} if module == "intrusion_look" or check else {"step": step}),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(self.root),
        }
        done = self.run(
            sys.executable,
            "-m",
            f"{_MODULE}.{module}",
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            environment=environment,
        )
        return json.loads(done.stdout)

    def quarantine(self, check: bool = False, environment: dict[str, str] | None = None, **given: Any) -> Any:
        settings = {
            "name": "records",
            "record_directory": str(self.root / "quarantine"),
            "configuration_file": str(self.root / "nftables.conf"),
        }
        return self.module("network_quarantine", check, environment, **{**settings, **given})

    def ruleset(self) -> list[Any]:
        """All rules without the numbers that change by themselves."""
        entries = json.loads(self.run("nft", "-j", "list", "ruleset").stdout)["nftables"]
        text = json.dumps([entry for entry in entries if "metainfo" not in entry])
        return [_without_counts(entry) for entry in json.loads(text)]

    def client(self, script: str) -> str:
        done = self.run(sys.executable, "-c", textwrap.dedent(script))
        return str(done.stdout.strip() or done.stderr.strip().splitlines()[-1])

    def reaches(self, address: str, port: int) -> bool:
        return (
            self.client(f"""
            import socket
            try:
                connection = socket.create_connection(("{address}", {port}), timeout=1)
                connection.sendall(b"a")
                print(connection.recv(1))
            except OSError as error:
                print(type(error).__name__)
        """)
            == "b'a'"
        )


def _without_counts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_counts(item) for key, item in value.items() if key not in ("handle", "counter")}
    return [_without_counts(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Namespace]:
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "300"])
    server: subprocess.Popen[str] | None = None
    try:
        own = Path("/proc/self/ns/net").stat().st_ino
        while Path(f"/proc/{keeper.pid}/ns/net").stat().st_ino == own:
            time.sleep(0.01)
        found = Namespace(keeper.pid, tmp_path)
        (tmp_path / "locks").mkdir()
        (tmp_path / "nftables.d").mkdir()
        (tmp_path / "nftables.conf").write_text(
            f"flush ruleset\ntable inet site {{ chain input {{ type filter hook input priority 0; policy accept;"
            f' tcp dport 8080 accept; }}\n}}\ninclude "{tmp_path}/nftables.d/*.nft"\n'
        )
        assert found.run("ip", "link", "set", "lo", "up").returncode == 0
        loaded = found.run("nft", "-f", str(tmp_path / "nftables.conf"))
        assert loaded.returncode == 0, loaded.stderr
        server = subprocess.Popen(
            ["nsenter", f"--net=/proc/{keeper.pid}/ns/net", sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield found
    finally:
        for process in (server, keeper):
            if process is not None:
                process.kill()
                process.wait()


def test_ports_are_closed_for_new_and_existing_connections_and_opened_exactly(machine: Namespace) -> None:
    before = machine.ruleset()
    held = subprocess.Popen(
        ["nsenter", f"--net=/proc/{machine.pid}/ns/net", sys.executable, "-c", _HELD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdin is not None
    assert held.stdout is not None
    assert held.stdout.readline() == "a\n"
    planned = machine.quarantine(check=True, ports=[8080], peers=["127.9.9.9"])
    assert planned["changed"]
    assert machine.ruleset() == before
    closed = machine.quarantine(ports=[8080], peers=["127.9.9.9"])
    assert closed["changed"], closed
    assert closed["after"]["quarantined"]
    held.stdin.write("again\n")
    held.stdin.flush()
    assert held.stdout.readline() == "ConnectionResetError\n"
    held.kill()
    held.wait()
    assert not machine.reaches("127.0.0.1", 8080)
    assert not machine.reaches("127.9.9.9", 443)
    assert machine.reaches("127.0.0.1", 2222)
    again = machine.quarantine(ports=[8080], peers=["127.9.9.9"])
    assert not again["changed"]
    assert again["refused_packets"] > 0
    opened = machine.quarantine(state="absent")
    assert opened["changed"], opened
    assert machine.ruleset() == before
    assert machine.reaches("127.0.0.1", 8080)
    assert machine.reaches("127.9.9.9", 443)
    assert not machine.quarantine(state="absent")["changed"]
    assert list((machine.root / "quarantine").iterdir()) == []


_HELD = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", 8080), timeout=2)
connection.sendall(b"a")
print(connection.recv(1).decode(), flush=True)
sys.stdin.readline()
try:
    connection.sendall(b"b")
    print(connection.recv(1).decode(), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


def test_the_rules_survive_a_reload_of_the_machines_own_and_leave_nothing(machine: Namespace) -> None:
    closed = machine.quarantine(ports=[8080])
    assert closed["after"]["persisted_in"], closed
    assert machine.run("nft", "-f", str(machine.root / "nftables.conf")).returncode == 0
    assert not machine.reaches("127.0.0.1", 8080)
    assert not machine.quarantine(ports=[8080])["changed"]
    machine.quarantine(state="absent")
    assert list((machine.root / "nftables.d").iterdir()) == []
    assert machine.run("nft", "-f", str(machine.root / "nftables.conf")).returncode == 0
    assert machine.reaches("127.0.0.1", 8080)


def test_it_says_why_a_reload_would_lose_the_rules(machine: Namespace) -> None:
    (machine.root / "nftables.conf").write_text("flush ruleset\n")
    closed = machine.quarantine(ports=[8080])
    assert closed["after"]["persisted_in"] is None
    assert "includes no directory" in closed["not_persisted_because"]


def test_its_own_unit_brings_the_rules_back_where_the_machines_configuration_does_not(
    machine: Namespace, tmp_path: Path
) -> None:
    """systemctl is a stand-in that writes down what it is asked; what the unit runs is run for real."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    systemctl.chmod(0o755)
    (machine.root / "nftables.conf").write_text("flush ruleset\n")
    closed = machine.quarantine(ports=[8080])
    note = json.loads((machine.root / "quarantine" / "records.json").read_text())
    table = closed["after"]["table"]
    unit = QuarantineUnit(table, str(tmp_path / "records.nft"), str(tmp_path), str(systemctl))
    unit.write_rules(note["lasting"])
    unit.install(shutil.which("nft") or "", Deadline(10))
    assert unit.holds(note["lasting"])
    assert "enable --now" in (tmp_path / "asked").read_text()
    lines = (tmp_path / unit.name).read_text().splitlines()
    assert "PartOf=nftables.service" in lines and "WantedBy=sysinit.target nftables.service" in lines
    start = next(line.partition("=")[2] for line in lines if line.startswith("ExecStart="))
    for _again in range(2):
        assert machine.run("nft", "-f", str(machine.root / "nftables.conf")).returncode == 0
        assert machine.reaches("127.0.0.1", 8080), "the machine's own rules were loaded again without ours"
        assert machine.run(*start.split()).returncode == 0
        assert not machine.reaches("127.0.0.1", 8080)
    unit.remove(Deadline(10))
    assert sorted(each.name for each in tmp_path.glob("*.service")) == [] and not unit.holds(note["lasting"])
    machine.quarantine(state="absent")
    assert machine.reaches("127.0.0.1", 8080)


def test_what_is_gone_after_a_restart_never_keeps_the_machines_rules_from_being_loaded(machine: Namespace) -> None:
    """A rule by a control group that is not there is an error, and would take the whole configuration with it."""
    groups = Path("/sys/fs/cgroup/cgroup.controllers")
    if not groups.exists():
        pytest.skip("this machine has no control groups of version 2")
    group = Path("/sys/fs/cgroup") / f"codeblue-test-{machine.pid}"
    group.mkdir()
    try:
        closed = Closed(ports=(8080,), control_groups=(group.name,))
        text = rules("codeblue_test", closed)
        assert machine.run("nft", "-c", "-f", "-", stdin=text).returncode == 0
    finally:
        group.rmdir()
    assert machine.run("nft", "-c", "-f", "-", stdin=text).returncode != 0
    lasting = rules("codeblue_test", dataclasses.replace(closed, control_groups=()))
    assert machine.run("nft", "-c", "-f", "-", stdin=lasting).returncode == 0


def test_a_user_is_cut_off_but_for_what_is_allowed(machine: Namespace) -> None:
    attempt = (
        "import socket, os, encodings.idna; os.setuid(65534)\n"
        "for place in (('127.0.0.1', 2222), ('127.9.9.9', 443)):\n"
        "    try: socket.create_connection(place, timeout=1); print('in', end=' ')\n"
        "    except OSError as error: print(type(error).__name__, end=' ')\n"
    )
    assert machine.client(attempt) == "in in"
    closed = machine.quarantine(users=["nobody"], allowed=["127.0.0.0/24"])
    assert closed["egress"] == ["users"]
    assert machine.client(attempt) == "in ConnectionRefusedError"
    assert machine.reaches("127.9.9.9", 443)


def test_the_recoverys_own_probe_passes_and_nobody_elses(machine: Namespace) -> None:
    web = subprocess.Popen(
        [
            "nsenter",
            f"--net=/proc/{machine.pid}/ns/net",
            sys.executable,
            "-m",
            "http.server",
            "8090",
            "-b",
            "127.0.0.1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=machine.root,
    )
    try:
        url = "http://127.0.0.1:8090/"
        look = {"known_networks": ["127.0.0.0/24"], "probe_urls": [url]}
        deadline = time.monotonic() + 10
        while machine.module("intrusion_look", **look)["probes"][url] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        machine.quarantine(ports=[8090])
        assert not machine.reaches("127.0.0.1", 8090)
        assert machine.module("intrusion_look", **look)["probes"][url] == 200
    finally:
        web.kill()
        web.wait()


def test_unconfirmed_rules_go_by_themselves_and_confirmed_ones_stay(machine: Namespace) -> None:
    before = machine.ruleset()
    machine.quarantine(ports=[8080], confirm_within=1.5)
    assert not machine.reaches("127.0.0.1", 8080)
    deadline = time.monotonic() + 15
    while machine.ruleset() != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert machine.ruleset() == before
    assert machine.reaches("127.0.0.1", 8080)
    late = machine.quarantine(state="confirmed")
    assert late["failed"]
    assert "nobody confirmed it in time" in late["msg"]
    machine.quarantine(ports=[8080], confirm_within=1.5)
    assert machine.quarantine(state="confirmed")["after"]["confirmed"]
    assert not machine.quarantine(state="confirmed")["changed"]
    time.sleep(2.5)
    assert not machine.reaches("127.0.0.1", 8080)
    machine.quarantine(state="absent")
    assert machine.ruleset() == before


def test_the_operators_way_in_is_never_closed(machine: Namespace) -> None:
    before = machine.ruleset()
    refused = machine.quarantine(ports=[22, 8080])
    assert refused["failed"]
    assert "operators' way in" in refused["msg"]
    connected = {"SSH_CONNECTION": "127.9.9.9 50000 127.0.0.1 2222"}
    for closed in ({"ports": [2222]}, {"peers": ["127.9.0.0/16"]}):
        refused = machine.quarantine(environment=connected, **closed)
        assert refused["failed"], refused
        assert "cut off the connection" in refused["msg"]
    assert "root" in machine.quarantine(users=["root"])["msg"]
    assert machine.ruleset() == before
    assert machine.quarantine(environment=connected, peers=["127.9.0.0/16"], management=["127.9.9.9"])["changed"]
    assert machine.reaches("127.9.9.9", 443)


def test_a_kill_before_the_rules_is_made_up_for_and_the_first_notes_stand(machine: Namespace) -> None:
    machine.quarantine(ports=[8080], notes={"gateway": {"app1": "ready"}})
    machine.run("nft", "flush", "ruleset")
    again = machine.quarantine(ports=[8080], notes={"gateway": {"app1": "maint"}})
    assert again["changed"]
    assert again["notes"] == {"gateway": {"app1": "ready"}}
    assert not machine.reaches("127.0.0.1", 8080)


def test_where_nothing_can_be_filtered_it_says_so() -> None:
    arguments = {"name": "records", "ports": [8080], "record_directory": "/nonexistent", "_ansible_check_mode": True}
    script = (
        "import os, runpy; os.setuid(65534); "
        f"runpy.run_module('{_MODULE}.network_quarantine', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        # Becomes nobody when it is under way: the interpreter itself may lie where only root comes.
        [sys.executable, "-c", f"import ansible.module_utils.basic, {_MODULE}.network_quarantine; {script}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_remote_tmp": "/tmp"}}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["filtered"] is False
    assert "only root" in result["not_filtered_because"]
    assert not result["changed"]
