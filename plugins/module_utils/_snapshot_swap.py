# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts restored files into their place in one step each, and can put the earlier ones back.

The kernel exchanges two names at once (renameat2), so that nobody ever sees the place empty. What is to happen
is on disk before it happens: after a crash the journal says what to put back.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, NotLeftSafe

# linux/fs.h and fcntl.h
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LARGEST_JOURNAL = 4 * 1024 * 1024


@dataclass(frozen=True)
class Swap:
    """One place.

    :param place: what is replaced, or made when it does not exist.
    :param staged: the new state, on the same file system; afterwards it holds the earlier one.
    :param earlier: inode of the earlier state, None when there was none. Names are exchanged and inodes are not:
        they tell what happened to a swap that a crash cut short.
    :param restored: inode of the new state.
    """

    place: str
    staged: str
    earlier: t.Optional[int]
    restored: int


class SwapJournal:
    """What was, or is being, put into place.

    :param path: of the journal file; it stays until `undo` or `forget`.
    """

    def __init__(self, path: str, swaps: t.Sequence[Swap]) -> None:
        self.path = path
        self.swaps = tuple(swaps)

    @classmethod
    def load(cls, path: str) -> SwapJournal:
        """:raises BadInput: there is none; it was undone or forgotten already."""
        try:
            with open(path, "rb") as stream:
                values = json.loads(stream.read(_LARGEST_JOURNAL).decode())
            return cls(path, [Swap(**value) for value in values])
        except FileNotFoundError:
            raise BadInput("%s does not exist" % path, "it was undone or forgotten already") from None
        except (ValueError, TypeError) as error:
            raise CodeblueError("%s is damaged" % path, "put the earlier files back by hand") from error

    def undo(self) -> None:
        """Put the earlier state back, in reverse order, and remove what had been restored.

        Run again after a crash it goes on: a swap that was not made, or is undone, is recognized by what is there.

        :raises NotLeftSafe: a place cannot be put back.
        """
        for swap in reversed(self.swaps):
            try:
                _swap_back(swap)
            except OSError as error:
                raise NotLeftSafe(
                    "%s cannot be put back: %s" % (swap.place, error.strerror), "its earlier state is %s" % swap.staged
                ) from error
        self.forget()

    def forget(self) -> None:
        """Give the earlier state up."""
        for swap in self.swaps:
            _remove(swap.staged)
        if os.path.lexists(self.path):
            os.unlink(self.path)


def swap_in(journal_path: str, places: t.Mapping[str, str]) -> SwapJournal:
    """Put new states into place, all or none.

    :param places: place to staged path; both in the same directory or at least the same file system.
    :return: the journal, for undoing it later.
    :raises CodeblueError: one of them cannot be put into place; those before it were put back.
    """
    swaps = []
    for place, staged in places.items():
        restored = _inode(staged)
        if restored is None:
            raise CodeblueError("%s is missing: nothing was put into place" % staged)
        swaps.append(Swap(place, staged, _inode(place), restored))
    if os.path.lexists(journal_path):
        raise BadInput("%s exists: an earlier restore was neither undone nor kept" % journal_path, "undo or forget it")
    write_file(journal_path, json.dumps([asdict(swap) for swap in swaps]).encode())
    journal = SwapJournal(journal_path, swaps)
    for swap in swaps:
        try:
            if swap.earlier is not None:
                _exchange(swap.staged, swap.place)
            else:
                os.rename(swap.staged, swap.place)
            sync_directory(os.path.dirname(swap.place))
        except OSError as error:
            journal.undo()
            raise CodeblueError(
                "%s cannot be replaced: %s" % (swap.place, error.strerror), "everything is as it was before"
            ) from error
    return journal


def _swap_back(swap: Swap) -> None:
    if swap.earlier is None:
        if _inode(swap.place) == swap.restored:
            _remove(swap.place)
    elif _inode(swap.place) != swap.earlier:
        if _inode(swap.staged) != swap.earlier:
            raise FileNotFoundError(errno.ENOENT, "its earlier state is gone", swap.place)
        if _inode(swap.place) is None:
            os.rename(swap.staged, swap.place)
        else:
            _exchange(swap.staged, swap.place)
    sync_directory(os.path.dirname(swap.place))


def _inode(path: str) -> t.Optional[int]:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def _exchange(one: str, other: str) -> None:
    """Exchange two names at once.

    :raises OSError: the kernel or the file system cannot (EINVAL, ENOSYS), or a name is missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "this C library has no renameat2", one)
    failed = libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
