# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts the pieces that a machine sends together to the stream that they are parts of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import typing as t
import zlib
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_pieces import LARGEST_PIECE_BYTES

# A piece may be larger than it was asked to be by the head of one entry.
_MOST_BYTES = LARGEST_PIECE_BYTES + 1024 * 1024


class PieceStream(io.RawIOBase):
    """A readable stream over `file_read_stream`; give it to `SnapshotWriter.add_tar`.

    :param fetch: runs the module with a cursor (None for the first piece) and returns its result.
    """

    def __init__(self, fetch: Callable[[str | None], Mapping[str, t.Any]]) -> None:
        self._fetch = fetch
        self._cursor: str | None = None
        self._buffer = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: t.Any) -> int:
        while not self._buffer and not self._ended:
            self._next()
        count = min(len(target), len(self._buffer))
        target[:count] = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return count

    def _next(self) -> None:
        answer = self._fetch(self._cursor)
        try:
            unpack = zlib.decompressobj()
            content = unpack.decompress(base64.b64decode(answer["content"], validate=True), _MOST_BYTES)
        except (binascii.Error, zlib.error, KeyError) as error:
            raise CodeblueError("a piece of the stream is damaged") from error
        if not unpack.eof or hashlib.sha256(content).hexdigest() != answer["sha256"]:
            raise CodeblueError("a piece of the stream is damaged")
        if answer["cursor"] is not None and answer["cursor"] == self._cursor:
            raise CodeblueError("the machine sent the same piece of the stream twice")
        self._buffer = memoryview(content)
        self._cursor = answer["cursor"]
        self._ended = self._cursor is None


def tar_stream(fetch: Callable[[str | None], Mapping[str, t.Any]]) -> io.BufferedReader:
    """The stream as `SnapshotWriter.add_tar` reads it."""
    return io.BufferedReader(PieceStream(fetch), 1024 * 1024)
