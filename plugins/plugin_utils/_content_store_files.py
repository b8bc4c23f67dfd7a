# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files of a store: written whole or not at all, locked against each other, errors in one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import typing as t
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused

# RLIMIT_FSIZE and quotas end a write in the same way as a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LARGEST_FILE = 256 * 1024 * 1024


def write_error(path: Path, error: OSError) -> CodeblueError:
    """What to say when something cannot be written."""
    if error.errno in _FULL:
        return CodeblueError(
            f"{path}: no space left", "free space or prune old snapshots; the snapshots that exist are untouched"
        )
    return CodeblueError(f"{path} cannot be written: {error.strerror}", "check the owner and mode of the directory")


def create_file(path: Path, content: bytes, mode: int, replace: bool = False, temporary: Path | None = None) -> None:
    """Write a file whole: temporary file, flush to disk, rename. The directory is flushed as well.

    :param replace: False leaves a file alone that exists already.
    :param temporary: directory for the temporary file on the same file system; None takes that of `path`.
    :raises CodeblueError: the disk is full or the directory not writable; nothing is left behind.
    """
    if place_file(path, (content,), mode, replace, temporary):
        sync_directory(path.parent)


def place_file(
    path: Path, pieces: t.Iterable[bytes], mode: int, replace: bool = False, temporary: Path | None = None
) -> bool:
    """As `create_file`, and the caller flushes the directory when it has placed all files.

    :return: False when the file was there already.
    """
    if not replace and path.exists():
        return False
    staged: str | None = None
    try:
        descriptor, staged = tempfile.mkstemp(prefix=f"{os.getpid()}-", dir=temporary or path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(staged).rename(path)
    except OSError as error:
        if staged is not None:
            # Whatever keeps it from being removed, what is to be told is why it was not written.
            with contextlib.suppress(OSError):
                Path(staged).unlink()
        raise write_error(path, error) from error
    return True


def read_file(path: Path) -> bytes:
    """A small file of the store whole.

    :raises CodeblueError: it is missing, unreadable or unreasonably large.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise CodeblueError(f"{path}: {error.strerror}", "check the path of the store and its permissions") from error
    if len(content) > _LARGEST_FILE:
        raise CodeblueError(f"{path} is larger than any file of a store")
    return content


def sync_directory(path: Path) -> None:
    """Flush a directory, so that the names in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StoreLock:
    """Writers and readers share a store; removing from it needs it alone.

    :param path: of the lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def shared(self, seconds: float) -> Iterator[None]:
        """Hold the store with others.

        :raises Refused: somebody is removing from it for longer than `seconds`.
        """
        with self._held(fcntl.LOCK_SH, seconds):
            yield

    @contextlib.contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Hold the store alone.

        :raises Refused: somebody uses it for longer than `seconds`.
        """
        with self._held(fcntl.LOCK_EX, seconds):
            yield

    @contextlib.contextmanager
    def _held(self, kind: int, seconds: float) -> Iterator[None]:
        # A reader may have no right to write the lock file; a lock needs none.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:

            def taken() -> bool:
                try:
                    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not Deadline(seconds).wait_until(taken, 0.05):
                raise Refused(f"the store {self._path.parent} is in use", "wait for the other snapshot or prune to end")
            yield
        finally:
            os.close(descriptor)
