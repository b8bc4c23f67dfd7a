"""Checks of type session against real sockets: a login, and whether its token is taken (about 2 s)."""

from __future__ import annotations

import json
import socket
import threading
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, PlannedCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks_reading import read_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

TOKEN = "canary-t0ken.of.this-moment"
PASSWORD = "canary-Pa55word"


class Clinic(ThreadingHTTPServer):
    """POST `/login…` gives a token in several shapes; GET `/use/<status>` answers so to whoever has it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.logins: list[t.Any] = []
        self.bearers: list[str | None] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Clinic
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.logins.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = {
            "/login": {"token": TOKEN},
            "/login/other": {"access_token": TOKEN},
            "/login/none": {"welcome": True},
            "/login/list": ["token"],
            "/login/odd": {"token": "line one\r\nX-Injected: 1"},
            "/login/number": {"token": 7},
        }.get(self.path)
        if self.path == "/login/pieces":
            self._pieces([b'{"token"', b': "', TOKEN.encode(), b'", "more": 1}'])
        elif self.path == "/login/text":
            self._answer(200, b"token")
        elif self.path == "/login/refused":
            self._answer(401, b"")
        elif self.path == "/login/unavailable":
            self._answer(503, b"")
        else:
            self._answer(200, json.dumps(body).encode())

    def do_GET(self) -> None:
        self.server.bearers.append(self.headers.get("Authorization"))
        self._answer(int(self.path.rpartition("/")[2]), b"the record of a patient")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pieces(self, pieces: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            threading.Event().wait(0.05)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: t.Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    running = Clinic()
    yield running
    running.shutdown()
    running.server_close()


def check(clinic: Clinic, login: str = "/login", use: str = "/use/200", **changes: t.Any) -> CheckResult:
    values = {
        "id": "token",
        "type": "session",
        "method": "POST",
        "url": clinic.url(login),
        "use_url": use if use.startswith("http") else clinic.url(use),
        "json": {"username": "probe", "password": {"secret_from": "env:PROBE_PASSWORD"}},
        "timeout": "2s",
        **changes,
    }
    problems = Problems("auth")
    read = read_checks(TypedMapping({"deep": [values]}, "codeblue_checks", problems))
    problems.raise_if_any()
    (result,) = run_checks([PlannedCheck("auth", "deep", read.deep[0])])
    return result


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_PASSWORD", PASSWORD)


@pytest.mark.parametrize(
    ("login", "use", "error_class"),
    [
        ("/login", "/use/200", None),
        ("/login", "/use/404", None),
        ("/login", "/use/401", "token_refused"),
        ("/login", "/use/403", "token_refused"),
        # Whoever is in trouble has checks of its own; it is not the login's fault.
        ("/login", "/use/500", None),
        ("/login", "/use/503", None),
        ("/login/refused", "/use/200", "credentials_refused"),
        ("/login/unavailable", "/use/401", "unavailable"),
        ("/login/none", "/use/200", "body"),
        ("/login/list", "/use/200", "body"),
        ("/login/text", "/use/200", "body"),
        ("/login/pieces", "/use/200", None),
        ("/login/pieces", "/use/401", "token_refused"),
    ],
)
def test_what_counts_against_the_login(clinic: Clinic, login: str, use: str, error_class: str | None) -> None:
    result = check(clinic, login, use, body_has="token" if error_class != "body" else None)
    assert result.error_class == error_class, result
    assert (result.type, result.ok) == ("session", error_class is None)


def test_the_token_is_shown_as_bearer_and_the_password_only_at_the_login(clinic: Clinic) -> None:
    clinic.logins.clear()
    clinic.bearers.clear()
    assert check(clinic).ok
    assert clinic.logins == [{"username": "probe", "password": PASSWORD}]
    assert clinic.bearers == [f"Bearer {TOKEN}"]


def test_the_field_of_the_token_can_have_another_name(clinic: Clinic) -> None:
    assert check(clinic, "/login/other").error_class == "body"
    assert check(clinic, "/login/other", "/use/401", token_field="access_token").error_class == "token_refused"


@pytest.mark.parametrize("login", ["/login/odd", "/login/number"])
def test_a_token_that_is_none_brings_no_header_of_its_own(clinic: Clinic, login: str) -> None:
    clinic.bearers.clear()
    result = check(clinic, login)
    assert result.ok or result.error_class == "body", result
    assert all(bearer is None or "\n" not in bearer for bearer in clinic.bearers)


def test_where_nobody_is(clinic: Clinic) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        nowhere = f"http://127.0.0.1:{closing.getsockname()[1]}/"
    use = check(clinic, use=nowhere)
    assert use.ok and "not known (refused)" in use.detail
    login = check(clinic, url=nowhere)
    assert login.error_class == "refused"


def test_neither_token_nor_password_nor_record_is_in_a_result(clinic: Clinic) -> None:
    results = [
        check(clinic, login, use)
        for login in ("/login", "/login/odd", "/login/none", "/login/refused")
        for use in ("/use/200", "/use/401", "/use/500")
    ]
    said = repr(results)
    assert "canary" not in said and "patient" not in said and "Injected" not in said


@pytest.mark.parametrize(
    ("change", "words"),
    [({"use_url": "records"}, "use_url"), ({"url": "ftp://x"}, "url"), ({"use_url": None}, "use_url")],
)
def test_mistakes_in_the_inventory_are_named(clinic: Clinic, change: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check(clinic, **change)
