# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A file that holds one secret: replaced at once, not readable by others, told apart by keyed digests only."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

_LARGEST_SECRET = 64 * 1024
_DIGEST_CHARACTERS = 12
SECRET, PUBLIC = "secret", "public"
KINDS = (SECRET, PUBLIC)
# Who may read it afterwards, of those who could before. A service without root reads its secret by its group.
_READERS = {SECRET: 0o040, PUBLIC: 0o044}


@dataclass(frozen=True)
class SecretFile:
    """What lies at the path now.

    :param content: None when there is no file.
    :param owner: user and group id of the file, else of its directory.
    """

    path: str
    content: t.Optional[bytes]
    mode: t.Optional[int]
    owner: t.Tuple[int, int]

    @classmethod
    def read(cls, path: str, directory_is_made: bool = False) -> SecretFile:
        """Look at the path.

        :param directory_is_made: a directory that is missing is no problem; `replace` makes it.
        :raises BadInput: it is not absolute, or no regular file.
        :raises CodeblueError: it is too large for a secret.
        """
        if not os.path.isabs(path):
            raise BadInput("path: %r is not absolute" % path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            directory = os.path.dirname(path)
            if directory_is_made and not os.path.isdir(directory):
                return cls(path, None, None, (os.geteuid(), os.getegid()))
            if not os.path.isdir(directory):
                raise BadInput(
                    "path: there is no directory %s" % directory, "the consumer's package makes it"
                ) from None
            parent = os.stat(directory)
            return cls(path, None, None, (parent.st_uid, parent.st_gid))
        except OSError as error:
            raise BadInput("path: %s: %s" % (path, error.strerror), "name the file itself, not a link to it") from error
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadInput("path: %s is no regular file" % path)
            content = stream.read(_LARGEST_SECRET + 1)
        if len(content) > _LARGEST_SECRET:
            raise CodeblueError("%s is larger than a secret" % path, "check the path")
        return cls(path, content, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))

    def describe(self, salt: str) -> t.Dict[str, t.Any]:
        """For results: never the value."""
        return {
            "exists": self.content is not None,
            "digest": None if self.content is None else secret_digest(self.content, salt),
            "mode": None if self.mode is None else "%04o" % self.mode,
        }

    def mode_for(self, kind: str) -> int:
        """Its owner reads and writes it; others read what they could read before, as far as the kind allows.

        :param kind: one of `KINDS`.
        """
        return 0o600 | ((self.mode or 0) & _READERS[kind])

    def replace(self, content: bytes, keep_previous: bool, kind: str = SECRET) -> None:
        """Write the new content, with the same owner.

        :param keep_previous: the earlier content stays beside it in <path>.previous.
        """
        owner = None if os.geteuid() != 0 else self.owner
        _make_directories(os.path.dirname(self.path))
        if keep_previous and self.content is not None and self.content != content:
            write_file(self.path + ".previous", self.content, 0o600, owner)
        write_file(self.path, content, self.mode_for(kind), owner)


def _make_directories(path: str) -> None:
    """Missing ones, for nobody but the owner. `os.makedirs` gives its mode to the last one only."""
    if not os.path.isdir(path):
        _make_directories(os.path.dirname(path))
        os.mkdir(path, 0o700)


def secret_digest(content: bytes, salt: str) -> str:
    """Twelve characters by which two secrets can be told apart within one run, and by which neither can be guessed
    without the salt."""
    return hmac.new(salt.encode(), content, hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]
