# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores parts of a snapshot: into a directory of their own, or in place with the earlier state kept.

Everything is first built beside its place out of checked pieces. Only when all of it is whole does a rename put
it there, so that a damaged snapshot touches nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_swap import SwapJournal, swap_in
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import LOCK_SECONDS, ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import sync_directory, write_error
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import (
    DIRECTORY,
    FILE,
    HARDLINK,
    SYMLINK,
    SnapshotManifest,
    TreeEntry,
    check_level,
    check_path,
)


@dataclass(frozen=True)
class RestoreReport:
    """:param files: restored, hard links included. :param bytes: of their contents."""

    snapshot_id: str
    level: str
    destination: Path
    files: int
    bytes: int


def restore_snapshot(
    store: ContentStore,
    snapshot_id: str,
    level: str,
    destination: Path,
    paths: Sequence[str] = (),
    digest: str | None = None,
) -> RestoreReport:
    """Restore one level, or some paths of it, into a directory that is missing or empty.

    A missing one is made for the caller alone; an empty one keeps its owner and mode.

    :param paths: files and directories inside the level; nothing means all.
    :param digest: of the header, as the catalog has it.
    :raises BadInput: no such snapshot, level or path, or the destination is in use.
    :raises CodeblueError: the snapshot is damaged, or the disk is full; the destination was not touched.
    """
    if destination.is_symlink() or (
        destination.exists() and not (destination.is_dir() and not any(destination.iterdir()))
    ):
        raise BadInput(f"{destination} is in use", "name a directory that is missing or empty")
    with _staging(destination) as staged:
        report = _build(store, snapshot_id, level, paths, staged, digest)
        if destination.exists():
            # Whoever made the directory chose who may enter it.
            shutil.copystat(destination, staged)
            if os.geteuid() == 0:
                os.chown(staged, destination.stat().st_uid, destination.stat().st_gid)
        staged.rename(destination)
        sync_directory(destination.parent)
    return replace(report, destination=destination)


def restore_in_place(
    store: ContentStore,
    snapshot_id: str,
    level: str,
    places: Mapping[str, Path],
    journal: Path,
    digest: str | None = None,
) -> SwapJournal:
    """Replace files and directories by their state in a snapshot, all or none.

    :param places: path inside the level to the place on disk that is replaced.
    :param journal: file for undoing it, in this process or a later one: `SwapJournal.load(journal).undo()`.
    :raises BadInput: no such snapshot, level or path; an earlier journal is still there.
    :raises CodeblueError: the snapshot is damaged or a place cannot be replaced; everything is as before.
    """
    if journal.exists():
        raise BadInput(f"{journal} exists: an earlier restore was neither undone nor kept", "undo or forget it")
    staged: dict[str, str] = {}
    try:
        for path, place in places.items():
            with _staging(place) as building:
                _build(store, snapshot_id, level, [path], building, digest)
                beside = place.parent / f".{place.name}.{snapshot_id}"
                _clear(beside)
                (building / path).rename(beside)
                staged[str(place)] = str(beside)
        return swap_in(str(journal), staged)
    except BaseException:
        if not journal.exists():
            for beside_name in staged.values():
                _clear(Path(beside_name))
        raise


@contextmanager
def _staging(destination: Path) -> Iterator[Path]:
    """A directory beside the destination that is gone afterwards, unless it was renamed."""
    if not destination.parent.is_dir():
        raise BadInput(f"{destination.parent} is not a directory", "make it first")
    try:
        staged = Path(tempfile.mkdtemp(prefix=f".{destination.name}.restoring-", dir=destination.parent))
    except OSError as error:
        raise write_error(destination.parent, error) from error
    try:
        yield staged
    except OSError as error:
        raise write_error(destination, error) from error
    finally:
        _clear(staged)


def _build(
    store: ContentStore, snapshot_id: str, level: str, paths: Sequence[str], root: Path, digest: str | None
) -> RestoreReport:
    wanted = [check_path(path.strip("/")) for path in paths]
    with store.lock.shared(LOCK_SECONDS):
        manifest = store.manifest(snapshot_id, digest)
        if check_level(level) not in manifest.levels:
            raise BadInput(
                f"snapshot {snapshot_id} has no level {level}", f"it has {', '.join(sorted(manifest.levels))}"
            )
        shared = _contents_of_missing_targets(store, manifest, level, wanted)
        builder = _TreeBuilder(store, manifest, root)
        found: set[str] = set()
        for entry in store.entries(manifest):
            if entry.level != level:
                continue
            hits = [path for path in wanted if _is_within(entry.path, path)]
            if hits or not wanted:
                found.update(hits)
                builder.add(replace(entry, type=FILE, **shared[entry.target]) if entry.target in shared else entry)
            elif entry.type == DIRECTORY and any(path.startswith(entry.path + "/") for path in wanted):
                builder.add(entry)
        missing = [path for path in wanted if path not in found]
        if missing:
            raise BadInput(f"{level}:{missing[0]} is not in snapshot {snapshot_id}", "see codeblue snapshot show")
        builder.finish()
    return RestoreReport(snapshot_id, level, root, builder.files, builder.bytes)


def _contents_of_missing_targets(
    store: ContentStore, manifest: SnapshotManifest, level: str, wanted: Sequence[str]
) -> dict[str | None, dict[str, object]]:
    """For hard links whose first name is not restored with them: what makes up that one."""
    if not wanted:
        return {}
    selected = [entry for entry in store.entries(manifest) if entry.level == level and entry.type == HARDLINK]
    targets = {
        entry.target
        for entry in selected
        if _is_selected(entry.path, wanted) and not _is_selected(str(entry.target), wanted)
    }
    if not targets:
        return {}
    return {
        entry.path: {"size": entry.size, "digest": entry.digest, "chunks": entry.chunks}
        for entry in store.entries(manifest)
        if entry.level == level and entry.path in targets
    }


def _is_within(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith(wanted + "/")


def _is_selected(path: str, wanted: Iterable[str]) -> bool:
    return any(_is_within(path, item) for item in wanted)


class _TreeBuilder:
    """Writes entries below a root, checking every piece and every whole file."""

    def __init__(self, store: ContentStore, manifest: SnapshotManifest, root: Path) -> None:
        self._store = store
        self._identity = store.reading_identity()
        self._key = store.naming_key(manifest)
        self._root = root
        self._directories: dict[str, TreeEntry | None] = {"": None}
        self.files = 0
        self.bytes = 0

    def add(self, entry: TreeEntry) -> None:
        path = check_path(entry.path)
        parent = path.rpartition("/")[0]
        # A parent that is no directory of this snapshot could be a symlink that leads out of it.
        if parent not in self._directories:
            raise CodeblueError(f"{entry.level}:{path} lies in no directory of the snapshot")
        place = self._root / path
        if entry.type == DIRECTORY:
            place.mkdir(mode=0o700)
            self._directories[path] = entry
            return
        if entry.type == SYMLINK:
            place.symlink_to(str(entry.target))
        elif entry.type == HARDLINK:
            os.link(self._root / check_path(str(entry.target)), place, follow_symlinks=False)
            self.files += 1
            return
        elif entry.type == FILE:
            self._write(entry, place)
            self.files += 1
            self.bytes += entry.size
        else:
            raise CodeblueError(f"{entry.level}:{path} is of the unknown type {entry.type!r}")
        _apply_metadata(entry, place)

    def finish(self) -> None:
        """Directories get their modes and times last, children first: writing into them would change both."""
        for path, entry in reversed(list(self._directories.items())):
            directory = self._root / path
            sync_directory(directory)
            if entry is not None:
                _apply_metadata(entry, directory)

    def _write(self, entry: TreeEntry, place: Path) -> None:
        digest, size = hashlib.sha256(), 0
        hole = bytes(self._store.config.chunk_bytes)
        with place.open("xb") as stream:
            for name in entry.chunks:
                if name is None:
                    stream.seek(len(hole), os.SEEK_CUR)
                    content = hole
                else:
                    try:
                        content = self._store.objects.read(name, self._identity, self._key)
                    except CodeblueError as error:
                        raise CodeblueError(
                            f"{entry.level}:{entry.path} is damaged: {error.message}",
                            "nothing was touched; use another snapshot or a copy of the store",
                        ) from None
                    stream.write(content)
                size += len(content)
                digest.update(content)
            stream.truncate(size)
            stream.flush()
            os.fsync(stream.fileno())
        if size != entry.size or digest.hexdigest() != entry.digest:
            raise CodeblueError(
                f"{entry.level}:{entry.path} is damaged: its content has another digest",
                "nothing was touched; use another snapshot or a copy of the store",
            )


def _apply_metadata(entry: TreeEntry, place: Path) -> None:
    # Owners first: changing them takes the set-user-id bit away.
    if os.geteuid() == 0:
        os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
    if entry.type != SYMLINK:
        place.chmod(entry.mode)
    os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def _clear(path: Path) -> None:
    """Remove what a restore has built, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    try:
        path.unlink()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
