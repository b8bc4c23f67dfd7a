"""Certificates from the site's own authority, where the inventory names it, and digests of keys (about 1 s)."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import Issued, Shown, issue
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate, read_certificate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests, new_pair
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

NOW = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """Key and certificate in files."""

    def __init__(self, root: Path, key: t.Any, until: datetime.datetime = NOW + 3650 * DAY) -> None:
        self.key_file, self.certificate_file = root / "ca.key", root / "ca.pem"
        self.key = key
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority of a test")])
        signed_with = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
        signs = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **signs)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(NOW - 400 * DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, signed_with)
        )
        self.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.write_key(key)

    def write_key(self, key: t.Any, encryption: KeySerializationEncryption | None = None) -> None:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
        self.key_file.write_bytes(pem)

    def wanted(self, lifetime: datetime.timedelta = 90 * DAY) -> Certificate:
        return Certificate(
            name="login",
            machine="lb1",
            socket="/run/h.sock",
            file="/etc/haproxy/login.pem",
            names=("login.clinic.example", "10.0.0.5", "2001:db8::5"),
            lifetime=lifetime.total_seconds(),
            issuer_key=SecretReference("file", str(self.key_file)),
            issuer_certificate=SecretReference("file", str(self.certificate_file)),
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, ec.generate_private_key(ec.SECP256R1()))


def leaf(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificates(issued.bundle.encode())[0]


def test_a_certificate_is_for_its_names_and_belongs_to_its_key(authority: Authority) -> None:
    issued = issue(authority.wanted(), NOW)
    certificate, chain = x509.load_pem_x509_certificates(issued.bundle.encode())
    key = load_pem_private_key(issued.bundle.encode(), password=None)
    assert key.public_key() == certificate.public_key() and certificate.public_key() != authority.key.public_key()
    assert chain.public_bytes(Encoding.PEM) == authority.certificate_file.read_bytes()
    certificate.verify_directly_issued_by(chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["login.clinic.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5", "2001:db8::5"]
    assert certificate.not_valid_after_utc == NOW + 90 * DAY and certificate.not_valid_before_utc < NOW
    assert int(issued.serial, 16) == certificate.serial_number
    assert issued.expires_at == (NOW + 90 * DAY).timestamp()
    assert issue(authority.wanted(), NOW).serial != issued.serial


def test_openssl_trusts_it(authority: Authority, tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    path = tmp_path / "login.pem"
    path.write_text(issue(authority.wanted(), NOW).bundle)
    path.chmod(0o600)
    command = [program, "verify", "-x509_strict", "-verify_hostname", "login.clinic.example", "-purpose", "sslserver"]
    done = subprocess.run(
        [*command, "-CAfile", str(authority.certificate_file), "-attime", str(int(NOW.timestamp())), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.endswith(": OK\n"), done


@pytest.mark.parametrize("make", [ed25519.Ed25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 2048)])
def test_authorities_with_other_kinds_of_keys_issue_too(tmp_path: Path, make: t.Callable[[], t.Any]) -> None:
    authority = Authority(tmp_path, make())
    certificate, chain = x509.load_pem_x509_certificates(issue(authority.wanted(), NOW).bundle.encode())
    certificate.verify_directly_issued_by(chain)


def test_nothing_outlives_its_authority(tmp_path: Path) -> None:
    soon = Authority(tmp_path, ec.generate_private_key(ec.SECP256R1()), until=NOW + DAY)
    assert leaf(issue(soon.wanted(), NOW)).not_valid_after_utc == NOW + DAY
    with pytest.raises(BadInput, match="own certificate has expired"):
        issue(soon.wanted(), NOW + 2 * DAY)


def test_what_is_wrong_with_an_authority_is_said_without_its_key(authority: Authority) -> None:
    authority.write_key(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(BadInput, match="does not belong to its certificate"):
        issue(authority.wanted(), NOW)
    authority.write_key(authority.key, BestAvailableEncryption(b"passphrase"))
    with pytest.raises(BadInput, match="without a passphrase"):
        issue(authority.wanted(), NOW)
    authority.key_file.write_text("-----BEGIN PRIVATE KEY-----\ncanary-bm90IGEga2V5\n-----END PRIVATE KEY-----\n")
    with pytest.raises(BadInput) as caught:
        issue(authority.wanted(), NOW)
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
    authority.key_file.unlink()
    with pytest.raises(BadInput):
        issue(authority.wanted(), NOW)


def test_the_validity_of_what_is_shown() -> None:
    shown = Shown("1A", 100.0, 200.0)
    assert [shown.is_valid_at(now) for now in (99.0, 100.0, 200.0, 201.0)] == [False, True, True, False]


# -- codeblue_host.certificates ----------------------------------------------------------------------------------------

GIVEN: dict[str, t.Any] = {
    "machine": "lb1",
    "socket": "/run/h.sock",
    "file": "/etc/haproxy/login.pem",
    "names": ["login.clinic.example"],
    "issuer_key_from": "file:/etc/codeblue/authority.key",
    "issuer_certificate_from": "env:AUTHORITY_CERTIFICATE",
}


def read(values: dict[str, t.Any]) -> tuple[Certificate, list[str]]:
    problems = Problems("auth")

    def known_machine(mapping: TypedMapping, key: str, machine: str) -> None:
        if machine != "lb1":
            mapping.problem(key, f"{machine} is not in the inventory")

    return read_certificate(TypedMapping(values, "login", problems), "login", known_machine), problems.lines


def test_a_certificate_of_the_inventory() -> None:
    certificate, problems = read(GIVEN)
    assert problems == []
    assert certificate.lifetime == 90 * 86400 and certificate.names == ("login.clinic.example",)
    assert read({**GIVEN, "lifetime": "36h"})[0].lifetime == 36 * 3600


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": "lb9"}, "lb9 is not in the inventory"),
        ({"socket": "haproxy.sock"}, "must be an absolute path"),
        ({"file": "login.pem"}, "must be an absolute path"),
        ({"names": []}, "names"),
        ({"issuer_key_from": "/etc/codeblue/authority.key"}, "is no reference to a secret"),
        ({"issuer_certificate_from": None}, "issuer_certificate_from"),
        ({"lifetime": "soon"}, "lifetime"),
        ({"passphrase": "x"}, "passphrase"),
    ],
)
def test_mistakes_are_named(change: dict[str, t.Any], words: str) -> None:
    _certificate, problems = read({**GIVEN, **change})
    assert problems and any(words in line for line in problems), problems


# -- digests of keys ---------------------------------------------------------------------------------------------------


def test_both_halves_of_a_pair_have_the_same_digest_and_nothing_else_has() -> None:
    private, public = new_pair()
    other_private, other_public = new_pair()
    assert len(key_digests(private.encode())) == 1
    assert key_digests(private.encode()) == key_digests(public.encode())
    assert not key_digests(private.encode()) & key_digests(other_public.encode())
    both = (public + other_public).encode()
    assert key_digests(both) == key_digests(private.encode()) | key_digests(other_private.encode())
    assert key_digests(public.replace("\n", "\r\n").encode()) == key_digests(public.encode())


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nxxxx\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_has_no_digest(content: bytes) -> None:
    assert key_digests(content) == set()


def test_a_damaged_key_beside_a_good_one_does_not_hide_it() -> None:
    private, public = new_pair()
    damaged = private.replace("M", "N", 1)
    assert key_digests((damaged + public).encode()) >= key_digests(public.encode())


def test_openssl_digests_a_key_alike(tmp_path: Path) -> None:
    """What the card has people do by hand is what the diagnosis does."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    private, public = new_pair()
    for content, options in ((private, []), (public, ["-pubin"])):
        path = tmp_path / "key.pem"
        path.write_text(content)
        path.chmod(0o600)
        shown = subprocess.run(
            [program, "pkey", *options, "-in", str(path), *([] if options else ["-pubout"]), "-outform", "DER"],
            capture_output=True,
            check=True,
        ).stdout
        digest = subprocess.run([program, "dgst", "-sha256", "-r"], input=shown, capture_output=True, check=True).stdout
        assert {digest.decode().split()[0]} == key_digests(public.encode())
