# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates: what a server shows, and new ones from the site's own authority."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Clocks of clients may be behind by as much.
_BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True)
class Shown:
    """What a server shows to whoever connects.

    :param expires_at: Unix seconds.
    :param starts_at: Unix seconds.
    """

    serial: str
    starts_at: float
    expires_at: float

    def is_valid_at(self, now: float) -> bool:
        return self.starts_at <= now <= self.expires_at


@dataclass(frozen=True)
class Issued:
    """A new certificate.

    :param bundle: certificate, chain and private key as HAProxy reads them; a secret.
    """

    bundle: str
    serial: str
    expires_at: float


def shown_by(address: str, port: int, seconds: float) -> Shown | None:
    """The certificate of a TLS server, whether or not it can be trusted; None when there is no TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=seconds) as plain:
        plain.settimeout(seconds)
        with context.wrap_socket(plain) as secured:
            content = secured.getpeercert(binary_form=True)
        if content:
            return _shown(x509.load_der_x509_certificate(content))
    return None


def issue(wanted: Certificate, now: datetime | None = None) -> Issued:
    """A new key and its certificate, signed by the site's authority.

    :raises BadInput: the authority's key or certificate cannot be read, or they do not belong together.
    """
    moment = now or datetime.now(UTC)
    try:
        issuer_key = load_pem_private_key(wanted.issuer_key.resolve().encode(), password=None)
        issuer = x509.load_pem_x509_certificate(wanted.issuer_certificate.resolve().encode())
    except (ValueError, TypeError) as error:
        # Not the text of the error: it could quote the key.
        raise BadInput(
            f"certificates.{wanted.name}: the authority's key or certificate is no PEM without a passphrase",
            "look at issuer_key_from and issuer_certificate_from",
        ) from error
    if issuer_key.public_key() != issuer.public_key():
        raise BadInput(f"certificates.{wanted.name}: the authority's key does not belong to its certificate")
    expires = min(moment + timedelta(seconds=wanted.lifetime), issuer.not_valid_after_utc)
    if expires <= moment:
        raise BadInput(f"certificates.{wanted.name}: the authority's own certificate has expired")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.names[0])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATED)
        .not_valid_after(expires)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in wanted.names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
    )
    plain = isinstance(issuer_key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    certificate = builder.sign(issuer_key, None if plain else SHA256())  # type: ignore[arg-type]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bundle = certificate.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM) + private
    shown = _shown(certificate)
    return Issued(bundle.decode("ascii"), shown.serial, shown.expires_at)


def _shown(certificate: x509.Certificate) -> Shown:
    return Shown(
        serial=f"{certificate.serial_number:X}",
        starts_at=certificate.not_valid_before_utc.timestamp(),
        expires_at=certificate.not_valid_after_utc.timestamp(),
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
