# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who can read a snapshot or evidence: age recipients for writing, age identities for reading.

Writing needs public recipients only. The identity that reads belongs outside the blast radius: not on the
machines that are snapshotted, and on the controller only while something is restored, proven or looked at.
"""

from __future__ import annotations

import hashlib
import re
import stat
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

_LARGEST_KEY_FILE = 64 * 1024
_AGE_RECIPIENT = re.compile(r"\Aage1[0-9a-z]+\Z")


@dataclass(frozen=True)
class Recipients:
    """Public keys that everything is encrypted to.

    :param keys: as text, in a fixed order.
    """

    keys: tuple[str, ...]
    _parsed: tuple[t.Any, ...] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, values: Sequence[str], setting: str = "codeblue_snapshot_recipients") -> Recipients:
        """From a setting of the inventory.

        :param values: each an age recipient (`age1…`), an SSH public key, or the path of a file with one per
            line, where empty lines and lines that begin with # count for nothing.
        :param setting: its name, for errors.
        :raises BadInput: there is none, or one of them is not a public key.
        """
        keys: list[str] = []
        for value in values:
            if _AGE_RECIPIENT.match(value) or value.startswith("ssh-"):
                keys.append(value)
            else:
                keys.extend(_lines(Path(value), "recipients"))
        if not keys:
            raise BadInput(f"{setting} names nobody", "add an age recipient, as age-keygen prints it (age1…)")
        unique = tuple(sorted(set(keys)))
        return cls(unique, tuple(_parse_recipient(key) for key in unique))

    @property
    def fingerprint(self) -> str:
        """Tells one set of recipients from another."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()

    def encrypt(self, plaintext: bytes) -> bytes:
        """An age file that each of the recipients can read."""
        return t.cast(bytes, pyrage.encrypt(plaintext, self._parsed))

    def encrypt_stream(self, source: t.Any, target: t.Any) -> None:
        """As `encrypt`, block by block.

        :param source: has `read`.
        :param target: has `write` and `flush`.
        """
        pyrage.encrypt_io(source, target, self._parsed)


class Identity:
    """Private keys that read what was encrypted; never shown, never written.

    :param path: an age identity file, or an unencrypted SSH private key; readable by its owner alone.
    :raises BadInput: it is missing, open to others, or holds no key. Its content is never repeated.
    """

    def __init__(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise BadInput(f"identity {path}: {error.strerror}", "name the file that holds the age identity") from None
        if stat.S_IMODE(mode) & 0o077:
            raise BadInput(f"identity {path} can be read by others", f"chmod 600 {path}")
        text = "\n".join(_lines(path, "identity"))
        try:
            if "PRIVATE KEY-----" in text:
                self._parsed: list[t.Any] = [pyrage.ssh.Identity.from_buffer(path.read_bytes())]
            else:
                self._parsed = [pyrage.x25519.Identity.from_str(line) for line in text.splitlines()]
        except pyrage.IdentityError:
            # Neither the text nor the cause: both may repeat the key.
            raise BadInput(f"identity {path} is no age identity", "use a file that age-keygen made") from None
        if not self._parsed:
            raise BadInput(f"identity {path} is empty", "use a file that age-keygen made")
        self.path = path

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The plaintext.

        :raises CodeblueError: it was encrypted to others, or was altered.
        """
        try:
            return t.cast(bytes, pyrage.decrypt(ciphertext, self._parsed))
        except pyrage.DecryptError:
            raise CodeblueError(f"it cannot be decrypted with {self.path}: altered, or meant for others") from None

    def decrypt_stream(self, source: t.Any, target: t.Any) -> None:
        """As `decrypt`, block by block: what was written before an error is worthless.

        :param source: has `read`.
        :param target: has `write` and `flush`.
        :raises CodeblueError: it was encrypted to others, or was altered.
        """
        try:
            pyrage.decrypt_io(source, target, self._parsed)
        except pyrage.DecryptError:
            raise CodeblueError(f"it cannot be decrypted with {self.path}: altered, or meant for others") from None


def _parse_recipient(key: str) -> t.Any:
    try:
        if key.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(key)
        return pyrage.x25519.Recipient.from_str(key)
    except pyrage.RecipientError:
        if "SECRET" in key.upper():
            raise BadInput("a recipient is a secret key", "name the public one: age-keygen -y FILE") from None
        raise BadInput(f"recipient {key[:80]!r} is no public key of age", "write it as age-keygen prints it") from None


def _lines(path: Path, what: str) -> list[str]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_KEY_FILE + 1)
    except OSError as error:
        raise BadInput(f"{what} {path}: {error.strerror}", "check the path and its permissions") from None
    if len(content) > _LARGEST_KEY_FILE:
        raise BadInput(f"{what} {path} is larger than {_LARGEST_KEY_FILE} bytes", "point to the file with the keys")
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
