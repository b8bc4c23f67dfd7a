# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads files of a machine as one tar stream, a piece at a time.

A module's answer has to fit into memory and into Ansible's output, and a tree does not. Each call gives the next
piece of the stream and a cursor that says where it ended; nothing is kept on the machine in between.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tarfile
import typing as t
import zlib
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

DEFAULT_PIECE_BYTES = 4 * 1024 * 1024
# What still fits into an answer when nothing of it can be compressed.
LARGEST_PIECE_BYTES = 5 * 1024 * 1024
_BLOCK = 512


@dataclass(frozen=True)
class Piece:
    """A part of the stream.

    :param cursor: for the next call; None at the end of the stream.
    """

    content: bytes
    cursor: t.Optional[str]

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results: compressed and in base 64, with a digest of what is inside."""
        return {
            "content": base64.b64encode(zlib.compress(self.content, 1)).decode(),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "cursor": self.cursor,
        }


@dataclass(frozen=True)
class _Position:
    """Behind `path`, or inside its content.

    :param offset: bytes of its content that were given; None when the path is finished.
    """

    path: str
    offset: t.Optional[int] = None
    size: int = 0
    mtime_ns: int = 0


def read_piece(
    root: str,
    paths: t.Sequence[str],
    cursor: t.Optional[str] = None,
    piece_bytes: int = DEFAULT_PIECE_BYTES,
) -> Piece:
    """The next piece.

    Hard links are read as files of their own; sockets, pipes and devices are left out.

    :param paths: relative to `root`; directories come with all that is in them. Nothing means all.
    :param cursor: of the piece before; None for the first one.
    :raises BadInput: the root or a path does not exist, or the cursor is of another stream.
    :raises CodeblueError: a file cannot be read, or changed between two pieces of it.
    """
    if not 1 <= piece_bytes <= LARGEST_PIECE_BYTES:
        raise BadInput("piece_bytes: %d is not between 1 and %d" % (piece_bytes, LARGEST_PIECE_BYTES))
    position = _parse_cursor(cursor)
    out = bytearray()
    for path in _walk(root, paths, position.path if position else None):
        if position is not None and position.path == path:
            if position.offset is None:
                continue
            rest: t.Optional[_Position] = position
        else:
            rest = _begin(root, path, out)
        while rest is not None:
            rest = _continue(root, rest, out, piece_bytes)
            if rest is not None and len(out) >= piece_bytes:
                return Piece(bytes(out), _format_cursor(rest))
        if len(out) >= piece_bytes:
            return Piece(bytes(out), _format_cursor(_Position(path)))
    out += bytes(2 * _BLOCK)
    return Piece(bytes(out), None)


def _walk(root: str, paths: t.Sequence[str], after: t.Optional[str]) -> t.Iterator[str]:
    """Relative paths in a fixed order, from `after` on, which itself comes first."""
    if not os.path.isdir(root):
        raise BadInput("%s is not a directory" % root, "check the path that is to be read")
    wanted = {_clean(path) for path in paths}
    for path in sorted(wanted):
        if not os.path.lexists(os.path.join(root, path)):
            raise BadInput("%s does not exist" % os.path.join(root, path), "remove it from the list")
    # The directories that lead to what is wanted come along, without what else is in them.
    leading = {parent for path in wanted for parent in _parents(path)}
    wanted = {path for path in wanted if not wanted.intersection(_parents(path))}
    leading = {path for path in leading if path not in wanted and not wanted.intersection(_parents(path))}
    floor = None if after is None else _key(after)
    pending = sorted(wanted | leading if paths else _list(root, ""), key=_key, reverse=True)
    while pending:
        path = pending.pop()
        key = _key(path)
        # A directory that ends before the cursor is passed over whole.
        if floor is not None and key < floor and floor[: len(key)] != key:
            continue
        if floor is None or key >= floor:
            yield path
        place = os.path.join(root, path)
        if path not in leading and os.path.isdir(place) and not os.path.islink(place):
            pending += sorted(_list(root, path), key=_key, reverse=True)


def _parents(path: str) -> t.List[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _key(path: str) -> t.Tuple[bytes, ...]:
    return tuple(os.fsencode(part) for part in path.split("/"))


def _list(root: str, path: str) -> t.List[str]:
    try:
        names = os.listdir(os.path.join(root, path) if path else root)
    except OSError as error:
        raise CodeblueError("%s cannot be read: %s" % (os.path.join(root, path), error.strerror)) from error
    return ["%s/%s" % (path, name) if path else name for name in names]


def _clean(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise BadInput("path %r is not below the root" % path, "write it relative to the root")
    return "/".join(parts)


def _begin(root: str, path: str, out: bytearray) -> t.Optional[_Position]:
    """Add the head of an entry; where its content begins, when it has some."""
    place = os.path.join(root, path)
    try:
        status = os.lstat(place)
        target = os.readlink(place) if stat.S_ISLNK(status.st_mode) else ""
    except FileNotFoundError:
        return None  # it was removed since its directory was read
    info = tarfile.TarInfo(path)
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.mtime = status.st_mtime_ns // 1000000000
    info.pax_headers = {"mtime": "%d.%09d" % divmod(status.st_mtime_ns, 1000000000)}
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, target
    elif stat.S_ISREG(status.st_mode):
        info.size = status.st_size
    else:
        return None
    out += info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return _Position(path, 0, status.st_size, status.st_mtime_ns) if info.isreg() and status.st_size else None


def _continue(root: str, position: _Position, out: bytearray, piece_bytes: int) -> t.Optional[_Position]:
    """Add content; where to go on in the same file, or None at its end."""
    place = os.path.join(root, position.path)
    offset = position.offset or 0
    wanted = min(max(1, piece_bytes - len(out)), position.size - offset)
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = os.pread(descriptor, wanted, offset)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CodeblueError("%s cannot be read: %s" % (place, error.strerror)) from error
    if not data or (status.st_size, status.st_mtime_ns) != (position.size, position.mtime_ns):
        raise CodeblueError("%s changed while it was read" % place, "stop what writes to it, or leave it out")
    out += data
    offset += len(data)
    if offset < position.size:
        return _Position(position.path, offset, position.size, position.mtime_ns)
    out += bytes(-position.size % _BLOCK)
    return None


def _format_cursor(position: _Position) -> str:
    return json.dumps([position.path, position.offset, position.size, position.mtime_ns])


def _parse_cursor(cursor: t.Optional[str]) -> t.Optional[_Position]:
    if cursor is None:
        return None
    try:
        path, offset, size, mtime_ns = json.loads(cursor)
        return _Position(_clean(path), offset, int(size), int(mtime_ns))
    except (ValueError, TypeError, AttributeError):
        raise BadInput(
            "cursor: %r is none that this module gave" % cursor[:80], "give that of the piece before"
        ) from None
