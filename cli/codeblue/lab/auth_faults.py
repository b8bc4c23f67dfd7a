"""Faults of the login: a wrong key, processes that are gone, and a certificate whose time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from codeblue.lab.authority import Authority
from codeblue.lab.faults import Fault, Injection
from codeblue.lab.files import write_text
from codeblue.lab.layout import APPLICATION_MACHINES, unit
from codeblue.lab.parts import Parts

_UNITS = tuple(unit("auth", machine) for machine in APPLICATION_MACHINES)


class AuthSigningKeyWrong(Fault):
    name: ClassVar[str] = "auth_signing_key_wrong"
    summary: ClassVar[str] = "another signing key is rolled out to auth: logins look fine, records refuses their tokens"
    hits: ClassVar[tuple[str, ...]] = ("records",)
    rto_target: ClassVar[float | None] = 20.0

    def inject(self, parts: Parts) -> Injection:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
        for machine in APPLICATION_MACHINES:
            write_text(parts.layout.machine_secret(machine, "token_signing.pem"), private, 0o600)
        injection = self.strike()
        parts.supervisor.stop(*_UNITS)
        parts.supervisor.start(*_UNITS)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        if not _keys_fit(parts):
            parts.services.make_signing_keys()
            # Both read their keys when they start; the restoring of the normal state starts them.
            parts.supervisor.stop(*_UNITS, *(unit("records", machine) for machine in APPLICATION_MACHINES))


class AuthProcessDead(Fault):
    name: ClassVar[str] = "auth_process_dead"
    summary: ClassVar[str] = "every process of auth is stopped and stays down"
    hits: ClassVar[tuple[str, ...]] = ("auth",)
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike()
        parts.supervisor.stop(*_UNITS)
        return injection


class AuthCertificateExpired(Fault):
    name: ClassVar[str] = "auth_certificate_expired"
    summary: ClassVar[str] = "the certificate that people log in by has expired"
    hits: ClassVar[tuple[str, ...]] = ("secure_login",)
    watches: ClassVar[tuple[str, ...]] = ("secure_login",)
    rto_target: ClassVar[float | None] = 15.0

    def inject(self, parts: Parts) -> Injection:
        # Issued so long ago that its ninety days are over since yesterday.
        issued_at = datetime.now(UTC) - timedelta(days=91)
        bundle = Authority(parts.layout).write_login_certificate(issued_at)
        injection = self.strike()
        parts.gateway.set_login_certificate(bundle)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.gateway.set_login_certificate(Authority(parts.layout).write_login_certificate())


def _keys_fit(parts: Parts) -> bool:
    """The private keys belong to the public ones."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests

    files = [
        parts.layout.machine_secret(machine, name)
        for machine in APPLICATION_MACHINES
        for name in ("token_signing.pem", "token_verification.pem")
    ]
    return len(set().union(*(key_digests(path.read_bytes()) for path in files))) == 1


AUTH_FAULTS: tuple[type[Fault], ...] = (AuthSigningKeyWrong, AuthProcessDead, AuthCertificateExpired)
