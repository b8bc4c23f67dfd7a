# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a snapshot holds: one manifest binds all levels of one moment.

It has two halves. The header is readable without a key: when, of what, how large, which objects. The entries
(paths, owners, digests, which objects make up which file) are encrypted like the files themselves.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import rfc8785
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

LEVELS = ("database", "code", "configuration", "data", "infrastructure", "objects")
KINDS = ("scheduled", "on_demand", "pre_deployment", "emergency")

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
HARDLINK = "hardlink"

_FORMAT = 1
_NAME_BYTES = 32


@dataclass(frozen=True)
class TreeEntry:
    """One file, directory or link.

    :param path: relative, with `/` between its parts; bytes that are not UTF-8 are kept by surrogate escapes.
    :param size: bytes of a file.
    :param digest: SHA-256 of a file's content.
    :param chunks: names of the objects that make up a file, in order; None for a stretch of zeros.
    :param target: where a symlink points, or the path of the entry that a hard link shares its content with.
    """

    level: str
    path: str
    type: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    digest: str | None = None
    chunks: tuple[str | None, ...] = ()
    target: str | None = None

    def to_line(self) -> bytes:
        """As one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> TreeEntry:
        """:raises CodeblueError: the line is no entry."""
        try:
            values = json.loads(line)
            values["chunks"] = tuple(values["chunks"])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise CodeblueError("the manifest holds a line that is no entry") from error


@dataclass(frozen=True)
class LevelSummary:
    """One level of a snapshot.

    :param facts: what identifies the level outside: a git commit, a backup and its positions. Not encrypted.
    """

    files: int = 0
    size_bytes: int = 0
    facts: Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SnapshotManifest:
    """The header of a snapshot, as the catalog gets it.

    :param snapshot_id: ULID; sorts by time.
    :param service: the service that it is of.
    :param created_at: RFC 3339, UTC.
    :param requires: snapshots without which this one cannot be restored (the chain of an incremental backup).
    :param size_bytes: of everything in it; `stored_bytes` is what it added to the store.
    :param tree: objects that hold the entries.
    :param seal: HMAC-SHA-256 over all the rest by the naming key of the store.
    """

    snapshot_id: str
    store_id: str
    naming_key_id: str
    service: str
    kind: str
    created_at: str
    levels: Mapping[str, LevelSummary]
    parent: str | None
    requires: tuple[str, ...]
    files: int
    size_bytes: int
    stored_bytes: int
    seconds: float
    tree: tuple[str, ...]
    objects: frozenset[str] = field(repr=False)
    seal: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the header as it lies on disk. Kept in the catalog, it finds a header that was replaced."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def sealed(self, key: bytes) -> SnapshotManifest:
        """The same with its seal."""
        return replace(self, seal=_seal(self, key))

    def is_sealed_by(self, key: bytes) -> bool:
        """Nothing in the header was altered by somebody without the naming key."""
        return hmac.compare_digest(self.seal, _seal(self, key))

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        values = {"format": _FORMAT, **asdict(self)}
        values["objects"] = base64.b64encode(b"".join(bytes.fromhex(name) for name in sorted(self.objects))).decode()
        values["requires"] = list(self.requires)
        values["tree"] = list(self.tree)
        return rfc8785.dumps(values)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> SnapshotManifest:
        """:raises CodeblueError: it is no header, or one of a newer version of the format."""
        try:
            values = json.loads(content)
            version = values.pop("format")
            packed = base64.b64decode(values["objects"], validate=True)
            values["objects"] = frozenset(
                packed[start : start + _NAME_BYTES].hex() for start in range(0, len(packed), _NAME_BYTES)
            )
            values["levels"] = {level: LevelSummary(**summary) for level, summary in values["levels"].items()}
            values["requires"] = tuple(values["requires"])
            values["tree"] = tuple(values["tree"])
            manifest = cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CodeblueError(f"snapshot {name}: its header is damaged", "restore another snapshot") from error
        if version != _FORMAT:
            raise CodeblueError(f"snapshot {name} has format {version}", "use a newer codeblue.recovery")
        if manifest.to_bytes() != content:
            raise CodeblueError(f"snapshot {name}: its header is damaged", "restore another snapshot")
        return manifest


def check_level(level: str) -> str:
    """:raises BadInput: it is none of `LEVELS`."""
    if level not in LEVELS:
        raise BadInput(f"level {level!r} is unknown", f"one of {', '.join(LEVELS)}")
    return level


def check_kind(kind: str) -> str:
    """:raises BadInput: it is none of `KINDS`."""
    if kind not in KINDS:
        raise BadInput(f"snapshot kind {kind!r} is unknown", f"one of {', '.join(KINDS)}")
    return kind


def check_path(path: str) -> str:
    """A path of an entry, when it stays below the directory it is put into.

    :raises CodeblueError: it would lead out of it.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise CodeblueError(f"path {path!r} leads out of the snapshot")
    return path


def _seal(manifest: SnapshotManifest, key: bytes) -> str:
    return hmac.new(key, b"codeblue snapshot header\0" + replace(manifest, seal="").to_bytes(), "sha256").hexdigest()
