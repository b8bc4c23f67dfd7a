"""Base backups, their verification and restores beside, with a real PostgreSQL. Takes about 40 s."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._backup_retention import (
    needless_segments,
    plan_removal,
    remove_backups,
    remove_segments,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    Beside,
    RestoreRequest,
    beside_state,
    restore_beside,
    stop_beside,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import (
    backup_chain,
    list_backups,
    read_record,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._verify_backup import verify_backup
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_archive import WalArchive, verify_wal
from ansible_collections.codeblue.recovery.plugins.plugin_utils._content_store import ContentStore
from ansible_collections.codeblue.recovery.plugins.plugin_utils._manifest import SnapshotManifest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_restore import restore_snapshot
from snapshot_cluster import BIN_DIR, Cluster


class History:
    """What happened in the cluster, in this order, so that every point of it can be recovered to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.sql("CREATE TABLE sentinel (n int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
        cluster.sql("CREATE TABLE bulk AS SELECT g, md5(g::text) AS t FROM generate_series(1, 20000) g")
        self._add(1, 100)
        cluster.backup("full-1")
        self._add(101, 200)
        cluster.backup("incr-2", "incremental")
        self._add(201, 300)
        self.time_300 = self._moment()
        self._add(301, 400)
        self.lsn_400 = cluster.sql("SELECT pg_current_wal_insert_lsn()")
        cluster.sql("SELECT pg_create_restore_point('before_the_mistake')")
        cluster.sql("DELETE FROM sentinel WHERE n <= 350")
        cluster.archive_now()

    def _add(self, first: int, last: int) -> None:
        self.cluster.sql(f"INSERT INTO sentinel SELECT generate_series({first}, {last})")

    def _moment(self) -> str:
        time.sleep(0.05)
        moment = self.cluster.sql(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        )
        time.sleep(0.05)
        return moment


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    cluster = Cluster("synchronous_standby_names = ''")
    try:
        cluster.start()
        # In postgresql.auto.conf, which wins over any configuration file: the copy must not take it over.
        cluster.sql("ALTER SYSTEM SET max_connections = 150", "ALTER SYSTEM SET port = 5432")
        yield History(cluster)
    finally:
        cluster.close()


def restore(history: History, target: RecoveryTarget, name: str = "beside", **options: object) -> Beside:
    cluster = history.cluster
    request = RestoreRequest(
        cluster.login,
        str(cluster.backups),
        str(cluster.root / name),
        target,
        archive_dir=str(cluster.archive),
        **options,  # type: ignore[arg-type]
    )
    return restore_beside(request, Deadline(60))


def count(beside: Beside, cluster: Cluster) -> str:
    return cluster.sql("SELECT count(*) || ' ' || coalesce(max(n), 0) FROM sentinel", login=beside.login)


def test_backups_know_their_parents_and_verify(history: History) -> None:
    backups = str(history.cluster.backups)
    assert [record.backup_id for record in list_backups(backups)] == ["full-1", "incr-2"]
    assert [record.kind for record in backup_chain(backups, "incr-2")] == ["full", "incremental"]
    report = verify_backup(history.cluster.login, backups, "incr-2", Deadline(60))
    assert report.ok, report.problems
    assert report.backups == ("full-1", "incr-2")
    assert report.bytes > 20_000_000


@pytest.mark.parametrize(
    ("kind", "value_of", "expected"),
    [
        ("time", "time_300", "300 300"),
        ("lsn", "lsn_400", "400 400"),
        ("name", None, "400 400"),
        ("latest", None, "50 400"),
        ("immediate", None, "200 200"),
    ],
)
def test_recovers_to_the_very_point(history: History, kind: str, value_of: str | None, expected: str) -> None:
    value = "before_the_mistake" if kind == "name" else getattr(history, value_of) if value_of else None
    archived = sorted(history.cluster.archive.iterdir())
    beside = restore(history, RecoveryTarget(kind, value))
    try:
        assert count(beside, history.cluster) == expected
        assert beside.in_recovery == (kind != "latest")
        settings = {
            name: history.cluster.sql(f"SHOW {name}", login=beside.login)
            for name in (
                "archive_mode",
                "primary_conninfo",
                "listen_addresses",
                "port",
                "max_logical_replication_workers",
            )
        }
        assert settings == {
            "archive_mode": "off",
            "primary_conninfo": "",
            "listen_addresses": "",
            "port": str(beside.port),
            "max_logical_replication_workers": "0",
        }
        assert history.cluster.sql("SELECT count(*) FROM pg_stat_replication") == "0"
        assert beside_state(beside.place.directory)["ready"]
    finally:
        beside.stop()
    assert not Path(beside.place.directory).exists()
    assert sorted(history.cluster.archive.iterdir()) == archived
    assert history.cluster.sql("SELECT count(*) FROM sentinel") == "50"


def test_promoted_copy_can_be_written_and_archives_nothing(history: History) -> None:
    archived = sorted(history.cluster.archive.iterdir())
    beside = restore(history, RecoveryTarget("time", history.time_300, action="promote"))
    try:
        assert not beside.in_recovery
        history.cluster.sql("INSERT INTO sentinel VALUES (9999)", "SELECT pg_switch_wal()", login=beside.login)
        assert count(beside, history.cluster) == "301 9999"
    finally:
        assert stop_beside(beside.place.directory)
    assert not stop_beside(beside.place.directory)
    assert sorted(history.cluster.archive.iterdir()) == archived


def test_inclusive_or_not_decides_on_the_commit_at_the_target(history: History) -> None:
    xid = history.cluster.sql("SELECT xmin FROM sentinel WHERE n = 400")
    for inclusive, expected in ((True, "400 400"), (False, "300 300")):
        beside = restore(history, RecoveryTarget("xid", xid, inclusive=inclusive))
        try:
            assert count(beside, history.cluster) == expected
        finally:
            beside.stop()


def test_unreachable_target_is_named_and_leaves_nothing(history: History) -> None:
    directory = history.cluster.root / "beside"
    with pytest.raises(CodeblueError, match="recovery ended before configured recovery target") as caught:
        restore(history, RecoveryTarget("time", "2099-01-01T00:00:00Z"))
    assert "\n" not in str(caught.value)
    assert not directory.exists()
    with pytest.raises(BadInput, match=r"no backup .* is older"):
        restore(history, RecoveryTarget("time", "2001-01-01T00:00:00Z"))
    with pytest.raises(BadInput, match="not a moment with its offset"):
        RecoveryTarget("time", "2026-01-01 00:00:00")
    with pytest.raises(BadInput, match="not open to choice"):
        restore(history, RecoveryTarget("latest"), settings={"archive_mode": "on"})
    assert not directory.exists()


def test_foreign_directory_is_not_touched(history: History) -> None:
    foreign = history.cluster.root / "foreign"
    foreign.mkdir()
    (foreign / "precious").write_text("x")
    with pytest.raises(BadInput, match="exists already"):
        restore(history, RecoveryTarget("latest"), name="foreign")
    with pytest.raises(BadInput, match="is no restored copy"):
        stop_beside(str(foreign))
    assert (foreign / "precious").read_text() == "x"


@pytest.mark.parametrize("where", ["relation", "wal", "manifest", "record", "auto_conf", "control"])
def test_a_flipped_byte_is_found_named_and_not_restored(history: History, where: str) -> None:
    base = history.cluster.backups / "full-1"
    path = {
        "relation": max(
            (base / "data" / "base").rglob("*"), key=lambda item: item.stat().st_size if item.is_file() else 0
        ),
        "wal": next(iter(sorted((base / "data" / "pg_wal").glob("0*")))),
        "manifest": base / "data" / "backup_manifest",
        "record": base / "backup.json",
        "auto_conf": base / "data" / "postgresql.auto.conf",
        "control": base / "data" / "global" / "pg_control",
    }[where]
    good = path.read_bytes()
    # Of the log even a byte after its end.
    position = len(good) - 5 if where == "wal" else len(good) // 2
    with path.open("r+b") as stream:
        stream.seek(position)
        stream.write(bytes([good[position] ^ 0x01]))
    try:
        with pytest.raises(CodeblueError, match="damaged") as caught:
            restore(history, RecoveryTarget("latest"))
        assert path.name in str(caught.value)
        assert not (history.cluster.root / "beside").exists()
        if where != "record":
            report = verify_backup(history.cluster.login, str(history.cluster.backups), "full-1", Deadline(30))
            assert any(path.name in problem for problem in report.problems), report.problems
    finally:
        with path.open("r+b") as stream:
            stream.seek(position)
            stream.write(good[position : position + 1])
    assert verify_backup(history.cluster.login, str(history.cluster.backups), "full-1", Deadline(30)).ok


def test_a_backup_replaced_as_a_whole_is_found_by_the_catalog(history: History) -> None:
    record = read_record(str(history.cluster.backups), "full-1")
    report = verify_backup(
        history.cluster.login, str(history.cluster.backups), "full-1", Deadline(30), expected_digest="0" * 64
    )
    assert not report.ok
    assert verify_backup(
        history.cluster.login, str(history.cluster.backups), "full-1", Deadline(30), expected_digest=record.digest()
    ).ok


def test_archive_tells_gaps_and_damage(history: History) -> None:
    archive, login = WalArchive(str(history.cluster.archive)), history.cluster.login
    record = read_record(str(history.cluster.backups), "full-1")
    coverage = archive.coverage(1, record.start_lsn)
    assert coverage.complete
    assert coverage.age_seconds is not None and coverage.age_seconds < 600
    assert coverage.until_lsn is not None and coverage.first is not None
    verify_wal(login, archive, 1, record.start_lsn, history.lsn_400, Deadline(30))
    path = history.cluster.archive / archive.segment_name(1, history.lsn_400)
    good = path.read_bytes()
    used = int(history.lsn_400.split("/")[1], 16) % len(good)
    with path.open("r+b") as stream:
        stream.seek(used // 2)
        stream.write(bytes([good[used // 2] ^ 1]))
    try:
        with pytest.raises(CodeblueError, match=path.name):
            verify_wal(login, archive, 1, record.start_lsn, history.lsn_400, Deadline(30))
        with pytest.raises(CodeblueError, match="ended before"):
            restore(history, RecoveryTarget("name", "before_the_mistake"))
        assert not (history.cluster.root / "beside").exists()
        aside = path.with_suffix(".aside")
        path.rename(aside)
        missing = archive.coverage(1, record.start_lsn)
        assert missing.gaps == () or missing.gaps[0] == path.name
        aside.rename(path)
    finally:
        path.write_bytes(good)


def test_backups_come_back_from_the_store_and_recover(history: History, tmp_path: Path) -> None:
    """The machine's backups are lost: the store and the archive are enough."""
    cluster = history.cluster
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(str(identity))
    (tmp_path / "identity").chmod(0o600)
    key = tmp_path / "naming.key"
    store = ContentStore.init(tmp_path / "store", [str(identity.to_public())], naming_key_file=key)
    made: list[SnapshotManifest] = []
    for backup_id in ("full-1", "incr-2"):
        with store.begin("patient_db", "scheduled", requires=[item.snapshot_id for item in made]) as writer:
            writer.add_tree(cluster.backups, "database", includes=[backup_id])
            writer.describe_level("database", read_record(str(cluster.backups), backup_id).as_dict())
            made.append(writer.commit())
    reader = ContentStore.open(tmp_path / "store", identity=tmp_path / "identity", naming_key_file=tmp_path / "other")
    place = cluster.root / "from-store"
    place.mkdir()
    os.chown(place, cluster.root.stat().st_uid, cluster.root.stat().st_gid)
    for manifest in made:
        restore_snapshot(reader, manifest.snapshot_id, "database", place / "one", digest=manifest.digest)
        for path in (place / "one").iterdir():
            path.rename(place / path.name)
        (place / "one").rmdir()
    request = RestoreRequest(
        cluster.login,
        str(place),
        str(cluster.root / "beside"),
        RecoveryTarget("lsn", history.lsn_400),
        archive_dir=str(cluster.archive),
        expected_digest=str(made[1].levels["database"].facts["digest"]),
    )
    beside = restore_beside(request, Deadline(60))
    try:
        assert beside.place.backups == ["full-1", "incr-2"]
        assert count(beside, cluster) == "400 400"
    finally:
        beside.stop()


def test_failed_backup_leaves_nothing_and_says_why(history: History) -> None:
    with pytest.raises(CodeblueError) as caught:
        history.cluster.backup("bad-rate", max_rate=1)
    assert "max-rate" in str(caught.value) or "transfer rate" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (history.cluster.backups / "bad-rate").exists()
    with pytest.raises(BadInput, match="exists already"):
        history.cluster.backup("full-1")


def test_tablespaces_are_moved_along(history: History) -> None:
    cluster = history.cluster
    place = cluster.root / "space one"
    place.mkdir()
    os.chown(place, cluster.root.stat().st_uid, cluster.root.stat().st_gid)
    cluster.sql(f"CREATE TABLESPACE elsewhere LOCATION '{place}'", "CREATE TABLE far (x int) TABLESPACE elsewhere")
    cluster.sql("INSERT INTO far SELECT generate_series(1, 5000)")
    cluster.backup("full-3")
    cluster.sql("INSERT INTO far SELECT generate_series(1, 7)")
    cluster.backup("incr-4", "incremental")
    cluster.archive_now()
    assert verify_backup(cluster.login, str(cluster.backups), "incr-4", Deadline(60)).ok
    beside = restore(history, RecoveryTarget("latest"), backup_id="incr-4")
    try:
        assert cluster.sql("SELECT count(*) FROM far", login=beside.login) == "5007"
        location = cluster.sql(
            "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'", login=beside.login
        )
        assert location.startswith(beside.place.directory)
    finally:
        beside.stop()
    cluster.sql("DROP TABLE far", "DROP TABLESPACE elsewhere")


def test_retention_keeps_what_carries_a_kept_backup(history: History) -> None:
    cluster = history.cluster
    cluster.backup("full-5")
    place = str(cluster.backups)
    everything = [record.backup_id for record in list_backups(place)]
    for wrong in (["full-1"], everything):
        with pytest.raises(Refused):
            remove_backups(place, wrong)
        assert [record.backup_id for record in list_backups(place)] == everything
    assert plan_removal(place, everything, others_elsewhere=True).kept == ()
    # A removal that was cut off right after its rename: no backup any more, and swept by the next one.
    half = cluster.backups / "full-5"
    (half / "backup.json").rename(half / "incomplete")
    removal = remove_backups(place, [each for each in everything if each not in ("full-1", "incr-2")])
    assert "full-5" not in [record.backup_id for record in removal.removed]
    assert [record.backup_id for record in list_backups(place)] == ["full-1", "incr-2"] and not half.exists()
    assert remove_backups(place, ["full-5"]).removed == ()


def test_log_goes_up_to_the_oldest_backup_as_pg_archivecleanup_tells_it(history: History) -> None:
    cluster = history.cluster
    cluster.backup("full-6")
    cluster.archive_now()
    record = read_record(str(cluster.backups), "full-6")
    archive = WalArchive(str(cluster.archive), record.segment_bytes)
    first = archive.segment_name(record.timeline, record.start_lsn)
    told = subprocess.run(
        [BIN_DIR / "pg_archivecleanup", "-n", cluster.archive, first], capture_output=True, text=True, check=True
    )
    needless = needless_segments(archive, record.start_lsn)
    assert needless
    assert {Path(line).name for line in told.stdout.split()} == {segment.name for segment in needless}
    others = {path.name for path in cluster.archive.iterdir()} - {segment.name for segment in needless}
    assert remove_segments(archive, needless) == sum(segment.bytes for segment in needless)
    # Gone already, as on a directory that two machines share.
    assert remove_segments(archive, needless) == 0
    assert {path.name for path in cluster.archive.iterdir()} == others
    beside = restore(history, RecoveryTarget("latest"), backup_id="full-6")
    beside.stop()
