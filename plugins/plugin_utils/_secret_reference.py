# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A secret in an inventory is a reference; its value exists in memory only, while it is used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# A secret is a line, not a document: a reference to a log or a device is a mistake.
LARGEST_SECRET = 64 * 1024
_VARIABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class SecretReference:
    """Where a secret is kept on the controller: `file:/path` or `env:NAME`. Safe to print."""

    scheme: str
    place: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}"

    def resolve(self) -> str:
        """The secret, without the newline at its end. Keep it in a local variable and nowhere else.

        :raises BadInput: it cannot be read, is empty or too large. The message names the reference only.
        """
        value = self._from_environment() if self.scheme == "env" else self._from_file()
        if not value:
            raise BadInput(f"secret {self}: is empty", "write the secret there")
        return value

    def _from_environment(self) -> str:
        value = os.environ.get(self.place)
        if value is None:
            raise BadInput(f"secret {self}: the variable is not set", f"export {self.place} before you start")
        return value

    def _from_file(self) -> str:
        path = Path(self.place)
        try:
            # A pipe would be waited for, so only regular files are read.
            if not path.is_file():
                raise BadInput(f"secret {self}: there is no such file", "write the secret to it, mode 0600")
            with path.open("rb") as file:
                content = file.read(LARGEST_SECRET + 1)
        except OSError as error:
            raise BadInput(
                f"secret {self}: {error.strerror or 'cannot be read'}", "check the owner and mode of the file"
            ) from None
        if len(content) > LARGEST_SECRET:
            raise BadInput(f"secret {self}: is larger than {LARGEST_SECRET} bytes", "point to the secret alone")
        try:
            return content.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise BadInput(f"secret {self}: is not UTF-8 text", "point to the secret alone") from None


def parse_secret_reference(text: str, name: str = "secret") -> SecretReference:
    """The reference.

    :param name: the key that is named when it is wrong. What was written is not repeated: people paste secrets.
    :raises BadInput: it is no reference.
    """
    scheme, colon, place = text.partition(":")
    if colon and scheme == "file" and place.startswith("/"):
        return SecretReference("file", "".join(place))
    if colon and scheme == "env" and _VARIABLE.match(place):
        return SecretReference("env", "".join(place))
    raise BadInput(
        f"{name}: is no reference to a secret",
        "write file:/absolute/path or env:NAME; a secret itself never stands in an inventory",
    )
