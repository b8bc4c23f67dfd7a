# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where snapshots lie: the store on the controller, backups on their machines, and how both stand in the catalog."""

from __future__ import annotations

import fcntl
import hashlib
import os
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore, open_or_init
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import Snapshot
from ulid import ULID

# What tells two snapshots of one run apart; the rest of a ULID is its time.
_DIGEST_BYTES = 10


@dataclass(frozen=True)
class BackupPlace:
    """A base backup on its machine.

    :param digest: of its record, which binds every byte of it.
    """

    machine: str
    destination: str
    backup_id: str
    digest: str

    def as_meta(self) -> dict[str, str]:
        """As it stands in the catalog."""
        return asdict(self)

    @classmethod
    def of(cls, snapshot: Snapshot) -> BackupPlace | None:
        """The one of a snapshot; None when it has none."""
        kept = snapshot.meta.get("backup")
        return cls(**kept) if isinstance(kept, Mapping) else None


def snapshot_id_of(run_id: str, target: str, kind: str) -> str:
    """The id of the snapshot that a run takes of a target: the same again when the run is resumed.

    It has the time of the run, so that snapshots sort by their age.
    """
    digest = hashlib.sha256(f"{run_id}/{target}/{kind}".encode()).digest()[:_DIGEST_BYTES]
    return str(ULID.from_bytes(ULID.from_str(run_id).bytes[:-_DIGEST_BYTES] + digest))


def store_directory(given: str | None) -> Path:
    """The store on the controller: `codeblue_snapshot_store`, else beside the state."""
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "codeblue" / "snapshots"


def open_for_writing(path: Path, recipients: Sequence[str]) -> ContentStore:
    """The store, made by whoever comes first: the services of one play write at the same time.

    :raises BadInput: a recipient is wrong, or the path holds something else.
    """
    if (path / "config.json").is_file():
        return ContentStore.open(path, recipients)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path.parent / f".{path.name}.init", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Held for the few milliseconds of making directories; it goes with the process.
        fcntl.flock(handle, fcntl.LOCK_EX)
        return open_or_init(path, recipients)
    finally:
        os.close(handle)


def backup_root(machine: str, variables: Mapping[str, t.Any]) -> str:
    """The directory for backups on a machine.

    :raises BadInput: the inventory names none; there is no default, because it needs room.
    """
    given = variables.get("codeblue_snapshot_directory")
    if not given:
        raise BadInput(
            f"codeblue_snapshot_directory: is not set for machine {machine}",
            "name a directory there with room for base backups, in which the database's user may enter",
        )
    if not str(given).startswith("/"):
        raise BadInput(f"codeblue_snapshot_directory: must be an absolute path on {machine}, not {str(given)!r}")
    return str(given).rstrip("/")


def choose_snapshot(found: Sequence[Snapshot], target: str, snapshot_id: str | None) -> Snapshot:
    """The snapshot that was asked for, else the newest that is not known to be damaged.

    :param found: those of the target, the newest first.
    :raises BadInput: there is none.
    """
    if snapshot_id is None:
        usable = [each for each in found if each.state != "corrupt"]
        if not usable:
            raise BadInput(f"{target}: there is no snapshot", "take one: codeblue snapshot create")
        return usable[0]
    named = [each for each in found if each.snapshot_id == snapshot_id]
    if not named:
        raise BadInput(f"{target}: there is no snapshot {snapshot_id}", "see codeblue snapshot list")
    return named[0]


def refuse_corrupt(snapshot: Snapshot) -> Snapshot:
    """:raises Refused: a verification found it damaged."""
    if snapshot.state == "corrupt":
        raise Refused(
            f"snapshot {snapshot.snapshot_id} of {snapshot.target} is damaged: nothing was touched",
            "use another one: codeblue snapshot list",
        )
    return snapshot
