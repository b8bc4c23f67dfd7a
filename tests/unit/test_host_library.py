"""The parts of the library for machines that need no server (about 3 s)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils import _proc
from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import append_line, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import Upstream
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_lsn import (
    end_of_record,
    format_lsn,
    parse_lsn,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_password import (
    check_verifier,
    scram_verifier,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_processes import server_processes
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import identifier, literal
from ansible_collections.codeblue.recovery.plugins.module_utils._process_systemd import SystemdUnit
from ansible_collections.codeblue.recovery.plugins.module_utils._release import ReleaseRoot
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._scrub import scrub, scrub_text
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_file import SecretFile

# -- commands --------------------------------------------------------------------------------------------------


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    started = time.monotonic()
    result = run_command(["sh", "-c", "echo begun; sleep 61 & sleep 62"], Deadline(0.3))
    assert time.monotonic() - started < 2
    assert result.returncode is None and result.stdout == "begun\n"
    assert "no answer within" in result.complaint()
    assert not [p for p in _proc.list_processes() if _proc.command_line(p.pid) in (["sleep", "61"], ["sleep", "62"])]


def test_a_daemon_that_keeps_the_pipe_does_not_hold_us() -> None:
    started = time.monotonic()
    result = run_command(["sh", "-c", "echo done; setsid sleep 3 & exit 0"], Deadline(10))
    assert result.ok and result.stdout == "done\n"
    assert time.monotonic() - started < 2


def test_output_is_bounded_at_the_end_that_was_asked_for() -> None:
    argv = [sys.executable, "-c", "for i in range(100000): print(i)"]
    head = run_command(argv, Deadline(10), output_limit=100)
    tail = run_command(argv, Deadline(10), output_limit=100, keep="tail")
    assert head.truncated and head.stdout.startswith("0\n1\n") and len(head.stdout) == 100
    assert tail.truncated and tail.stdout.endswith("99999\n") and len(tail.stdout) == 100


def test_input_larger_than_a_pipe_and_a_command_that_does_not_read_it() -> None:
    text = "x" * 1_000_000
    assert len(run_command(["cat"], Deadline(10), stdin=text, output_limit=2_000_000).stdout) == 1_000_000
    assert run_command(["true"], Deadline(10), stdin=text).ok


def test_nothing_of_our_environment_reaches_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_PASSWORD", "open-sesame")
    assert "open-sesame" not in run_command(["env"], Deadline(5)).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_user_that_is_named() -> None:
    result = run_command(["id", "-un"], Deadline(5), user="nobody")
    assert result.stdout == "nobody\n"
    with pytest.raises(BadInput, match="no user"):
        run_command(["id"], Deadline(5), user="no-such-user")


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(CodeblueError, match="/no/such/tool"):
        run_command(["/no/such/tool"], Deadline(5))


# -- processes -------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_start_too() -> None:
    child = subprocess.Popen(["sleep", "30"])
    seen = _proc.read_process(child.pid)
    assert seen is not None and seen.ppid == os.getpid() and not seen.gone
    assert abs(seen.started_at - time.time()) < 5
    other = _proc.ProcessInfo(seen.pid, seen.ppid, seen.name, seen.state, seen.start_ticks - 1)
    assert other.gone and not other.kill(signal.SIGKILL)
    assert seen.kill(signal.SIGKILL)
    assert Deadline(5).wait_until(lambda: seen.gone)
    assert not seen.gone_for_good, "nobody has reaped it yet"
    child.wait()
    assert seen.gone_for_good


def test_a_process_that_only_bears_the_name_is_no_server(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = tmp_path / "postgres"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    stranger = subprocess.Popen([program, "30"], cwd=elsewhere)
    own = subprocess.Popen([program, "30"], cwd=tmp_path)
    try:
        assert Deadline(5).wait_until(lambda: [p.pid for p in server_processes(str(tmp_path))] == [own.pid])
        assert [process.pid for process in server_processes(str(elsewhere))] == [stranger.pid]
    finally:
        for child in (stranger, own):
            child.kill()
            child.wait()


# -- texts -----------------------------------------------------------------------------------------------------


def test_secrets_leave_texts() -> None:
    text = "password=abc postgresql://app:hush@db/x SCRAM-SHA-256$4096:aa==$bb=:cc= token: 'x y' known-value"
    clean = scrub_text(text, ["known-value", "db"])
    for secret in ("abc", "hush", "aa==", "x y", "known-value"):
        assert secret not in clean
    assert "@db/x" in clean
    assert scrub({"a": ["known-value", 1, None]}, ["known-value"]) == {"a": ["(hidden)", 1, None]}


def test_sql_is_quoted() -> None:
    assert literal("O'Hara") == "'O''Hara'"
    assert literal("a\\b'") == "E'a\\\\b'''"
    assert literal(None) == "NULL" and literal(True) == "true" and literal(1.5) == "1.5"
    assert identifier('we"ird') == '"we""ird"'
    with pytest.raises(CodeblueError):
        literal("a\0b")
    with pytest.raises(CodeblueError):
        identifier("a\nb")


def test_positions_in_the_log() -> None:
    assert format_lsn(parse_lsn("1/16EF458")) == "1/16EF458"
    with pytest.raises(BadInput, match="position"):
        parse_lsn("16EF458")
    segment = 16 << 20
    assert end_of_record(0x16EF458, 114, segment) == 0x16EF4D0
    # Over the end of a page: the rest follows the short header of the next one.
    assert end_of_record(8192 - 16, 40, segment) == 8192 + 24 + 24
    # Over the end of a segment: its first page has the long header.
    assert end_of_record(segment - 8, 40, segment) == segment + 40 + 32


def test_conninfo_has_a_passfile_and_no_password() -> None:
    upstream = Upstream("db.example", 5432, "o'brien", "/etc/pass file", "db1", "db1")
    assert upstream.conninfo() == (
        "host='db.example' port='5432' user='o\\'brien' passfile='/etc/pass file' application_name='db1'"
    )


def test_scram_verifier_as_in_the_rfc() -> None:
    # The salt and iterations of the example in RFC 7677, with its password; the keys follow from its proof and
    # signature.
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_verifier("pencil", 4096, salt)
    check_verifier(verifier)
    _head, _salt, keys = verifier.split("$")
    stored, server = (base64.b64decode(part) for part in keys.split(":"))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.new(server, message, hashlib.sha256).digest()
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_signature = hmac.new(stored, message, hashlib.sha256).digest()
    client_key = bytes(a ^ b for a, b in zip(proof, client_signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    for wrong in ("pencil", verifier[:-1], "md5" + "0" * 32):
        with pytest.raises(BadInput) as caught:
            check_verifier(wrong)
        assert wrong not in str(caught.value)


# -- files -----------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(str(path), b"one", 0o640)
    assert path.read_bytes() == b"one" and stat.S_IMODE(path.stat().st_mode) == 0o640
    with pytest.raises(CodeblueError, match="missing/file"):
        write_file(str(tmp_path / "missing" / "file"), b"two")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    append_line(str(tmp_path / "log"), "a")
    append_line(str(tmp_path / "log"), "b")
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_secret_file_keeps_mode_and_tells_by_digest(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old-value")
    path.chmod(0o644)
    found = SecretFile.read(str(path))
    assert "old-value" not in str(found.describe("salt"))
    assert found.describe("salt") != found.describe("pepper")
    found.replace(b"new-value", keep_previous=True)
    assert path.read_text() == "new-value" and stat.S_IMODE(path.stat().st_mode) == 0o640
    previous = tmp_path / "secret.previous"
    assert previous.read_text() == "old-value" and stat.S_IMODE(previous.stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(BadInput, match="link"):
        SecretFile.read(str(link))
    with pytest.raises(BadInput, match="no directory"):
        SecretFile.read(str(tmp_path / "nowhere" / "secret"))


@pytest.mark.parametrize(
    ("before", "kind", "after"),
    [
        (None, "secret", 0o600),
        (None, "public", 0o600),
        (0o600, "public", 0o600),
        (0o640, "secret", 0o640),
        (0o444, "secret", 0o640),
        (0o444, "public", 0o644),
        (0o777, "secret", 0o640),
        (0o777, "public", 0o644),
    ],
)
def test_who_reads_a_secret_can_read_the_next_one(tmp_path: Path, before: int | None, kind: str, after: int) -> None:
    path = tmp_path / "secret"
    if before is not None:
        path.write_text("old-value")
        path.chmod(before)
    SecretFile.read(str(path)).replace(b"new-value", keep_previous=False, kind=kind)
    assert path.read_text() == "new-value" and stat.S_IMODE(path.stat().st_mode) == after


def _release(root: Path, version: str, manifest: bool = True) -> None:
    directory = root / "releases" / version
    directory.mkdir(parents=True)
    (directory / "app.py").write_text(f"version = {version!r}\n")
    if manifest:
        lines = subprocess.run(
            ["sha256sum", "app.py"], cwd=directory, capture_output=True, check=True, text=True
        ).stdout
        (directory / "MANIFEST.sha256").write_text(lines)


def test_releases_are_verified_and_switched(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        _release(tmp_path, version)
    _release(tmp_path, "2.0.0", manifest=False)
    root = ReleaseRoot(str(tmp_path))
    assert root.current() is None
    assert root.verify("1.0.0", True, None) == 1
    root.switch("1.0.0", {"by": "test"})
    root.switch("1.1.0", {"by": "test"})
    assert (tmp_path / "current").readlink() == Path("releases/1.1.0")
    history = root.history(10)
    assert [(entry["version"], entry["previous"]) for entry in history] == [("1.1.0", "1.0.0"), ("1.0.0", None)]
    assert root.available() == ["1.0.0", "1.1.0", "2.0.0"]
    assert root.verify("2.0.0", False, None) == 0
    with pytest.raises(Refused, match="has no MANIFEST"):
        root.verify("2.0.0", True, None)
    with pytest.raises(Refused, match="no release 3"):
        root.verify("3", False, None)
    with pytest.raises(Refused, match="not the one"):
        root.verify("1.0.0", False, "0" * 64)
    with pytest.raises(BadInput):
        root.verify("../etc", False, None)
    pycache = tmp_path / "releases" / "1.0.0" / "__pycache__"
    pycache.mkdir()
    (pycache / "app.pyc").write_text("compiled")
    assert root.verify("1.0.0", True, None) == 1
    (tmp_path / "releases" / "1.0.0" / "sitecustomize.py").write_text("import os")
    with pytest.raises(Refused, match="not in its manifest"):
        root.verify("1.0.0", True, None)
    (tmp_path / "releases" / "1.1.0" / "app.py").write_text("altered")
    with pytest.raises(Refused, match="altered"):
        root.verify("1.1.0", True, None)


# -- systemd ---------------------------------------------------------------------------------------------------

# systemd runs as the first process or not at all, so a stand-in answers here, in the format of `systemctl show`.
_SYSTEMCTL = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in *"show missing"*) echo LoadState=not-found; exit 0;; esac
case "$*" in *"show slow"*) sleep 30;; esac
case "$*" in *"show"*) cat {answer};; esac
"""


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    script = tmp_path / "systemctl"
    script.write_text(_SYSTEMCTL.format(calls=tmp_path / "calls", answer=tmp_path / "answer"))
    script.chmod(0o755)
    return tmp_path


def _answer(directory: Path, **properties: object) -> None:
    base = {"LoadState": "loaded", "UnitFileState": "enabled", "MainPID": 0, "NRestarts": 0}
    (directory / "answer").write_text("".join(f"{name}={value}\n" for name, value in {**base, **properties}.items()))


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("active", "running", "running"),
        ("activating", "auto-restart", "restarting"),
        ("activating", "start", "starting"),
        ("failed", "failed", "failed"),
        ("inactive", "dead", "stopped"),
    ],
)
def test_states_of_systemd(systemd: Path, active: str, sub: str, state: str) -> None:
    unit = SystemdUnit("postgresql@18-main", str(systemd / "systemctl"))
    _answer(systemd, ActiveState=active, SubState=sub, MainPID=4711 if state == "running" else 0)
    status = unit.status(Deadline(5))
    assert status.state == state
    assert status.pid == (4711 if state == "running" else None)
    assert status.starts_at_boot


def test_systemd_that_does_not_know_or_does_not_answer(systemd: Path) -> None:
    with pytest.raises(BadInput, match="missing"):
        SystemdUnit("missing", str(systemd / "systemctl")).status(Deadline(5))
    started = time.monotonic()
    with pytest.raises(CodeblueError, match="no answer"):
        SystemdUnit("slow", str(systemd / "systemctl")).status(Deadline(0.3))
    assert time.monotonic() - started < 2
    with pytest.raises(BadInput):
        SystemdUnit("--force")


def test_a_failed_unit_is_forgiven_before_it_is_started(systemd: Path) -> None:
    _answer(systemd, ActiveState="failed", SubState="failed")
    SystemdUnit("records.service", str(systemd / "systemctl")).request_start(Deadline(5))
    calls = (systemd / "calls").read_text().splitlines()
    assert calls[-2:] == [
        "--no-ask-password reset-failed records.service",
        "--no-ask-password start --no-block records.service",
    ]
