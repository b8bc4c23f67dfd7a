# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""New keys for session tokens, and questions about tokens. A token exists in memory only."""

from __future__ import annotations

import re
import ssl
import typing as t
from collections.abc import Callable, Mapping
from hashlib import sha256

import httpx
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import resolve_secrets
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_sessions import SessionKeys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_SECONDS = 3.0
_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)


def new_pair() -> tuple[str, str]:
    """A private key (PKCS 8) and its public key (SubjectPublicKeyInfo), both PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    return private, public


def public_of(private: str) -> str:
    """The public key (PEM) that belongs to a private one."""
    key = load_pem_private_key(private.encode(), password=None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def key_digests(pem: bytes) -> set[str]:
    """Digests of the public keys that a PEM file holds, or that belong to the private keys in it.

    Nothing of a private key is in them. A file that holds no key has none.
    """
    found = set()
    for block in _PEM.findall(pem):
        try:
            if b"PRIVATE" in block:
                public = load_pem_private_key(block, password=None).public_key()
            else:
                public = load_pem_public_key(block)
        except (ValueError, TypeError):
            # Something else, or damaged: no key that could belong to another one.
            continue
        found.add(sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest())
    return found


class SessionProof:
    """Logs in and asks whether tokens are taken, on the way that clients take.

    :param hide: told every secret before it is used.
    :raises BadInput: the check that logs in is none.
    """

    def __init__(self, service: Service, keys: SessionKeys, hide: Callable[[str], None]) -> None:
        found = [check for _level, check in service.checks.up_to("comprehensive") if check.id == keys.login_check]
        if not found or not isinstance(found[0], HttpCheck):
            raise BadInput(
                f"{service.name}: session_keys.login_check: there is no check {keys.login_check!r} of type http",
                "add one to codeblue_checks: it logs in with an account of its own",
            )
        self._login = found[0]
        self._keys = keys
        self._hide = hide
        self._trusted = _trusted(self._login)

    def log_in(self) -> str | None:
        """A token; None when nobody can log in now."""
        used: list[str] = []
        body = resolve_secrets(self._login.json, used)
        headers = resolve_secrets(self._login.headers, used)
        for each in used:
            self._hide(each)
        try:
            response = self._ask(self._login.method, self._login.url, body, headers)
            token = response.json().get(self._keys.token_field) if response.status_code in self._login.status else None
        except (httpx.HTTPError, ValueError, AttributeError):
            return None
        if not isinstance(token, str):
            return None
        self._hide(token)
        return token

    def is_taken(self, token: str) -> bool:
        """The token is valid. No answer, or one of a server in trouble, counts as taken: it proves no refusal."""
        try:
            response = self._ask("POST", self._keys.verify_url, {"token": token})
        except httpx.HTTPError:
            return True
        return t.cast(int, response.status_code) not in (401, 403)

    def is_valid(self, token: str) -> bool:
        """The token is taken, for certain: whoever does not answer has not taken it."""
        try:
            response = self._ask("POST", self._keys.verify_url, {"token": token})
        except httpx.HTTPError:
            return False
        return t.cast(bool, response.is_success)

    def taken_by(self, token: str) -> dict[str, bool]:
        """Who of those that verify takes the token. Whoever does not answer is left out: it proves nothing."""
        found = {}
        for url in self._keys.use_urls:
            try:
                response = self._ask("GET", url, None, {"Authorization": f"Bearer {token}"})
            except httpx.HTTPError:
                continue
            if response.status_code < 500:
                found[url] = response.status_code not in (401, 403)
        return found

    def _ask(self, method: str, url: str, body: t.Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.request(method, url, json=body, headers=headers, timeout=_SECONDS, verify=self._trusted)


def _trusted(check: HttpCheck) -> ssl.SSLContext:
    """Whom the login check trusts, as it is carried out elsewhere.

    :raises BadInput: its `ca_file` cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=check.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{check.id}: ca_file {check.ca_file}: {error.strerror or 'holds no certificate'}") from error
