"""How long snapshots, their validation and a point-in-time restore take, with a real PostgreSQL and fsync on.

    python tests/benchmarks/snapshot_speed.py [--snapshot-mb 300] [--restore-mb 1000]

Prints figures; it passes or fails nothing. The bars are those of the requirements: a snapshot of 300 MB under
15 s, its validation under 10 s, a restore of 1 GB to a point in time under 60 s.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyrage

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import RestoreRequest, restore_beside
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import BackupRecord, backup_directory
from ansible_collections.codeblue.recovery.plugins.module_utils._verify_backup import verify_backup
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import SnapshotManifest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_verify import verify_snapshot
from snapshot_cluster import Cluster

# One row of the filling is about this long on disk, and half of it is random.
_ROW_BYTES = 1100


@contextmanager
def timed(what: str, bar: float | None = None) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    print(f"{what:<58} {seconds:7.2f} s" + (f"   (bar {bar:g} s)" if bar else ""), flush=True)


def fill(cluster: Cluster, megabytes: int) -> None:
    rows = megabytes * 1_000_000 // _ROW_BYTES
    cluster.sql(
        "CREATE TABLE records (id bigint, body text)",
        "ALTER TABLE records ALTER body SET STORAGE PLAIN",
        "INSERT INTO records SELECT g, repeat('patient ', 64) || string_agg(md5(random()::text), '')"
        f" FROM generate_series(1, {rows}) g, generate_series(1, 16) GROUP BY g",
        "CREATE TABLE sentinel (n int)",
        # The first look at a row marks its page; with checksums that would count as a change of every page later.
        "VACUUM records",
        "CHECKPOINT",
    )
    size = int(cluster.sql("SELECT sum(pg_database_size(oid)) FROM pg_database"))
    print(f"\nPostgreSQL of {size / 1e6:.0f} MB", flush=True)


def ingest(store: ContentStore, cluster: Cluster, record: BackupRecord, requires: list[str]) -> SnapshotManifest:
    with store.begin("patient_db", "on_demand", requires=requires) as writer:
        writer.add_tree(Path(backup_directory(str(cluster.backups), record.backup_id)), "database")
        return writer.commit()


def snapshots(megabytes: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        place = Path(directory)
        identity = pyrage.x25519.Identity.generate()
        (place / "identity").write_text(str(identity))
        (place / "identity").chmod(0o600)
        store = ContentStore.init(place / "store", [str(identity.to_public())], naming_key_file=place / "naming.key")
        reader = ContentStore.open(place / "store", identity=place / "identity", naming_key_file=place / "naming.key")
        cluster = Cluster()
        try:
            cluster.start()
            fill(cluster, megabytes)
            with timed("snapshot, full: base backup and into the store", 15):
                with timed("    base backup"):
                    full = cluster.backup("full")
                with timed("    into the store: compressed, encrypted"):
                    first = ingest(store, cluster, full, [])
            print(f"    {first.size_bytes / 1e6:.0f} MB became {first.stored_bytes / 1e6:.0f} MB in the store")
            with timed("validation, full: backup and store", 10):
                with timed("    base backup, every byte and the log parsed"):
                    verify_backup(cluster.login, str(cluster.backups), "full", Deadline(600)).raise_if_damaged()
                with timed("    store, decrypted and compared with its names"):
                    verify_snapshot(reader, first.snapshot_id).raise_if_damaged()
            with timed("    store without an identity, stored bytes only"):
                verify_snapshot(store, first.snapshot_id).raise_if_damaged()
            cluster.sql("UPDATE records SET body = 'x' || body WHERE id % 50 = 0", "CHECKPOINT")
            with timed("snapshot, incremental, 2 % of the rows changed", 15):
                with timed("    base backup"):
                    incremental = cluster.backup("incremental", "incremental")
                with timed("    into the store"):
                    second = ingest(store, cluster, incremental, [first.snapshot_id])
            print(f"    {second.size_bytes / 1e6:.0f} MB became {second.stored_bytes / 1e6:.0f} MB in the store")
            with timed("snapshot, full, again: what the store knows already"):
                again = ingest(store, cluster, full, [])
            print(f"    {again.stored_bytes / 1e6:.2f} MB were added")
        finally:
            cluster.close()


def restore(megabytes: int) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        fill(cluster, megabytes)
        cluster.backup("full")
        cluster.sql("INSERT INTO sentinel SELECT generate_series(1, 1000)")
        cluster.sql("UPDATE records SET body = 'y' || body WHERE id % 20 = 0")
        target = cluster.sql("SELECT pg_current_wal_insert_lsn()")
        cluster.sql("DELETE FROM sentinel")
        cluster.archive_now()
        log = sum(path.stat().st_size for path in cluster.archive.iterdir())
        request = RestoreRequest(
            cluster.login,
            str(cluster.backups),
            str(cluster.root / "beside"),
            RecoveryTarget("lsn", target),
            archive_dir=str(cluster.archive),
        )
        with timed("restore to a point in time, verified, up to answering", 60):
            beside = restore_beside(request, Deadline(600))
        count = cluster.sql("SELECT count(*) FROM sentinel", login=beside.login)
        print(
            f"    {count} of 1000 sentinels; {log / 1e6:.0f} MB of log in the archive; by phase: {dict(beside.seconds)}"
        )
        with timed("    stopped and removed"):
            beside.stop()
    finally:
        cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--snapshot-mb", type=int, default=300)
    parser.add_argument("--restore-mb", type=int, default=1000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.snapshot_mb:
        snapshots(options.snapshot_mb)
    if options.restore_mb:
        restore(options.restore_mb)


if __name__ == "__main__":
    main()
