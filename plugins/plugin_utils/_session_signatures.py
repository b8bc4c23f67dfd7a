# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""JSON Web Tokens with EdDSA (RFC 7519, RFC 8037), as far as a rotation of keys has to look into them."""

from __future__ import annotations

import base64
import json
import re
import typing as t

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

# A proof takes a few seconds; what it was made with is worthless afterwards.
_PROOF_SECONDS = 60


def blocks(text: str) -> list[str]:
    """The PEM blocks of a file, each by itself."""
    return [f"{block}\n" for block in re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", text, re.DOTALL)]


def is_signed_with(token: str, public: str) -> bool | None:
    """Whether the token was signed with the key that this public one (PEM) belongs to; None when nobody can tell.

    It cannot be told of anything but a JSON Web Token with EdDSA.
    """
    key = load_pem_public_key(public.encode())
    parts = _parts(token)
    if parts is None or not isinstance(key, Ed25519PublicKey):
        return None
    head, body, signature = token.split(".")
    try:
        key.verify(_bytes(signature), f"{head}.{body}".encode())
    except InvalidSignature:
        return False
    return True


def signed_anew(token: str, private: str, now: float) -> str | None:
    """The same token, valid for a minute from now, signed with another key; None when it cannot be made.

    By it a key is proven to be taken before anybody signs with it, and refused when all real tokens have expired. A
    token that names its key (`kid`) is not made: nobody but its issuer knows how keys are named.

    :param private: PEM, Ed25519.
    :param now: Unix seconds.
    """
    key = load_pem_private_key(private.encode(), password=None)
    parts = _parts(token)
    if parts is None or not isinstance(key, Ed25519PrivateKey):
        return None
    head, claims = parts
    if "kid" in head or not isinstance(claims.get("exp"), (int, float)):
        return None
    claims = {**claims, "exp": int(now) + _PROOF_SECONDS}
    signed = f"{token.split('.')[0]}.{_text(json.dumps(claims, separators=(',', ':')).encode())}"
    return f"{signed}.{_text(key.sign(signed.encode()))}"


def _parts(token: str) -> tuple[dict[str, t.Any], dict[str, t.Any]] | None:
    try:
        head, claims = (json.loads(_bytes(part)) for part in token.split(".")[:2])
        known = len(token.split(".")) == 3 and isinstance(claims, dict) and head["alg"] == "EdDSA"
    except (ValueError, KeyError, TypeError):
        # Another kind of token: there is nothing in it to be read.
        return None
    return (head, claims) if known else None


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
