# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Release directories: releases/<version>/, a symbolic link `current`, and a history of what was current when."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import (
    append_line,
    read_tail,
    sync_directory,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused

MANIFEST = "MANIFEST.sha256"

_VERSION = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")
_LINE = re.compile(r"\A([0-9a-f]{64}) [ *](.+)\Z")
# What a running release adds to its own directory.
_BYPRODUCTS = frozenset(("__pycache__",))
_HISTORY_BYTES = 256 * 1024
_LONGEST_NEED = 4096
LARGEST_MANIFEST = 32 * 1024 * 1024


class ReleaseRoot:
    """One service's releases on one machine.

    :raises BadInput: the path is not absolute or no directory.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path) or not os.path.isdir(path):
            raise BadInput("release_root: %r is no directory on this machine" % path)
        self.path = path

    def release(self, version: str) -> str:
        """Directory of a version.

        :raises BadInput: the version is not written like one.
        """
        if not _VERSION.match(version):
            raise BadInput("version: %r is no version" % version, "use letters, digits, . _ + -")
        return os.path.join(self.path, "releases", version)

    def current(self) -> t.Optional[str]:
        """The version that `current` points to, or None.

        :raises CodeblueError: `current` is no link into releases/.
        """
        link = os.path.join(self.path, "current")
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CodeblueError("%s is no symbolic link" % link, "move it aside") from error
        absolute = os.path.normpath(os.path.join(self.path, target))
        if os.path.dirname(absolute) != os.path.join(os.path.normpath(self.path), "releases"):
            raise CodeblueError("%s points to %s, outside releases/" % (link, target), "point it to releases/<version>")
        return os.path.basename(absolute)

    def available(self) -> t.List[str]:
        """All versions in releases/, by name."""
        directory = os.path.join(self.path, "releases")
        if not os.path.isdir(directory):
            return []
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and _VERSION.match(entry.name))

    def history(self, most: int) -> t.List[t.Dict[str, t.Any]]:
        """What was current, newest first; damaged lines are left out."""
        path = os.path.join(self.path, "history.jsonl")
        if not os.path.exists(path):
            return []
        entries = []
        for line in reversed(read_tail(path, _HISTORY_BYTES).decode(errors="replace").splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "version" in entry:
                entries.append(entry)
            if len(entries) >= most:
                break
        return entries

    def needs(self, version: str, name: str) -> t.Optional[str]:
        """The newest schema migration that a version needs, as a file in it says; None when it says nothing.

        :raises BadInput: the name leads out of the release.
        """
        if os.path.isabs(name) or os.path.normpath(name).startswith(".."):
            raise BadInput("needs_file: %r is no file inside of a release" % name)
        try:
            with open(os.path.join(self.release(version), name), encoding="utf-8", errors="replace") as stream:
                words = stream.read(_LONGEST_NEED).split()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return words[0] if words and _VERSION.match(words[0]) else None

    def verify(self, version: str, manifest_required: bool, manifest_sha256: t.Optional[str]) -> int:
        """Read every file of a release and compare it with the manifest; how many files were compared.

        :param manifest_required: a release without a manifest is refused.
        :param manifest_sha256: what the manifest itself must hash to, as its publisher said.
        :raises Refused: the release is missing, incomplete, altered or has files too many.
        """
        directory = self.release(version)
        if not os.path.isdir(directory):
            raise Refused(
                "there is no release %s in %s" % (version, os.path.join(self.path, "releases")),
                "there are: %s" % (", ".join(self.available()) or "none"),
            )
        path = os.path.join(directory, MANIFEST)
        if not os.path.exists(path):
            if manifest_required or manifest_sha256:
                raise Refused("release %s has no %s" % (version, MANIFEST), "make it with sha256sum when releasing")
            return 0
        with open(path, "rb") as stream:
            content = stream.read(LARGEST_MANIFEST)
        if manifest_sha256 and hashlib.sha256(content).hexdigest() != manifest_sha256.lower():
            raise Refused("the manifest of release %s is not the one that was published" % version, "release it anew")
        listed = manifest_files(content, path)
        for relative, digest in sorted(listed.items()):
            if file_digest(os.path.join(directory, relative)) != digest:
                raise Refused("release %s: %s is missing or was altered" % (version, relative), "release it anew")
        added = sorted(set(files_of(directory)) - set(listed) - {MANIFEST})
        if added:
            raise Refused("release %s: %s is not in its manifest" % (version, added[0]), "find out who put it there")
        return len(listed)

    def switch(self, version: str, note: t.Mapping[str, t.Any]) -> None:
        """Point `current` to the version at once and write it into the history.

        :param note: further keys of the history's entry; no secrets.
        """
        previous = self.current()
        temporary = os.path.join(self.path, ".current.%d" % os.getpid())
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(os.path.join("releases", version), temporary)
        os.replace(temporary, os.path.join(self.path, "current"))
        sync_directory(self.path)
        self.record(version, previous, note)

    def record(self, version: str, previous: t.Optional[str], note: t.Mapping[str, t.Any]) -> None:
        """Append to the history, flushed to disk."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        entry = {**note, "deployed_at": now, "version": version, "previous": previous}
        append_line(os.path.join(self.path, "history.jsonl"), json.dumps(entry, sort_keys=True), 0o644)


def manifest_files(content: bytes, path: str) -> t.Dict[str, str]:
    """File to digest, as the lines of `sha256sum` say.

    :param path: of the manifest, for what is wrong with it.
    :raises Refused: a line is none of sha256sum, or names a file outside the release.
    """
    listed = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        match = _LINE.match(line)
        relative = os.path.normpath(match.group(2)) if match else ""
        if match is None or os.path.isabs(relative) or relative.startswith(".."):
            raise Refused("%s:%d is no line of sha256sum" % (path, number), "release it anew")
        listed[relative] = match.group(1)
    return listed


def files_of(directory: str) -> t.Iterator[str]:
    """Every file of a release, relative; what it makes itself when it runs is left out."""
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _BYPRODUCTS]
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), directory)


def file_digest(path: str) -> t.Optional[str]:
    """SHA-256 in hexadecimal; None when there is no such file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return digest.hexdigest()
