# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The naming key of a store: what turns the content of an object into its name.

A plain hash of the content would tell anybody who sees the store whether it holds a file they know. The name
is therefore an HMAC. The key opens nothing: objects are encrypted to the recipients whether it is known or not.
It lies in a file of the writer's (so that equal content is stored once without any private key at hand) and,
encrypted to the recipients, in the store (so that readers can check the names).
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import (
    create_file,
    read_file,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients
from ulid import ULID

_KEY_BYTES = 32


@dataclass(frozen=True)
class NamingKey:
    """One naming key. Another set of recipients gets another one, and with it all objects anew.

    :param recipients: fingerprint of the recipients that the objects under it are encrypted to.
    """

    key_id: str
    recipients: str
    secret: bytes = field(repr=False)

    def name_of(self, content: bytes) -> str:
        """The name of an object: HMAC-SHA-256 of its content, in hexadecimal."""
        return hmac.new(self.secret, content, "sha256").hexdigest()

    def _to_bytes(self, store_id: str) -> bytes:
        values = {"store_id": store_id, "key_id": self.key_id, "recipients": self.recipients, "key": self.secret.hex()}
        return json.dumps(values).encode()


def default_key_file(store_id: str) -> Path:
    """Where a writer keeps the naming key of a store: with the state, never in the store."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "codeblue" / "stores" / f"{store_id}.key"


def key_for_writing(
    keys: Path, key_file: Path, store_id: str, recipients: Recipients, identity: Identity | None
) -> NamingKey:
    """The naming key for these recipients; made when there is none.

    A writer without its file and without an identity starts a new key: equal content is then stored once more.

    :param keys: directory in the store.
    :raises BadInput: the writer's file is damaged or belongs to another store.
    """
    known = _read_key_file(key_file, store_id)
    if known is not None and known.recipients == recipients.fingerprint and (keys / f"{known.key_id}.age").exists():
        return known
    if known is None and identity is not None:
        for path in sorted(keys.glob("*.age"), reverse=True):
            candidate = _decrypt(path, store_id, identity)
            if candidate.recipients == recipients.fingerprint:
                _write_key_file(key_file, candidate, store_id)
                return candidate
    made = NamingKey(str(ULID()), recipients.fingerprint, secrets.token_bytes(_KEY_BYTES))
    create_file(
        keys / f"{made.key_id}.age", recipients.encrypt(made._to_bytes(store_id)), 0o400, temporary=keys.parent / "tmp"
    )
    _write_key_file(key_file, made, store_id)
    return made


def key_for_reading(
    keys: Path, key_file: Path, store_id: str, key_id: str, identity: Identity | None
) -> NamingKey | None:
    """The naming key with this identifier; None when neither the file nor an identity gives it.

    :raises CodeblueError: the store's copy is missing or damaged.
    """
    known = _read_key_file(key_file, store_id)
    if known is not None and known.key_id == key_id:
        return known
    return None if identity is None else _decrypt(keys / f"{key_id}.age", store_id, identity)


def _decrypt(path: Path, store_id: str, identity: Identity) -> NamingKey:
    try:
        return _parse(identity.decrypt(read_file(path)), store_id)
    except (CodeblueError, ValueError) as error:
        reason = error.message if isinstance(error, CodeblueError) else "it is no naming key"
        raise CodeblueError(f"naming key {path}: {reason}", "use the identity of one of the recipients") from None


def _read_key_file(path: Path, store_id: str) -> NamingKey | None:
    if not path.exists():
        return None
    try:
        return _parse(read_file(path), store_id)
    except ValueError:
        raise BadInput(
            f"{path} is no naming key of this store", "move it away; equal content is then stored once more"
        ) from None


def _parse(content: bytes, store_id: str) -> NamingKey:
    values = json.loads(content)
    if not isinstance(values, dict) or values.get("store_id") != store_id:
        raise ValueError("another store")
    try:
        key = NamingKey(values["key_id"], values["recipients"], bytes.fromhex(values["key"]))
    except (KeyError, TypeError) as error:
        raise ValueError("incomplete") from error
    if len(key.secret) != _KEY_BYTES:
        raise ValueError("wrong length")
    return key


def _write_key_file(path: Path, key: NamingKey, store_id: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_file(path, key._to_bytes(store_id), 0o600, replace=True)
