# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The key that signs the record: made at first use, readable by this account only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import is_disk_failure, private_dir
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


class LedgerKey:
    """An Ed25519 key.

    :ivar key_id: the SHA-256 of the raw public key, in hex.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(raw).hexdigest()

    @classmethod
    def at(cls, path: Path) -> LedgerKey:
        """The key in this file, made if missing; the public half is written beside it as `.pub`.

        :raises StoreUnavailable: it cannot be read or made, or others could read it.
        """
        try:
            if not path.exists():
                _make(path)
            found = path.stat()
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise StoreUnavailable(f"{path} can be read by others", f"chmod 600 {path}, and think of a new key")
            private = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise StoreUnavailable(
                f"{path}: the ledger's key cannot be used: {getattr(error, 'strerror', None) or error}",
                "put back the key from its copy, or move the file away to have a new one made",
                disk_failure=is_disk_failure(error),
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise StoreUnavailable(f"{path} is not an Ed25519 key", "move it away to have a new one made")
        return cls(private)

    @property
    def public_pem(self) -> str:
        """The public key, to be pinned by whoever verifies."""
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def sign(self, message: bytes) -> str:
        """The signature in hex."""
        return self._private.sign(message).hex()


def _make(path: Path) -> None:
    private_dir(path.parent)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-key-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would replace: of two processes that start at once, one key stays.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
            public = Path(f"{path}.pub")
            public.write_text(LedgerKey(key).public_pem, encoding="ascii")
    finally:
        Path(name).unlink()
