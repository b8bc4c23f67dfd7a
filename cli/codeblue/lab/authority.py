"""The clinic's own certificate authority, and the certificate that people log in by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from codeblue.lab.files import make_directory, write_text
from codeblue.lab.layout import Layout

LOGIN_NAMES = ("127.0.0.1", "localhost")
_LIFETIME = timedelta(days=90)


class Authority:
    """Makes the authority and certificates of one lab."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def make(self) -> None:
        """A new authority, and a first certificate for the login."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import NameOID

        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clinic lab authority")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, SHA256())
        )
        make_directory(self.layout.authority_key.parent, 0o711)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
        write_text(self.layout.authority_key, private, 0o600)
        write_text(self.layout.authority_certificate, certificate.public_bytes(Encoding.PEM).decode("ascii"), 0o644)
        make_directory(self.layout.login_certificate.parent, 0o700)
        self.write_login_certificate()

    def login_bundle(self, now: datetime | None = None) -> Any:
        """A certificate for the login.

        :param now: the moment at which it is issued; one of long ago has expired.
        """
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import issue
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference

        return issue(
            Certificate(
                name="login",
                machine="",
                socket="",
                file=str(self.layout.login_certificate),
                names=LOGIN_NAMES,
                lifetime=_LIFETIME.total_seconds(),
                issuer_key=SecretReference("file", str(self.layout.authority_key)),
                issuer_certificate=SecretReference("file", str(self.layout.authority_certificate)),
            ),
            now,
        )

    def write_login_certificate(self, now: datetime | None = None) -> str:
        """Put a new one where the gateway reads it at its start; its content."""
        bundle = str(self.login_bundle(now).bundle)
        write_text(self.layout.login_certificate, bundle, 0o600)
        return bundle
