# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Walks a directory for a snapshot, in a fixed order, without ever following a symlink."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError


@dataclass(frozen=True)
class Found:
    """Something below the root.

    :param path: relative to the root.
    """

    path: str
    source: Path
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)


def walk_tree(root: Path, includes: Sequence[str] = (), excludes: Sequence[str] = ()) -> Iterator[Found]:
    """Everything below the root, a directory before what is in it, names sorted by their bytes.

    :param includes: relative paths of files and directories; nothing means all. Their parents come along.
    :param excludes: shell patterns over relative paths; what lies in an excluded directory is left out with it.
    :raises BadInput: the root is no directory, or an included path does not exist.
    :raises CodeblueError: something cannot be read.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is not a directory", "check the path that is to be snapshotted")
    wanted = [_clean(include) for include in includes]
    for include in wanted:
        if not os.path.lexists(root / include):
            raise BadInput(f"{root / include} does not exist", "remove it from the list of what is snapshotted")
    yield from _walk(root, "", wanted, excludes)


def _walk(root: Path, relative: str, wanted: Sequence[str], excludes: Sequence[str]) -> Iterator[Found]:
    directory = root / relative if relative else root
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)  # noqa: PTH208 - names, not paths, are sorted
    except OSError as error:
        raise CodeblueError(f"{directory} cannot be read: {error.strerror}", "run as a user who may") from error
    for name in names:
        path = f"{relative}/{name}" if relative else name
        if not _is_wanted(path, wanted) or any(fnmatch.fnmatchcase(path, pattern) for pattern in excludes):
            continue
        try:
            found = Found(path, root / path, (root / path).lstat())
        except FileNotFoundError:
            continue  # it was removed since the directory was read, and a moment later it would not have been seen
        yield found
        if found.is_directory:
            yield from _walk(root, path, wanted, excludes)


def _is_wanted(path: str, wanted: Sequence[str]) -> bool:
    """The path is included, lies in what is included, or leads to it."""
    return not wanted or any(
        path == item or path.startswith(item + "/") or item.startswith(path + "/") for item in wanted
    )


def _clean(include: str) -> str:
    parts = [part for part in include.split("/") if part not in ("", ".")]
    if include.startswith("/") or ".." in parts or not parts:
        raise BadInput(f"include {include!r} is not a path below the root", "write it relative to the root")
    return "/".join(parts)
