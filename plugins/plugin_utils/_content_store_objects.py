# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The objects of a store: pieces of files, compressed, encrypted, named after their content.

    objects/<first two digits>/<name>
        8 bytes   magic
        8 bytes   length of what follows the head, big endian
        32 bytes  SHA-256 of what follows the head
        …         an age file; inside it a zstandard frame; inside it the content

The digest in the head finds a decayed disk without any key. A person without this program gets at the content
by `tail -c +49 OBJECT | age -d -i IDENTITY | zstd -d`.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import zstandard
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import (
    place_file,
    read_file,
    sync_directory,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_keys import NamingKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients

_MAGIC = b"cbobj\x00\x00\x01"
_HEAD = struct.Struct(">8sQ32s")
# Each worker holds one piece in memory in up to three forms.
WORKERS = 4
_COMPRESSION_LEVEL = 3


class Objects:
    """Reads and writes the objects below one directory.

    :param temporary: directory on the same file system for files that are being written.
    :param chunk_bytes: the largest content of one object.
    """

    def __init__(self, directory: Path, temporary: Path, chunk_bytes: int) -> None:
        self.directory = directory
        self._temporary = temporary
        self._chunk_bytes = chunk_bytes

    def path_of(self, name: str) -> Path:
        """Where an object lies, or would."""
        return self.directory / name[:2] / name

    def is_whole(self, name: str) -> bool:
        """The object is there and as long as its head says. Its content is not read."""
        path = self.path_of(name)
        try:
            size = path.stat().st_size
            with path.open("rb") as stream:
                magic, length, _digest = _HEAD.unpack(stream.read(_HEAD.size))
        except (FileNotFoundError, struct.error):
            return False
        return magic == _MAGIC and size == _HEAD.size + length

    def write(self, name: str, content: bytes, recipients: Recipients) -> int:
        """Store content under its name, replacing an object that is not whole.

        :return: bytes that were added on disk.
        :raises CodeblueError: it cannot be written; nothing of it is left behind.
        """
        compressed = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(content)
        sealed = recipients.encrypt(compressed)
        head = _HEAD.pack(_MAGIC, len(sealed), hashlib.sha256(sealed).digest())
        place_file(self.path_of(name), (head, sealed), 0o400, replace=True, temporary=self._temporary)
        return len(head) + len(sealed)

    def read_stored(self, name: str) -> bytes:
        """The encrypted form, compared with the digest in its head.

        :raises CodeblueError: it is missing or decayed.
        """
        path = self.path_of(name)
        if not path.exists():
            raise CodeblueError(f"object {name} is missing")
        stored = read_file(path)
        try:
            magic, length, digest = _HEAD.unpack_from(stored)
        except struct.error:
            raise CodeblueError(f"object {name} is cut off") from None
        sealed = memoryview(stored)[_HEAD.size :]
        if magic != _MAGIC or length != len(sealed) or hashlib.sha256(sealed).digest() != digest:
            raise CodeblueError(f"object {name} is damaged")
        return bytes(sealed)

    def read(self, name: str, identity: Identity, key: NamingKey | None) -> bytes:
        """The content, compared with its name.

        :raises CodeblueError: it is missing, decayed, forged, or meant for others.
        """
        sealed = self.read_stored(name)
        try:
            compressed = identity.decrypt(sealed)
            # A forged frame could announce any size, and memory would be taken for it.
            if zstandard.get_frame_parameters(compressed).content_size > self._chunk_bytes:
                raise CodeblueError("it is larger than the store's pieces")
            content = zstandard.ZstdDecompressor().decompress(compressed, max_output_size=self._chunk_bytes)
        except zstandard.ZstdError:
            raise CodeblueError(f"object {name} does not decompress") from None
        except CodeblueError as error:
            raise CodeblueError(f"object {name}: {error.message}") from None
        if key is not None and key.name_of(content) != name:
            raise CodeblueError(f"object {name} holds another content than its name says")
        return content

    def names(self) -> Iterator[str]:
        """All objects on disk, in no order."""
        for directory in sorted(self.directory.iterdir()):
            for path in directory.iterdir():
                yield path.name


class ObjectWriter:
    """Writes many objects at once in a few threads. Memory stays at a few pieces.

    :param key: names the objects.
    """

    def __init__(self, objects: Objects, key: NamingKey, recipients: Recipients) -> None:
        self._objects = objects
        self._key = key
        self._recipients = recipients
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._touched: set[Path] = set()
        self._slots = threading.BoundedSemaphore(2 * WORKERS)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="snapshot")
        self._failed: BaseException | None = None
        self.stored_bytes = 0

    @property
    def names(self) -> frozenset[str]:
        """All objects that were asked for so far, whether they were new or not."""
        with self._lock:
            return frozenset(self._names)

    def put(self, content: bytes) -> Future[str]:
        """Store a piece of content; gives its name. Waits while too many pieces are under way.

        :raises CodeblueError: an earlier piece could not be written.
        """
        if self._failed is not None:
            raise self._failed
        self._slots.acquire()
        try:
            future = self._pool.submit(self._store, content)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(self._settled)
        return future

    def _settled(self, future: Future[str]) -> None:
        self._slots.release()
        if not future.cancelled() and future.exception() is not None:
            self._failed = future.exception()

    def _store(self, content: bytes) -> str:
        name = self._key.name_of(content)
        with self._lock:
            if name in self._names:
                return name
            self._names.add(name)
        added = 0
        if not self._objects.is_whole(name):
            added = self._objects.write(name, content, self._recipients)
        with self._lock:
            self.stored_bytes += added
            # Also when it was there: another writer may have placed it and not flushed its directory yet.
            self._touched.add(self._objects.path_of(name).parent)
        return name

    def flush(self) -> None:
        """Wait until everything is on disk under its name.

        :raises CodeblueError: a piece could not be written.
        """
        self._pool.shutdown(wait=True)
        if self._failed is not None:
            raise self._failed
        for directory in sorted(self._touched):
            sync_directory(directory)

    def abandon(self) -> None:
        """Give up: what has not begun does not begin."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def reading_pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for reading many objects at once; what has not begun is dropped when the block is left."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="snapshot")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
