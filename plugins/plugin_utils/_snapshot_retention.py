# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which snapshots stay, and the removal of the others with what only they needed."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import LOCK_SECONDS, ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store_files import sync_directory


@dataclass(frozen=True)
class RetentionPolicy:
    """A snapshot stays when it is among the newest of its service, or young enough.

    :param newest: how many of each service stay whatever their age.
    :param days: younger ones stay however many there are.
    """

    newest: int = 10
    days: float = 30.0

    def __post_init__(self) -> None:
        if self.newest < 1 or self.days < 0:
            raise BadInput(
                f"retention: newest {self.newest}, days {self.days:g}",
                "keep at least one snapshot and no negative days",
            )


@dataclass(frozen=True)
class PruneReport:
    """:param kept: identifiers with the reason why they stay. :param removed: identifiers, oldest first."""

    kept: Mapping[str, str]
    removed: tuple[str, ...]
    removed_objects: int
    removed_bytes: int


class Retained(t.Protocol):
    """What retention decides about: a snapshot in the store, or a base backup on its machine."""

    @property
    def snapshot_id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def created_at(self) -> str: ...
    @property
    def requires(self) -> tuple[str, ...]: ...


def choose_kept(
    manifests: Sequence[Retained],
    policy: RetentionPolicy,
    now: datetime,
    proven: Collection[str],
    damaged: Collection[str] = (),
) -> dict[str, str]:
    """What stays and why.

    :param proven: identifiers that a restore test has proven; the last one of each service always stays.
    :param damaged: identifiers that cannot be restored. They take no place of the newest, unless there is nothing else.
    """
    kept: dict[str, str] = {}
    oldest = now.astimezone(UTC) - timedelta(days=policy.days)
    for service in {manifest.service for manifest in manifests}:
        mine = sorted(
            (manifest for manifest in manifests if manifest.service == service),
            key=lambda manifest: (manifest.created_at, manifest.snapshot_id),
        )
        for manifest in mine:
            if datetime.fromisoformat(manifest.created_at) >= oldest:
                kept[manifest.snapshot_id] = f"younger than {policy.days:g} days"
        sound = [manifest for manifest in mine if manifest.snapshot_id not in damaged] or mine
        for manifest in sound[-policy.newest :]:
            kept.setdefault(manifest.snapshot_id, f"among the newest {policy.newest}")
        last_proven = [manifest.snapshot_id for manifest in mine if manifest.snapshot_id in proven][-1:]
        for snapshot_id in last_proven:
            kept.setdefault(snapshot_id, "the last proven one")
    by_id = {manifest.snapshot_id: manifest for manifest in manifests}
    pending = list(kept)
    while pending:
        snapshot_id = pending.pop()
        for needed in by_id[snapshot_id].requires if snapshot_id in by_id else ():
            if needed not in kept:
                kept[needed] = f"needed by {snapshot_id}"
                pending.append(needed)
    return kept


def prune(
    store: ContentStore,
    policy: RetentionPolicy,
    now: datetime,
    proven: Collection[str] = (),
    dry_run: bool = False,
    damaged: Collection[str] = (),
) -> PruneReport:
    """Remove what the policy does not keep, and every object that no snapshot names any more.

    :param dry_run: only say what would go; objects are not counted then.
    :raises Refused: the store is append-only or in use.
    :raises CodeblueError: a header is damaged: what it needs cannot be known, so nothing is removed.
    """
    if not dry_run:
        store.refuse_when_append_only("prune")
    with store.lock.alone(LOCK_SECONDS):
        manifests = store.manifests()
        kept = choose_kept(manifests, policy, now, proven, damaged)
        removed = tuple(manifest.snapshot_id for manifest in manifests if manifest.snapshot_id not in kept)
        if dry_run:
            return PruneReport(kept, removed, 0, 0)
        headers = store.path / "snapshots"
        for snapshot_id in removed:
            (headers / f"{snapshot_id}.json").unlink()
        # A header that came back after a power cut must not name objects that are gone.
        sync_directory(headers)
        needed = frozenset[str]().union(*(manifest.objects for manifest in manifests if manifest.snapshot_id in kept))
        count, size = _remove_objects(store, needed)
        return PruneReport(kept, removed, count, size)


def _remove_objects(store: ContentStore, needed: frozenset[str]) -> tuple[int, int]:
    count = size = 0
    for name in store.objects.names():
        if name not in needed:
            path = store.objects.path_of(name)
            size += path.stat().st_size
            path.unlink()
            count += 1
    # Nobody is writing while the lock is held: these are what killed writers left.
    for path in (store.path / "tmp").iterdir():
        path.unlink()
    return count, size
