"""How a rotation of keys is proven, against real servers with TLS of the site's own authority (about 1 s)."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import SessionProof
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PASSWORD, TOKEN, OLD = "canary-Pa55word", "canary-token", "canary-old-token"


class _Login(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/login":
            right = asked.get("password") == PASSWORD and self.headers.get("X-Site") == "clinic"
            self._answer(200 if right else 401, {"token": TOKEN} if right else {})
        else:
            self._answer({TOKEN: 200, OLD: 401}.get(asked["token"], 503), {})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: t.Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Login)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def service(port: int, ca_file: str | None, password: str = PASSWORD) -> Service:
    consumer = {
        "machine": "app1",
        "secret_file": "/etc/key.pem",
        "process": {"manager": "systemd", "unit": "auth"},
        "reload": "restart",
    }
    login = {
        "id": "login",
        "type": "http",
        "method": "POST",
        "url": f"https://localhost:{port}/login",
        "headers": {"X-Site": {"secret_from": "env:SITE_HEADER"}},
        "json": {"username": "probe", "password": password},
        "status": 200,
        **({"ca_file": ca_file} if ca_file else {}),
    }
    return load_service(
        "auth",
        {
            "codeblue_environment": "lab",
            "codeblue_platform": "host",
            "codeblue_kind": "auth",
            "codeblue_tier": 1,
            "codeblue_depends_on": [],
            "codeblue_objectives": {"rto": "15m", "rpo": "15m"},
            "codeblue_host": {
                "instances": {"app1": {"address": "127.0.0.1", "port": 1, "process": consumer["process"]}},
                "session_keys": {
                    "signing": [consumer],
                    "verification": [consumer],
                    "verify_url": f"https://localhost:{port}/verify",
                },
            },
            "codeblue_checks": {"deep": [login]},
        },
        {"auth", "app1"},
    )


def proof(port: int, ca_file: str | None, hidden: list[str], password: str = PASSWORD) -> SessionProof:
    found = service(port, ca_file, password)
    keys = found.require_host().session_keys
    assert keys is not None
    return SessionProof(found, keys, hidden.append)


@pytest.fixture(autouse=True)
def site_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_HEADER", "clinic")


def test_whom_the_login_check_trusts_is_trusted_and_its_headers_are_sent(port: int, certificate: Path) -> None:
    hidden: list[str] = []
    asked = proof(port, str(certificate), hidden)
    assert asked.log_in() == TOKEN
    assert asked.is_taken(TOKEN) and not asked.is_taken(OLD)
    assert asked.is_taken("unknown"), "a server in trouble proves no refusal"
    assert {TOKEN, "clinic"} <= set(hidden), "what is secret is said before it can be shown"


def test_a_stranger_gets_no_token_to_see(port: int) -> None:
    asked = proof(port, None, [])
    assert asked.log_in() is None
    assert asked.is_taken(OLD), "nobody was asked, so nothing is proven"


def test_a_refused_login_is_no_token(port: int, certificate: Path) -> None:
    assert proof(port, str(certificate), [], password="wrong").log_in() is None


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(port: int, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match="ca_file"):
        proof(port, str(path), [])
