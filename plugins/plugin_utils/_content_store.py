# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small content-addressed store for snapshots: deduplicated, compressed, encrypted, checked.

config.json       what the store is; written once
keys/             naming keys, encrypted to the recipients
objects/          pieces of files
snapshots/        one header per snapshot; a snapshot exists when its header does
damaged/          objects that a verification took away, so that the next snapshot stores them anew
tmp/ lock         of writers
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import (
    StoreLock,
    create_file,
    read_file,
    sync_directory,
    write_error,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_keys import (
    NamingKey,
    default_key_file,
    key_for_reading,
    key_for_writing,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_objects import Objects, ObjectWriter
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_writer import (
    SnapshotOrder,
    SnapshotWriter,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import (
    SnapshotManifest,
    TreeEntry,
    check_kind,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity, Recipients
from ulid import ULID

DEFAULT_CHUNK_BYTES = 4 * 1024 * 1024
# Smallest and largest piece; eight divides them, so that a piece can be looked through for zeros in words.
_CHUNK_RANGE = (4096, 64 * 1024 * 1024)
LOCK_SECONDS = 30.0
_FORMAT = 1


@dataclass(frozen=True)
class StoreConfig:
    """What a store is; fixed when it is made.

    :param append_only: this program removes nothing from it.
    """

    store_id: str
    chunk_bytes: int
    append_only: bool


class ContentStore:
    """An open store. Get one by `init` or `open`.

    :param recipients: needed to write.
    :param identity: needed to read contents back.
    """

    def __init__(
        self,
        path: Path,
        config: StoreConfig,
        recipients: Recipients | None,
        identity: Identity | None,
        naming_key_file: Path,
    ) -> None:
        self.path = path
        self.config = config
        self.identity = identity
        self._recipients = recipients
        self._naming_key_file = naming_key_file
        self.objects = Objects(path / "objects", path / "tmp", config.chunk_bytes)
        self.lock = StoreLock(path / "lock")

    @classmethod
    def init(
        cls,
        path: Path,
        recipients: Sequence[str],
        append_only: bool = False,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        naming_key_file: Path | None = None,
    ) -> ContentStore:
        """Make a store in a directory that is missing or empty.

        :raises BadInput: the directory holds something else, or a recipient is wrong.
        :raises CodeblueError: it cannot be written.
        """
        parsed = Recipients.parse(recipients)
        if not _CHUNK_RANGE[0] <= chunk_bytes <= _CHUNK_RANGE[1] or chunk_bytes % 8:
            raise BadInput(f"chunk_bytes: {chunk_bytes} is not between {_CHUNK_RANGE[0]} and {_CHUNK_RANGE[1]}")
        config = StoreConfig(str(ULID()), chunk_bytes, append_only)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise BadInput(f"{path} is not empty", "name a new directory for the store, or open the store in it")
            for name in ("keys", "objects", "snapshots", "damaged", "tmp"):
                (path / name).mkdir(mode=0o700)
            for number in range(256):
                (path / "objects" / f"{number:02x}").mkdir(mode=0o700)
            (path / "lock").touch(mode=0o600)
        except OSError as error:
            raise write_error(path, error) from error
        for name in ("objects", "."):
            sync_directory(path / name)
        content = json.dumps({"format": _FORMAT, **asdict(config)}, indent=1).encode()
        # Last: a directory without it is no store.
        create_file(path / "config.json", content, 0o400)
        return cls(path, config, parsed, None, naming_key_file or default_key_file(config.store_id))

    @classmethod
    def open(
        cls,
        path: Path,
        recipients: Sequence[str] = (),
        identity: Path | None = None,
        naming_key_file: Path | None = None,
    ) -> ContentStore:
        """Open a store that exists.

        :param recipients: as `codeblue_snapshot_recipients`; may be left out for reading.
        :param identity: path of the identity file; left out for writing.
        :param naming_key_file: where the writer's naming key lies; by default with the state.
        :raises BadInput: there is no store, or a key is wrong.
        """
        if not (path / "config.json").is_file():
            raise BadInput(f"{path} is no snapshot store", "make one: codeblue snapshot init")
        try:
            values = json.loads(read_file(path / "config.json"))
            version = values.pop("format")
            config = StoreConfig(**values)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CodeblueError(
                f"{path / 'config.json'} is damaged", "restore the file from a copy of the store"
            ) from None
        if version != _FORMAT:
            raise CodeblueError(f"the store {path} has format {version}", "use a newer codeblue.recovery")
        return cls(
            path,
            config,
            Recipients.parse(recipients) if recipients else None,
            Identity(identity) if identity else None,
            naming_key_file or default_key_file(config.store_id),
        )

    @contextmanager
    def begin(
        self,
        service: str,
        kind: str,
        parent: str | None = None,
        requires: Sequence[str] = (),
        snapshot_id: str | None = None,
    ) -> Iterator[SnapshotWriter]:
        """Write a snapshot: add to the writer, then `commit` it. Without a commit there is no snapshot.

        :param snapshot_id: a ULID given by the caller; a repeated step then finds the snapshot it made.
        :raises BadInput: no recipients, or an unknown parent.
        """
        if self._recipients is None:
            raise BadInput("a snapshot needs somebody who can read it", "set codeblue_snapshot_recipients")
        order = SnapshotOrder(snapshot_id or str(ULID()), service, check_kind(kind), parent, tuple(requires))
        for other in (*requires, *([parent] if parent else [])):
            self.manifest(other)
        if self._header(order.snapshot_id).exists():
            raise BadInput(f"snapshot {order.snapshot_id} exists already", "take the next one under its own id")
        with self.lock.shared(LOCK_SECONDS):
            key = key_for_writing(
                self.path / "keys", self._naming_key_file, self.config.store_id, self._recipients, self.identity
            )
            writer = SnapshotWriter(
                order,
                self.config.store_id,
                key,
                ObjectWriter(self.objects, key, self._recipients),
                self.path / "snapshots",
                self.config.chunk_bytes,
            )
            try:
                yield writer
            finally:
                writer.abandon()

    def manifest(self, snapshot_id: str, digest: str | None = None) -> SnapshotManifest:
        """One snapshot's header, with its seal checked where the naming key is at hand.

        :param digest: as the catalog has it; finds a header that was replaced.
        :raises BadInput: there is no such snapshot.
        :raises CodeblueError: the header was altered or damaged.
        """
        path = self._header(snapshot_id)
        if not path.is_file():
            raise BadInput(f"there is no snapshot {snapshot_id} in {self.path}", "see codeblue snapshot list")
        manifest = SnapshotManifest.from_bytes(read_file(path), snapshot_id)
        key = self.naming_key(manifest)
        sealed = manifest.snapshot_id == snapshot_id and (key is None or manifest.is_sealed_by(key.secret))
        if not sealed or (digest is not None and manifest.digest != digest):
            raise CodeblueError(f"snapshot {snapshot_id}: its header was altered", "restore another snapshot")
        return manifest

    def manifests(self) -> list[SnapshotManifest]:
        """All snapshots, oldest first.

        :raises CodeblueError: a header was altered or damaged.
        """
        names = sorted(path.stem for path in (self.path / "snapshots").glob("*.json"))
        return [self.manifest(name) for name in names]

    def naming_key(self, manifest: SnapshotManifest) -> NamingKey | None:
        """The key that names the objects of a snapshot; None when neither file nor identity gives it."""
        return key_for_reading(
            self.path / "keys", self._naming_key_file, self.config.store_id, manifest.naming_key_id, self.identity
        )

    def entries(self, manifest: SnapshotManifest) -> Iterator[TreeEntry]:
        """What is in a snapshot, in the order in which it was added.

        :raises BadInput: no identity was given.
        :raises CodeblueError: a piece of the list is missing or damaged.
        """
        identity, key = self.reading_identity(), self.naming_key(manifest)
        rest = b""
        for name in manifest.tree:
            lines = (rest + self.objects.read(name, identity, key)).split(b"\n")
            rest = lines.pop()
            yield from (TreeEntry.from_line(line) for line in lines)
        if rest:
            raise CodeblueError(f"snapshot {manifest.snapshot_id}: its list of files is cut off")

    def reading_identity(self) -> Identity:
        """:raises BadInput: no identity was given."""
        if self.identity is None:
            raise BadInput("reading a snapshot needs an identity", "name the identity file of one of the recipients")
        return self.identity

    def refuse_when_append_only(self, what: str) -> None:
        """:raises Refused: nothing may be removed here."""
        if self.config.append_only:
            raise Refused(f"{what}: the store {self.path} is append-only", "do it from where the store is administered")

    def _header(self, snapshot_id: str) -> Path:
        try:
            ULID.from_str(snapshot_id)
        except ValueError:
            raise BadInput(f"{snapshot_id!r} is no snapshot id", "see codeblue snapshot list") from None
        return self.path / "snapshots" / f"{snapshot_id}.json"


def open_or_init(path: Path, recipients: Sequence[str], **options: t.Any) -> ContentStore:
    """The store at a path, made when there is nothing; for the first snapshot."""
    if (path / "config.json").exists():
        return ContentStore.open(path, recipients)
    if os.path.lexists(path) and not path.is_dir():
        raise BadInput(f"{path} is not a directory", "name another path for the store")
    return ContentStore.init(path, recipients, **options)
