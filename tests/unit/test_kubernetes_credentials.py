"""Programs that give credentials: those that hang, fail, talk nonsense, and those that work; about 3 s."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_credentials as credentials
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import ApiUnavailable

VERSION = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    credentials.forget()
    credentials._failed.clear()


def access(directory: Path, script: str) -> ClusterAccess:
    """An account whose credentials a shell script gives."""
    program = directory / "give-token"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    user = {"exec": {"apiVersion": VERSION, "command": str(program), "interactiveMode": "Never"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return ClusterAccess(str(file))


def answer(token: str, ends: float | None = None) -> str:
    status = {"token": token}
    if ends is not None:
        moment = dt.datetime.fromtimestamp(time.time() + ends, dt.UTC)
        status["expirationTimestamp"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})


def token_of(found: ClusterAccess, anew: bool = False) -> str:
    (token,) = found.connect(anew).configuration.api_key.values()
    return str(token)


def test_one_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PROGRAM_SECONDS", 0.5)
    hangs = access(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child\nread answer < /dev/zero\nsleep 300")
    began = time.monotonic()
    with pytest.raises(ApiUnavailable, match=r"the credential program give-token gave nothing within 0\.5 s"):
        hangs.connect()
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "what it started goes on"
        time.sleep(0.02)
    # Many checks load the same account: only the first one waits.
    began = time.monotonic()
    for _again in range(20):
        with pytest.raises(ApiUnavailable):
            hangs.connect()
    assert time.monotonic() - began < 0.5 * 20


def test_one_that_asks_at_the_terminal_gets_none(tmp_path: Path) -> None:
    asks = access(tmp_path, "read password || { echo 'no password was given' >&2; exit 3; }")
    with pytest.raises(ApiUnavailable, match="ended with 3: no password was given"):
        asks.connect()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo s3cret-token", "answers nothing that is an ExecCredential"),
        (
            f"echo '{json.dumps({'apiVersion': VERSION, 'kind': 'ExecCredential', 'status': {'x': 's3cret-token'}})}'",
            "gives neither",
        ),
        ('echo \'{"apiVersion": "other", "kind": "ExecCredential", "status": {}}\'', "does not answer as"),
        ("yes s3cret-token", "writes more than 1048576 bytes"),
        ("exit 0", "answers nothing"),
    ],
)
def test_nonsense_is_said_without_what_it_wrote(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(ApiUnavailable, match=said) as caught:
        access(tmp_path, script).connect()
    assert "s3cret" not in f"{caught.value.message}{caught.value.hint}"


def test_one_that_is_not_there(tmp_path: Path) -> None:
    found = access(tmp_path, "true")
    (tmp_path / "give-token").unlink()
    with pytest.raises(ApiUnavailable, match="give-token cannot be started: No such file"):
        found.connect()


@pytest.mark.parametrize(("ends", "asked"), [(3600.0, 1), (None, 1), (30.0, 2)])
def test_what_it_gave_is_kept_until_shortly_before_its_end(tmp_path: Path, ends: float | None, asked: int) -> None:
    count = tmp_path / "count"
    found = access(tmp_path, f"echo x >> {count}\necho '{answer('t0ken', ends)}'")
    assert token_of(found) == token_of(found) == "Bearer t0ken"
    assert len(count.read_text().split()) == asked
    # An API server that refuses it has the last word.
    assert token_of(found, anew=True) == "Bearer t0ken"
    assert len(count.read_text().split()) == asked + 1


def test_a_child_that_keeps_the_pipes_open_is_not_waited_for(tmp_path: Path) -> None:
    found = access(tmp_path, f"sleep 300 &\necho '{answer('t0ken')}'")
    began = time.monotonic()
    assert token_of(found) == "Bearer t0ken"
    assert time.monotonic() - began < credentials.PROGRAM_SECONDS
