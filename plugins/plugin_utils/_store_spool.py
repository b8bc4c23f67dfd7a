# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second place for one run, for when the store is lost or its disk is full.

A spool is the same schema in one SQLite file per run. Its chain is a segment of its own, numbered by the
millisecond in which it began, and starts from the last head that is known of the run.
A seed is a small file that is left there when a run opens: enough to go on with it when nothing else can be read.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger import NO_RECORD
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, ledger_key_path
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import is_disk_failure, private_dir
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import (
    Lease,
    LeaseHeld,
    StoreUnavailable,
    utc_now,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_rows import TABLES, RunRows, rows_of_run
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_schema import ensure_schema
from sqlalchemy.engine import URL

_SUFFIX = ".sqlite"
_SEED_SUFFIX = ".seed.json"
# More runs than that are not under way at once on one controller.
_MOST_FILES = 1000


class SpoolStore(Store):
    """The spool of one run."""

    is_spool = True

    def __init__(self, path: Path, key_path: Path | None = None) -> None:
        super().__init__(URL.create("sqlite", database=str(path)), key_path=key_path)
        self.path = path

    @property
    def run_id(self) -> str:
        return self.path.name.removesuffix(_SUFFIX)


def spool_dir() -> Path:
    """CODEBLUE_SPOOL_DIR, else /var/tmp/codeblue-spool-UID: made for this user alone.

    :raises StoreUnavailable: it cannot be made, is a link, or belongs to somebody else.
    """
    given = os.environ.get("CODEBLUE_SPOOL_DIR")
    path = private_dir(Path(given) if given else Path(f"/var/tmp/codeblue-spool-{os.geteuid()}"))
    if path.stat().st_mode & 0o077:
        raise StoreUnavailable(f"{path} is open to others", f"chmod 700 {path}")
    return path


def spool_path(run_id: str) -> Path:
    """Where the spool of a run is, or would be."""
    return spool_dir() / f"{run_id}{_SUFFIX}"


def spool_paths() -> list[Path]:
    """The spools on this controller, the oldest run first."""
    paths = sorted(path for path in spool_dir().glob(f"*{_SUFFIX}") if not path.name.startswith("."))
    return paths[:_MOST_FILES]


def open_spool(path: Path) -> SpoolStore:
    """A spool that exists."""
    return SpoolStore(path, key_path=_usable_key())


def new_spool(run_id: str) -> SpoolStore:
    """An empty spool for a run that opens in it.

    :raises StoreUnavailable: it cannot be made.
    """
    return open_spool(_publish(run_id, None))


def spool_from(run_id: str, rows: RunRows, reason: str) -> SpoolStore:
    """A spool that goes on with a run.

    Several workers may come here at once: the first one's spool is used by all.

    :param rows: what is known of the run, from the store or from its seed.
    :raises StoreUnavailable: it cannot be made.
    """
    return open_spool(_publish(run_id, (rows, reason)))


def remove_spool(spool: SpoolStore) -> None:
    """Remove a spool that was taken in."""
    spool.close()
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{spool.path}{suffix}").unlink()
    remove_seed(spool.run_id)


def write_seed(store: Store, run_id: str) -> None:
    """Leave what is needed to go on with a run when the store cannot be read any more.

    It is not flushed to disk: it serves when the store is lost, not when this machine is.

    :raises StoreUnavailable: there is no room for it either, or the run cannot be read.
    """
    with store.database.read() as connection:
        rows = rows_of_run(connection, run_id, with_record=False)
    path = spool_dir() / f"{run_id}{_SEED_SUFFIX}"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(rows, file)
        unfinished.replace(path)
    except OSError as error:
        raise _cannot(path, error) from error


def read_seed(run_id: str) -> RunRows | None:
    """The seed of a run, if there is one."""
    path = spool_dir() / f"{run_id}{_SEED_SUFFIX}"
    try:
        rows: RunRows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}", "remove it") from error
    return rows


def remove_seed(run_id: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        (spool_dir() / f"{run_id}{_SEED_SUFFIX}").unlink()


def seeded_runs() -> list[str]:
    """The runs that left a seed, the oldest first."""
    names = sorted(path.name for path in spool_dir().glob(f"*{_SEED_SUFFIX}") if not path.name.startswith("."))
    return [name.removesuffix(_SEED_SUFFIX) for name in names[:_MOST_FILES]]


def leases_in_seed(rows: RunRows) -> list[Lease]:
    """The leases that a run held when it left its seed."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity

    return [
        Lease(
            row["target"],
            row["run_id"],
            row["generation"],
            ProcessIdentity(row["holder_host"], row["holder_boot_id"], row["holder_pid"], row["holder_started"]),
            row["acquired_at"],
            row["heartbeat_at"],
            row["expires_at"],
        )
        for row in rows["leases"]
    ]


def refuse_held(lease: Lease, targets: Sequence[str], runbook: str, operator: str) -> None:
    """A target of another open run can be had only when its lease has expired and its holder is not alive.

    :raises LeaseHeld: it cannot.
    """
    if lease.target not in targets:
        return
    alive = lease.holder.is_alive()
    if alive or lease.expires_at > utc_now():
        raise LeaseHeld(lease, runbook, operator, alive)


def refuse_held_in_seeds(run_id: str, targets: Sequence[str]) -> None:
    """Without the store, the seeds of other runs say what these held. A run with a spool is asked there.

    :raises LeaseHeld: one of the targets is held.
    """
    for other in seeded_runs():
        rows = read_seed(other) if other != run_id and not spool_path(other).exists() else None
        if rows is None:
            continue
        run = rows["runs"][0]
        for lease in leases_in_seed(rows):
            refuse_held(lease, targets, run["runbook"], run["operator"])


@contextlib.contextmanager
def only_one_takes_leases() -> Iterator[None]:
    """Spools are one file per run: what takes leases in them waits here for the others.

    :raises StoreUnavailable: the lock file cannot be made.
    """
    import fcntl

    path = spool_dir() / ".leases.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        _lock_within(handle, path, 10.0)
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _lock_within(handle: int, path: Path, seconds: float) -> None:
    import fcntl

    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreUnavailable(f"{path} is held for more than {seconds:g} s by another process") from None
            time.sleep(0.02)


def _usable_key() -> Path:
    """The controller's key when it can be used, else one that is made for the spools.

    The key is in the state directory, which may be what is lost.
    """
    try:
        path = ledger_key_path()
        LedgerKey.at(path)
    except StoreUnavailable:
        return spool_dir() / "keys" / "ledger.key"
    return path


def _publish(run_id: str, source: tuple[RunRows, str] | None) -> Path:
    path = spool_path(run_id)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    store = SpoolStore(unfinished, key_path=_usable_key())
    try:
        ensure_schema(store.database)
        if source is not None:
            _fill(store, run_id, *source)
        # Closing folds the write-ahead log into the file, so that one link publishes all of it.
        store.close()
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    except OSError as error:
        raise _cannot(path, error) from error
    finally:
        store.close()
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{unfinished}{suffix}").unlink()
    return path


def _fill(store: SpoolStore, run_id: str, rows: RunRows, reason: str) -> None:
    known = rows["runs"][0]
    segment = int(time.time() * 1000)
    with store.database.write() as transaction:
        connection = transaction.connection
        for name, table in TABLES.items():
            for row in rows.get(name, []):
                values = row | {"segment": segment, "head_seq": -1} if name == "runs" else row
                connection.execute(table.insert().values(**values))
        fields = {"reason": reason, "operator": str(current_operator()), "place": "spool"}
        if known["head_hash"] != NO_RECORD:
            fields |= {
                "continues_segment": known["segment"],
                "continues_seq": known["head_seq"],
                "continues_hash": known["head_hash"],
            }
        store.ledger.append(connection, run_id, "segment_opened", fields)


def _cannot(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path}: {error.strerror}",
        "set CODEBLUE_SPOOL_DIR to a place with room",
        disk_failure=is_disk_failure(error),
    )
