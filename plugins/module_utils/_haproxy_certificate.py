# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A certificate of HAProxy: the file that it reads at its start, and the one that the running process shows."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._haproxy import HaproxyRuntime

_FIELD = re.compile(r"^([A-Za-z ]+): (.*)$")
_LARGEST = 256 * 1024


class LoadedCertificate:
    """One certificate file that the running HAProxy knows.

    :param path: as its configuration names it.
    :raises BadInput: it is no path that can be said over the socket.
    """

    def __init__(self, runtime: HaproxyRuntime, path: str) -> None:
        # The socket divides its words by blanks and its commands by semicolons.
        if not path.startswith("/") or any(character in " ;\\\n\t" for character in path):
            raise BadInput("file: %r is no absolute path without blanks, semicolons and backslashes" % path)
        self._runtime = runtime
        self._path = path

    def describe(self) -> t.Dict[str, t.Any]:
        """What is shown to clients now: its serial number and its time; no secret is among it.

        :raises CodeblueError: HAProxy does not know the file.
        """
        found = (_FIELD.match(line) for line in self._ask().splitlines())
        fields = {match.group(1): match.group(2) for match in found if match is not None}
        if "Serial" not in fields:
            raise CodeblueError(
                "HAProxy has loaded no certificate from %s" % self._path, "see: show ssl cert, at its runtime socket"
            )
        return {"serial": fields["Serial"].lstrip("0") or "0", "not_after": fields.get("notAfter", "")}

    def replace(self, bundle: str) -> None:
        """Give the running process the new one. Connections that are open go on with the old one.

        :raises CodeblueError: HAProxy refuses it; it goes on as before.
        """
        # The payload ends with an empty line, so it must not hold one.
        payload = "\n".join(line for line in bundle.splitlines() if line.strip())
        answer = self._runtime.ask("set ssl cert %s <<\n%s\n" % (self._path, payload))
        if "ransaction" not in answer:
            raise CodeblueError("HAProxy does not take the new certificate for %s" % self._path, "look at its log")
        answer = self._runtime.ask("commit ssl cert %s" % self._path)
        if "uccess" not in answer:
            self._runtime.ask("abort ssl cert %s" % self._path)
            raise CodeblueError("HAProxy does not commit the new certificate for %s" % self._path, "look at its log")

    def _ask(self) -> str:
        return self._runtime.ask("show ssl cert %s" % self._path)


def holds(path: str, bundle: str) -> bool:
    """The file holds this very certificate.

    :raises BadInput: it is no regular file.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        raise BadInput("file: %s is no regular file of a certificate" % path)
    with open(path, "rb") as stream:
        return stream.read() == bundle.encode()


def write_bundle(path: str, bundle: str) -> None:
    """Replace the file; it keeps its owner, and its group reads it where it could before."""
    status = os.stat(path if os.path.exists(path) else os.path.dirname(path))
    mode = 0o600 | (status.st_mode & 0o040 if stat.S_ISREG(status.st_mode) else 0)
    owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    write_file(path, bundle.encode(), mode, owner)
