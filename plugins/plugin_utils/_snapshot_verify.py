# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a snapshot back, every byte of it, and names what is not as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import LOCK_SECONDS, ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import sync_directory
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_objects import WORKERS, reading_pool
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import FILE, SnapshotManifest

CONTENT = "content"
STORED = "stored"
PRESENCE = "presence"

# A broken disk breaks many objects; the first ones tell enough.
MOST_PROBLEMS = 50


@dataclass(frozen=True)
class Problem:
    """:param where: the object, file or header. :param what: what is wrong with it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class VerifyReport:
    """How a verification ended.

    :param depth: `content` (decrypted and compared with its names), `stored` (read whole and compared with the
        digests of the encrypted form; needs no identity) or `presence` (nothing was read).
    :param sealed: the header's seal was checked; False where no naming key is at hand.
    :param problems: at most `MOST_PROBLEMS`.
    :param bytes_read: from the objects, as read back.
    """

    snapshot_id: str
    depth: str
    sealed: bool
    problems: tuple[Problem, ...]
    objects: int
    files: int
    bytes_read: int
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.problems

    def raise_if_damaged(self) -> None:
        """:raises CodeblueError: something was found; names the first problem."""
        if self.problems:
            more = f" and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            raise CodeblueError(
                f"snapshot {self.snapshot_id} is damaged: {self.problems[0]}{more}",
                "nothing was touched; use another snapshot or a copy of the store",
            )


def verify_snapshot(
    store: ContentStore,
    snapshot_id: str,
    read_data: bool = True,
    digest: str | None = None,
    quarantine: bool = False,
) -> VerifyReport:
    """Verify one snapshot.

    :param read_data: read all data back; False looks only whether everything is there.
    :param digest: of the header, as the catalog has it.
    :param quarantine: take damaged objects away, so that the next snapshot stores their content anew.
    :raises BadInput: there is no such snapshot.
    """
    started = time.monotonic()
    depth = PRESENCE if not read_data else CONTENT if store.identity else STORED
    with store.lock.shared(LOCK_SECONDS):
        try:
            manifest = store.manifest(snapshot_id, digest)
        except CodeblueError as error:
            if error.exit_code == 2:
                raise
            problem = Problem(f"{store.path / 'snapshots' / snapshot_id}.json", error.message)
            return VerifyReport(snapshot_id, depth, False, (problem,), 0, 0, 0, time.monotonic() - started)
        sizes, damaged = _read_objects(store, manifest, depth)
        problems = [Problem(str(store.objects.path_of(name)), what) for name, what in sorted(damaged.items())]
        files = 0
        if depth == CONTENT and not damaged.keys() & set(manifest.tree):
            files, more = _check_entries(store, manifest, sizes, damaged)
            problems = more + problems
        if quarantine:
            _take_away(store, damaged)
        return VerifyReport(
            snapshot_id=snapshot_id,
            depth=depth,
            sealed=store.naming_key(manifest) is not None,
            problems=tuple(problems[:MOST_PROBLEMS]),
            objects=len(manifest.objects),
            files=files,
            bytes_read=sum(sizes.values()),
            seconds=round(time.monotonic() - started, 3),
        )


def _read_objects(store: ContentStore, manifest: SnapshotManifest, depth: str) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes by name of what is good, and what is wrong by name of the rest."""
    key, identity, objects = store.naming_key(manifest), store.identity, store.objects

    def size_of(name: str) -> int:
        if depth == PRESENCE:
            if not objects.is_whole(name):
                raise CodeblueError(f"object {name} is missing or cut off")
            return 0
        if identity is None or depth == STORED:
            return len(objects.read_stored(name))
        return len(objects.read(name, identity, key))

    sizes: dict[str, int] = {}
    damaged: dict[str, str] = {}
    with reading_pool() as pool:
        for name, future in _in_turn(pool, size_of, iter(sorted(manifest.objects))):
            try:
                sizes[name] = future.result()
            except CodeblueError as error:
                damaged[name] = error.message
    return sizes, damaged


def _in_turn(
    pool: ThreadPoolExecutor, work: Callable[[str], int], names: Iterator[str]
) -> Iterator[tuple[str, Future[int]]]:
    """Work on all names with only a few under way: their contents are what memory is used for."""
    running: list[tuple[str, Future[int]]] = []
    for name in names:
        running.append((name, pool.submit(work, name)))
        if len(running) >= 2 * WORKERS:
            yield running.pop(0)
    yield from running


def _check_entries(
    store: ContentStore, manifest: SnapshotManifest, sizes: dict[str, int], damaged: dict[str, str]
) -> tuple[int, list[Problem]]:
    """Every file is made of good objects and of as many bytes as it had."""
    files, problems = 0, []
    chunk_bytes = store.config.chunk_bytes
    for entry in store.entries(manifest):
        if entry.type != FILE:
            continue
        files += 1
        bad = [name for name in entry.chunks if name is not None and name in damaged]
        unknown = [name for name in entry.chunks if name is not None and name not in manifest.objects]
        where = f"{entry.level}:{entry.path}"
        if bad:
            problems.append(Problem(where, damaged[bad[0]]))
        elif unknown:
            problems.append(Problem(where, f"object {unknown[0]} is not in the header"))
        elif sum(chunk_bytes if name is None else sizes[name] for name in entry.chunks) != entry.size:
            problems.append(Problem(where, "its pieces do not add up to its size"))
    if files != manifest.files:
        problems.append(Problem(f"snapshot {manifest.snapshot_id}", f"{files} files instead of {manifest.files}"))
    return files, problems


def _take_away(store: ContentStore, damaged: dict[str, str]) -> None:
    for name in damaged:
        # A missing one is as good as taken away.
        with contextlib.suppress(FileNotFoundError):
            store.objects.path_of(name).rename(store.path / "damaged" / name)
    if damaged:
        sync_directory(store.path / "damaged")
