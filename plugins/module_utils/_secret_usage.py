# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which files hold the same secret, told by keyed digests: no value leaves the machine."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._secret_file import secret_digest

_LARGEST_FILE = 64 * 1024
_MOST_FILES = 5000
_MOST_BYTES = 64 * 1024 * 1024
_DEEPEST = 8
# Anything shorter is no secret, and stands in files by accident.
_SHORTEST = 12
# A secret stands alone, in a line of its own, or in a line with other things: key=value, a quoted text, a URL.
_PIECES = re.compile(rb"[^\s\"'=:@,;]+")
_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----\s+(.+?)\s+-----END [A-Z ]+-----", re.DOTALL)


def secrets_in(content: bytes, pattern: t.Optional[str]) -> t.Set[bytes]:
    """The secrets that a consumer's file holds.

    :param pattern: a regular expression whose group `password` is the secret; None for keys, one a line, or PEM.
    :raises BadInput: the pattern is none.
    """
    if pattern is not None:
        try:
            found = re.search(pattern.encode(), content.strip())
        except re.error as error:
            raise BadInput("files: pattern: %s" % error) from error
        return set() if found is None else {found.group("password")}
    bodies = [b"".join(body.split()) for body in _PEM.findall(content)]
    return {each for each in bodies or content.split() if len(each) >= _SHORTEST}


def pieces_of(content: bytes) -> t.Set[bytes]:
    """Whatever in a file could be a secret."""
    found = {b"".join(body.split()) for body in _PEM.findall(content)}
    found.update(line.strip() for line in content.splitlines())
    found.update(_PIECES.findall(content))
    return {each for each in found if len(each) >= _SHORTEST}


def held_digests(files: t.Sequence[t.Mapping[str, t.Any]], salt: str) -> t.Dict[str, t.List[str]]:
    """For each file that can be read, the digests of its secrets."""
    found = {}
    for each in files:
        content = _read(each["path"])
        if content is not None:
            found[each["path"]] = sorted(secret_digest(value, salt) for value in secrets_in(content, each["pattern"]))
    return found


def find_holders(
    directories: t.Sequence[str], known: t.Collection[str], salt: str, deadline: Deadline
) -> t.Tuple[t.Dict[str, t.List[str]], t.List[str]]:
    """The files below the directories that hold one of the known secrets, and the directories not seen whole."""
    wanted = set(known)
    found: t.Dict[str, t.List[str]] = {}
    cut: t.List[str] = []
    for directory in directories:
        files = size = 0
        for path in _walk(directory):
            content = _read(path) or b""
            files, size = files + 1, size + len(content)
            if files > _MOST_FILES or size > _MOST_BYTES or deadline.remaining() <= 0:
                cut.append(directory)
                break
            matching = wanted & {secret_digest(piece, salt) for piece in pieces_of(content)}
            if matching:
                found[path] = sorted(matching)
    return found, cut


def _walk(directory: str) -> t.Iterator[str]:
    depth = directory.rstrip("/").count("/")
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(folders) if place.count("/") - depth < _DEEPEST else []
        for name in sorted(names):
            yield os.path.join(place, name)


def _read(path: str) -> t.Optional[bytes]:
    """The content of a regular file of the size that a secret's file has; None for all else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        # Gone meanwhile, a link, or not for this user: the caller is told which files were read.
        return None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
            return None
        return stream.read(_LARGEST_FILE)
