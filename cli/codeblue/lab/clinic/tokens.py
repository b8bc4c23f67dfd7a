"""Session tokens: JSON Web Tokens signed with Ed25519 (RFC 7519, RFC 8037)."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

LIFETIME_SECONDS = 900
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class InvalidToken(Exception):
    """The token is malformed, forged or expired."""


class Signer:
    def __init__(self, key_file: str) -> None:
        key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"{key_file} holds no Ed25519 key")
        self._key = key
        self.verifier = Verifier([key.public_key()])

    def issue(self, subject: str) -> str:
        now = int(time.time())
        head = _encode({"alg": "EdDSA", "typ": "JWT"})
        body = _encode({"sub": subject, "iat": now, "exp": now + LIFETIME_SECONDS})
        return f"{head}.{body}.{_base64(self._key.sign(f'{head}.{body}'.encode()))}"


class Verifier:
    """Takes tokens of any of its keys: while one key follows another, both count.

    :param keys: at least one.
    """

    def __init__(self, keys: Sequence[Ed25519PublicKey]) -> None:
        self._keys = keys

    @staticmethod
    def from_file(key_file: str) -> Verifier:
        keys = [load_pem_public_key(block) for block in _PEM.findall(Path(key_file).read_bytes())]
        known = [key for key in keys if isinstance(key, Ed25519PublicKey)]
        if not known or len(known) != len(keys):
            raise TypeError(f"{key_file} holds something else than Ed25519 keys")
        return Verifier(known)

    def subject(self, token: str) -> str:
        """Whose token it is.

        :raises InvalidToken: it proves nothing.
        """
        try:
            head, body, signature = token.split(".")
            if _decode(head).get("alg") != "EdDSA":
                raise InvalidToken("another algorithm")
            self._check(_bytes(signature), f"{head}.{body}".encode())
            claims = _decode(body)
            if claims["exp"] <= time.time():
                raise InvalidToken("expired")
            return str(claims["sub"])
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
            raise InvalidToken("malformed or forged") from error

    def _check(self, signature: bytes, signed: bytes) -> None:
        """:raises InvalidSignature: it was made with none of the keys."""
        for key in self._keys[:-1]:
            try:
                return key.verify(signature, signed)
            except InvalidSignature:
                continue
        return self._keys[-1].verify(signature, signed)


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _encode(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _decode(value: str) -> Any:
    return json.loads(_bytes(value))
