# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copies of a chain's head in places that whoever writes the record cannot rewrite.

CODEBLUE_ANCHORS lists them, separated by blanks: `file:/path` (a line is appended), `syslog:` or `syslog:/socket`
(the local log), `git:/path-or-remote` (a commit per head). The first two take no time and get a head at once,
the last one is left to the outbox.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

_PASSWORD_IN_URL = re.compile(r"[a-z+]+://[^/@:]*:[^/@]*@")
_SYSLOG_SOCKET = "/dev/log"
_SYSLOG_SECONDS = 0.5
# Facility authpriv, severity notice (RFC 5424, 6.2.1).
_SYSLOG_PRIORITY = 10 * 8 + 5


class AnchorFailed(CodeblueError):
    """A head could not be copied to this place; it is tried again later."""


@dataclass(frozen=True)
class Anchor:
    """One place for heads."""

    scheme: str
    place: str

    @property
    def name(self) -> str:
        """Names the place without giving it away."""
        return f"{self.scheme}-{hashlib.sha256(self.place.encode()).hexdigest()[:12]}"

    @property
    def quick(self) -> bool:
        return self.scheme in ("file", "syslog")

    def copy(self, head: Mapping[str, t.Any]) -> None:
        """Put the head there. Doing so twice is harmless.

        :raises AnchorFailed: it could not be put there.
        """
        line = json.dumps(head, sort_keys=True)
        try:
            if self.scheme == "file":
                append_line(Path(self.place), line)
            elif self.scheme == "syslog":
                _log(self.place or _SYSLOG_SOCKET, line)
            else:
                from ansible_collections.codeblue.recovery.plugins.plugin_utils._anchors_git import commit_head

                commit_head(self.place, head)
        except OSError as error:
            raise AnchorFailed(f"{self.scheme}: anchor failed: {error.strerror or error}") from error


def parse_anchors(text: str) -> list[Anchor]:
    """The anchors in a list separated by blanks.

    :raises BadInput: one of them is of no known kind, or holds a password.
    """
    anchors = []
    for entry in text.split():
        scheme, colon, place = entry.partition(":")
        if not colon or scheme not in ("file", "git", "syslog") or (scheme != "syslog" and not place):
            raise BadInput(
                f"CODEBLUE_ANCHORS: {scheme}: is no anchor", "use file:/path, git:/path-or-remote or syslog:"
            )
        if scheme == "git" and _PASSWORD_IN_URL.match(place):
            raise BadInput("CODEBLUE_ANCHORS: a git anchor holds a password", "use ssh or a credential helper")
        anchors.append(Anchor(scheme, place))
    return anchors


def copy_head_at_once(anchors: Sequence[Anchor], head: Mapping[str, t.Any]) -> tuple[dict[str, str], bool]:
    """Copy a head to the quick ones of the anchors.

    :returns: anchor name -> `copied`, and whether none is left.
    """
    receipts = {}
    for anchor in anchors:
        if anchor.quick:
            # What fails here stays in the outbox and is tried again from there.
            with contextlib.suppress(AnchorFailed):
                anchor.copy(head)
                receipts[anchor.name] = "copied"
    return receipts, len(receipts) == len(anchors)


def append_line(path: Path, line: str) -> None:
    """Append a line and flush it to disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        # One write: lines of several processes do not mix.
        os.write(handle, (line + "\n").encode("utf-8"))
        os.fsync(handle)
    finally:
        os.close(handle)


def _log(place: str, line: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.settimeout(_SYSLOG_SECONDS)
        log.connect(place)
        log.send(f"<{_SYSLOG_PRIORITY}>codeblue[{os.getpid()}]: {line}".encode())
