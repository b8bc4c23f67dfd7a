"""How long a point-in-time recovery of about 1 GB takes: restore beside, search for the clean point, compare and swap.

    python tests/benchmarks/pitr.py [MEGABYTES]

Prints figures; it passes or fails nothing. The requirement is a PITR of 1 GB within 60 s.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ansible_collections.codeblue.recovery.plugins.module_utils._clean_point import Assignment, find_clean_point
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import Rule
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import Bench
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    RestoreRequest,
    restore_beside,
    stop_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import Comparison
from ansible_collections.codeblue.recovery.plugins.module_utils._table_swap import swap_tables
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_end import archive_everything
from snapshot_cluster import Cluster

_ROW_BYTES = 1000
_OTHER_COMMITS = 2000
_DAMAGED_ROWS = 1000
_SECONDS = 600.0


def timed(name: str, work: Callable[[], object]) -> object:
    """Do it and print how long it took."""
    started = time.monotonic()
    result = work()
    print(f"{name:<46}{time.monotonic() - started:8.1f} s", flush=True)
    return result


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rows = megabytes * 1_000_000 // _ROW_BYTES
    cluster = Cluster("shared_buffers = '256MB'\nfsync = off\n").start()
    try:
        measure(cluster, rows)
    finally:
        stop_beside(str(cluster.root / "beside"))
        cluster.close()


def measure(cluster: Cluster, rows: int) -> None:
    cluster.sql(
        "CREATE TABLE records (id bigint PRIMARY KEY, note text NOT NULL, body text NOT NULL)",
        "CREATE TABLE other (n bigint PRIMARY KEY)",
        "ALTER TABLE records ALTER body SET STORAGE EXTERNAL",
        f"INSERT INTO records SELECT n, 'note ' || n, repeat(md5(n::text), {(_ROW_BYTES - 60) // 32})"
        f" FROM generate_series(1, {rows}) n",
    )
    size = int(cluster.sql("SELECT pg_database_size(current_database())"))
    print(f"database of {size / 1e9:.2f} GB, {rows} rows, load average {os.getloadavg()[0]:.1f}", flush=True)
    timed("base backup", lambda: cluster.backup("before"))
    with PsqlSession(cluster.login, Deadline(_SECONDS)) as sql:
        for number in range(_OTHER_COMMITS):
            sql.execute(f"INSERT INTO other VALUES ({number})")
            if number % 100 == 0:
                sql.execute(f"UPDATE records SET note = note || '.' WHERE id = {number + 1}")
    cluster.sql(f"UPDATE records SET note = 'overwritten' WHERE id % {max(1, rows // _DAMAGED_ROWS)} = 0")
    with PsqlSession(cluster.login, Deadline(_SECONDS)) as sql:
        for number in range(_OTHER_COMMITS):
            sql.execute(f"INSERT INTO other VALUES ({_OTHER_COMMITS + number})")
        end = archive_everything(sql, str(cluster.archive), Deadline(_SECONDS))
    directory = str(cluster.root / "beside")
    request = RestoreRequest(
        cluster.login, str(cluster.backups), directory, RecoveryTarget(), archive_dir=str(cluster.archive)
    )
    timed("PITR beside to the end of the log, verified", lambda: restore_beside(request, Deadline(_SECONDS)))
    stop_beside(directory)
    rule = Rule("notes", ("records",), violations="SELECT count(*) FROM records WHERE note = 'overwritten'")
    assignment = Assignment(request, (rule,), end.timeline, end.until_lsn)
    started = time.monotonic()
    point = find_clean_point(assignment, Deadline(_SECONDS))
    effort = point.effort
    print(
        f"{'clean point to the very transaction, verified':<46}{time.monotonic() - started:8.1f} s  "
        f"({effort.commits} commits, {effort.candidates} candidates, {effort.restores} restores, "
        f"{effort.starts} starts)"
    )
    bench = Bench(cluster.login, point.copy.login, directory, Deadline(_SECONDS))
    found = timed("comparison", lambda: Comparison(bench, ["records"], point.culprit_xids).run())
    print(f"  {found[0].as_dict()}")  # type: ignore[index]
    timed("swap", lambda: swap_tables(bench, found, [rule]))  # type: ignore[arg-type]
    print(f"{'from the start of the search to the swap':<46}{time.monotonic() - started:8.1f} s")


if __name__ == "__main__":
    main()
