# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that are either as before or as wanted after a crash, never something between."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError


def write_file(
    path: str,
    content: bytes,
    mode: int = 0o600,
    owner: t.Optional[t.Tuple[int, int]] = None,
) -> None:
    """Replace a file by a new one with this content, through a temporary file beside it.

    :param mode: permissions of the new file; it never exists with wider ones.
    :param owner: user and group id; None keeps those of this process.
    :raises CodeblueError: the directory is missing, not writable or full.
    """
    directory = os.path.dirname(path) or "."
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=directory)
    except OSError as error:
        raise CodeblueError("%s cannot be written: %s" % (path, error.strerror)) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), owner[0], owner[1])
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise CodeblueError("%s cannot be written: %s" % (path, error.strerror)) from error
    sync_directory(directory)


def sync_directory(directory: str) -> None:
    """Flush a directory, so that a rename in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: str, line: str, mode: int = 0o600) -> None:
    """Append one line and flush it to disk. A torn last line of an earlier crash is ended first.

    :raises CodeblueError: the file cannot be written.
    """
    try:
        created = not os.path.exists(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + line.encode() + b"\n"
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise CodeblueError("%s cannot be written: %s" % (path, error.strerror)) from error


def read_tail(path: str, most_bytes: int) -> bytes:
    """The last bytes of a file, at most so many.

    :raises OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - most_bytes))
        return stream.read(most_bytes)
