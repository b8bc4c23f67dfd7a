# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copies of a store in another place: complete snapshots, compared with their digests after they were written.

A copy is a store of its own with the same pieces under the same names. It needs no key to make one, and everything
that reads a store reads a copy.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import LOCK_SECONDS, ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import (
    create_file,
    place_file,
    read_file,
    sync_directory,
    write_error,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_objects import reading_pool
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import SnapshotManifest

_DIRECTORIES = ("keys", "objects", "snapshots", "damaged", "tmp")


@dataclass(frozen=True)
class CopyReport:
    """How a copy ended.

    :param copied: identifiers, oldest first. :param there: how many were in the copy already.
    :param problems: snapshots that were not copied, and why; the copy has nothing of them that counts.
    """

    copied: tuple[str, ...]
    there: int
    objects: int
    bytes_written: int
    problems: tuple[str, ...]


class _DamagedHere(CodeblueError):
    """A snapshot of the store itself cannot be read; others may be copied all the same."""


def copy_snapshots(source: ContentStore, place: Path, wanted: Collection[str] | None = None) -> CopyReport:
    """Copy snapshots, with all that they are built upon, into a store in another place.

    A header is written last: whenever it is cut off, every snapshot that the copy has is whole, and doing it again
    goes on where it ended. Each piece is read back from the other place.

    :param place: a copy of this store, or a directory that is missing or empty.
    :param wanted: identifiers; None for all.
    :raises BadInput: the place holds another store or something else, or there is no such snapshot.
    :raises CodeblueError: the place cannot be written.
    """
    if place.resolve() == source.path.resolve():
        raise BadInput(f"{place} is the store itself", "name a directory in another place")
    with source.lock.shared(LOCK_SECONDS):
        manifests = _with_required(source, wanted)
        target = _open_copy(source, place)
        with target.lock.shared(LOCK_SECONDS):
            for key in sorted((source.path / "keys").iterdir()):
                create_file(place / "keys" / key.name, read_file(key), 0o400, temporary=place / "tmp")
            copied: list[str] = []
            problems: dict[str, str] = {}
            there = objects = size = 0
            for manifest in manifests:
                if (place / "snapshots" / f"{manifest.snapshot_id}.json").is_file():
                    there += 1
                    continue
                lacking = [each for each in manifest.requires if each in problems]
                try:
                    if lacking:
                        raise _DamagedHere(f"it is built upon {lacking[0]}")
                    count, added = _copy_objects(source, target, manifest)
                except _DamagedHere as error:
                    problems[manifest.snapshot_id] = error.message
                    continue
                create_file(
                    place / "snapshots" / f"{manifest.snapshot_id}.json",
                    manifest.to_bytes(),
                    0o400,
                    temporary=place / "tmp",
                )
                # The header as it lies there now binds everything that was compared before.
                target.manifest(manifest.snapshot_id, manifest.digest)
                copied.append(manifest.snapshot_id)
                objects, size = objects + count, size + added
    return CopyReport(tuple(copied), there, objects, size, tuple(f"{each}: {why}" for each, why in problems.items()))


def _with_required(source: ContentStore, wanted: Collection[str] | None) -> list[SnapshotManifest]:
    """Oldest first, so that what a snapshot is built upon comes before it."""
    if wanted is None:
        return source.manifests()
    found: dict[str, SnapshotManifest] = {}
    pending = list(wanted)
    while pending:
        snapshot_id = pending.pop()
        if snapshot_id not in found:
            found[snapshot_id] = source.manifest(snapshot_id)
            pending += found[snapshot_id].requires
    return sorted(found.values(), key=lambda manifest: (manifest.created_at, manifest.snapshot_id))


def _open_copy(source: ContentStore, place: Path) -> ContentStore:
    if not (place / "config.json").is_file():
        _make(source, place)
    copy = ContentStore.open(place)
    if copy.config.store_id != source.config.store_id:
        raise BadInput(
            f"{place} is another store, no copy of {source.path}", "name a directory of its own for the copy"
        )
    return copy


def _make(source: ContentStore, place: Path) -> None:
    """The directories, then the file that makes them a store; one that was cut off is made to the end."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        strange = sorted({path.name for path in place.iterdir()} - {*_DIRECTORIES, "lock"})
        if strange:
            raise BadInput(f"{place} is not empty: {strange[0]}", "name a new directory for the copy")
        for name in _DIRECTORIES:
            (place / name).mkdir(mode=0o700, exist_ok=True)
        for number in range(256):
            (place / "objects" / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        (place / "lock").touch(mode=0o600)
    except OSError as error:
        raise write_error(place, error) from error
    for name in ("objects", "."):
        sync_directory(place / name)
    create_file(place / "config.json", read_file(source.path / "config.json"), 0o400)


def _copy_objects(source: ContentStore, target: ContentStore, manifest: SnapshotManifest) -> tuple[int, int]:
    """How many pieces were written, and their bytes.

    :raises _DamagedHere: one is missing or decayed in the store itself.
    :raises CodeblueError: one cannot be written there, or was not read back as it was written.
    """

    def copy(name: str) -> int:
        if target.objects.is_whole(name) and _is_sound(target, name):
            return 0
        try:
            source.objects.read_stored(name)
        except CodeblueError as error:
            raise _DamagedHere(error.message) from error
        content = read_file(source.objects.path_of(name))
        place_file(target.objects.path_of(name), (content,), 0o400, replace=True, temporary=target.path / "tmp")
        target.objects.read_stored(name)
        return len(content)

    with reading_pool() as pool:
        sizes = list(pool.map(copy, sorted(manifest.objects)))
    for directory in sorted({target.objects.path_of(name).parent for name in manifest.objects}):
        sync_directory(directory)
    return sum(size > 0 for size in sizes), sum(sizes)


def _is_sound(store: ContentStore, name: str) -> bool:
    """A piece that decayed in the copy is written anew."""
    try:
        store.objects.read_stored(name)
    except CodeblueError:
        return False
    return True
