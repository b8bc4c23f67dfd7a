# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes one snapshot into a store. It exists once `commit` has returned, and not a moment earlier."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import create_file, write_error
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_keys import NamingKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_objects import ObjectWriter
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import (
    DIRECTORY,
    FILE,
    HARDLINK,
    SYMLINK,
    LevelSummary,
    SnapshotManifest,
    TreeEntry,
    check_level,
    check_path,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_tree import Found, walk_tree

# A file that is being written is read again; one that never rests is refused.
_READ_ATTEMPTS = 3
_ENTRIES_IN_MEMORY = 32 * 1024 * 1024


@dataclass(frozen=True)
class SnapshotOrder:
    """What a snapshot is made for; goes into its header.

    :param requires: snapshots without which this one cannot be restored.
    """

    snapshot_id: str
    service: str
    kind: str
    parent: str | None = None
    requires: tuple[str, ...] = ()


class SnapshotWriter:
    """Made by `ContentStore.begin`.

    :param skipped: paths of sockets, pipes and devices that were met; they are not kept.
    """

    def __init__(
        self,
        order: SnapshotOrder,
        store_id: str,
        key: NamingKey,
        objects: ObjectWriter,
        headers: Path,
        chunk_bytes: int,
    ) -> None:
        self._order = order
        self._store_id = store_id
        self._key = key
        self._objects = objects
        self._headers = headers
        self._chunk_bytes = chunk_bytes
        self._started = time.monotonic()
        self._created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._levels: dict[str, LevelSummary] = {}
        self._paths: set[tuple[str, str]] = set()
        self._pending: list[tuple[TreeEntry, list[Future[str] | None]]] = []
        # Many entries wait in a nameless file: a tree may have more of them than memory has room for.
        self._entries = tempfile.SpooledTemporaryFile(_ENTRIES_IN_MEMORY, dir=str(headers.parent / "tmp"))  # noqa: SIM115
        self.skipped: list[str] = []

    def add_tree(
        self,
        root: Path,
        level: str,
        includes: Sequence[str] = (),
        excludes: Sequence[str] = (),
        prefix: str = "",
        changing: bool = False,
    ) -> LevelSummary:
        """Add a directory with all that is in it.

        :param includes: relative paths; nothing means all.
        :param excludes: shell patterns over relative paths.
        :param prefix: where it is put inside the level, such as the name of a machine.
        :param changing: keep a file also when it changed while it was read (logs, caches).
        :return: the level as it stands now.
        :raises BadInput: the root or an include does not exist.
        :raises CodeblueError: something cannot be read, never rests, or the store cannot be written.
        """
        check_level(level)
        self._add_parents(level, prefix)
        hard_links: dict[tuple[int, int], str] = {}
        for found in walk_tree(root, includes, excludes):
            path = check_path(f"{prefix}/{found.path}" if prefix else found.path)
            inode = (found.status.st_dev, found.status.st_ino)
            if found.is_directory:
                self._add(_entry(found.status, level, path, DIRECTORY))
            elif found.is_symlink:
                self._add(replace(_entry(found.status, level, path, SYMLINK), target=str(found.source.readlink())))
            elif found.is_file and inode in hard_links:
                self._add(replace(_entry(found.status, level, path, HARDLINK), target=hard_links[inode]))
            elif found.is_file:
                if found.status.st_nlink > 1:
                    hard_links[inode] = path
                self._add_file(found, level, path, changing)
            else:
                self.skipped.append(str(found.source))
        return self._levels.get(level, LevelSummary())

    def add_stream(self, stream: t.BinaryIO, level: str, path: str, mode: int = 0o600) -> LevelSummary:
        """Add one file from a stream of unknown length.

        :raises CodeblueError: the path was added before, or the store cannot be written.
        """
        check_level(level)
        check_path(path)
        self._add_parents(level, path.rpartition("/")[0])
        now = time.time_ns()
        entry = TreeEntry(level, path, FILE, mode, os.geteuid(), os.getegid(), now)
        self._add_content(entry, iter(lambda: stream.read(self._chunk_bytes), b""))
        return self._levels[level]

    def add_tar(self, stream: t.BinaryIO, level: str, prefix: str = "") -> LevelSummary:
        """Add what a tar archive holds, read as a stream: what a machine sends.

        :raises CodeblueError: it is no archive, breaks off, or names a path outside itself.
        """
        check_level(level)
        self._add_parents(level, prefix)
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    self._add_member(archive, member, level, prefix)
        except (tarfile.TarError, EOFError, InvalidOperation) as error:
            raise CodeblueError(f"the archive of level {level} cannot be read: {error}") from error
        return self._levels.get(level, LevelSummary())

    def describe_level(self, level: str, facts: Mapping[str, t.Any]) -> None:
        """What identifies a level outside the snapshot, such as a git commit. Readable without a key: no secrets."""
        check_level(level)
        summary = self._levels.get(level, LevelSummary())
        self._levels[level] = replace(summary, facts={**summary.facts, **facts})

    def commit(self) -> SnapshotManifest:
        """Make the snapshot exist: all objects flushed, then the header.

        :raises CodeblueError: nothing was added, or the store cannot be written.
        """
        if not self._levels:
            raise CodeblueError("a snapshot of nothing was asked for", "add a tree, a stream or a level's facts")
        self._settle(everything=True)
        self._entries.seek(0)
        tree = [self._objects.put(piece) for piece in iter(lambda: self._entries.read(self._chunk_bytes), b"")]
        self._objects.flush()
        manifest = SnapshotManifest(
            snapshot_id=self._order.snapshot_id,
            store_id=self._store_id,
            naming_key_id=self._key.key_id,
            service=self._order.service,
            kind=self._order.kind,
            created_at=self._created_at,
            levels=self._levels,
            parent=self._order.parent,
            requires=self._order.requires,
            files=sum(summary.files for summary in self._levels.values()),
            size_bytes=sum(summary.size_bytes for summary in self._levels.values()),
            stored_bytes=self._objects.stored_bytes,
            seconds=round(time.monotonic() - self._started, 3),
            tree=tuple(future.result() for future in tree),
            objects=self._objects.names,
        ).sealed(self._key.secret)
        create_file(
            self._headers / f"{manifest.snapshot_id}.json",
            manifest.to_bytes(),
            0o400,
            temporary=self._headers.parent / "tmp",
        )
        self._entries.close()
        return manifest

    def abandon(self) -> None:
        """Give up. Objects that were stored stay until the next prune; no snapshot names them."""
        self._objects.abandon()
        self._entries.close()

    def _add_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, level: str, prefix: str) -> None:
        name = member.name.removeprefix("./").rstrip("/")
        if name in ("", "."):
            return
        path = check_path(f"{prefix}/{name}" if prefix else name)
        # As a float, tarfile's own reading of it, the time would lose its nanoseconds.
        mtime_ns = int(Decimal(member.pax_headers.get("mtime", member.mtime)) * 1_000_000_000)
        entry = TreeEntry(level, path, FILE, stat.S_IMODE(member.mode), member.uid, member.gid, mtime_ns)
        if member.isdir():
            self._add(replace(entry, type=DIRECTORY))
        elif member.issym():
            self._add(replace(entry, type=SYMLINK, target=member.linkname))
        elif member.islnk():
            linked = member.linkname.removeprefix("./")
            self._add(replace(entry, type=HARDLINK, target=check_path(f"{prefix}/{linked}" if prefix else linked)))
        elif member.isfile():
            content = t.cast(t.IO[bytes], archive.extractfile(member))
            self._add_content(entry, iter(lambda: content.read(self._chunk_bytes), b""))
        else:
            self.skipped.append(path)

    def _add_file(self, found: Found, level: str, path: str, changing: bool) -> None:
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                descriptor = os.open(found.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise CodeblueError(
                    f"{found.source} cannot be read: {error.strerror}", "run as a user who may"
                ) from error
            with os.fdopen(descriptor, "rb", buffering=0) as stream:
                before = os.fstat(descriptor)
                entry = _entry(before, level, path, FILE)
                pieces, size, digest = self._put_pieces(_pieces(stream, before.st_size, self._chunk_bytes))
                after = os.fstat(descriptor)
            resting = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
            if (resting and size == before.st_size) or (changing and attempt == _READ_ATTEMPTS):
                self._add(replace(entry, size=size, digest=digest), pieces)
                return
        raise CodeblueError(
            f"{found.source} changed while it was read, {_READ_ATTEMPTS} times in a row",
            "stop what writes to it, exclude it, or allow changing files for this level",
        )

    def _add_content(self, entry: TreeEntry, content: Iterator[bytes]) -> None:
        pieces, size, digest = self._put_pieces(content)
        self._add(replace(entry, size=size, digest=digest), pieces)

    def _put_pieces(self, content: Iterator[bytes]) -> tuple[list[Future[str] | None], int, str]:
        pieces: list[Future[str] | None] = []
        size, digest = 0, hashlib.sha256()
        for piece in content:
            size += len(piece)
            digest.update(piece)
            # A stretch of zeros takes no room, here or when it is restored.
            hole = len(piece) == self._chunk_bytes and not any(memoryview(piece).cast("Q"))
            pieces.append(None if hole else self._objects.put(piece))
        return pieces, size, digest.hexdigest()

    def _add_parents(self, level: str, path: str) -> None:
        parts = path.split("/") if path else []
        for count in range(1, len(parts) + 1):
            parent = check_path("/".join(parts[:count]))
            if (level, parent) not in self._paths:
                self._add(TreeEntry(level, parent, DIRECTORY, 0o700, os.geteuid(), os.getegid(), time.time_ns()))

    def _add(self, entry: TreeEntry, pieces: Sequence[Future[str] | None] = ()) -> None:
        place = (entry.level, entry.path)
        if place in self._paths:
            raise CodeblueError(f"{entry.level}:{entry.path} was added twice", "put one of them below a prefix")
        self._paths.add(place)
        summary = self._levels.get(entry.level, LevelSummary())
        self._levels[entry.level] = replace(
            summary, files=summary.files + (entry.type == FILE), size_bytes=summary.size_bytes + entry.size
        )
        self._pending.append((entry, list(pieces)))
        self._settle(everything=False)

    def _settle(self, everything: bool) -> None:
        """Write entries down, in order, as far as their pieces are named."""
        settled = 0
        for entry, pieces in self._pending:
            if not everything and not all(piece is None or piece.done() for piece in pieces):
                break
            chunks = tuple(None if piece is None else piece.result() for piece in pieces)
            try:
                self._entries.write(replace(entry, chunks=chunks).to_line())
            except OSError as error:
                raise write_error(self._headers.parent, error) from error
            settled += 1
        del self._pending[:settled]


def _entry(status: os.stat_result, level: str, path: str, kind: str) -> TreeEntry:
    return TreeEntry(level, path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)


def _pieces(stream: t.BinaryIO, size: int, chunk_bytes: int) -> Iterator[bytes]:
    """Pieces of a fixed size, up to the size that the file had when it was opened."""
    left = size
    while left > 0:
        wanted = min(chunk_bytes, left)
        piece = bytearray()
        while len(piece) < wanted:
            data = stream.read(wanted - len(piece))
            if not data:
                break
            piece += data
        if piece:
            yield bytes(piece)
        if len(piece) < wanted:
            return
        left -= wanted
