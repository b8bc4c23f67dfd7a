"""The clean point, the comparison and the swap, against a real PostgreSQL with a log archive (about 20 s)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._clean_point import (
    Assignment,
    CleanPoint,
    NoCleanPoint,
    find_clean_point,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_integrity import Rule, check_rules
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._repair_bench import Bench
from ansible_collections.codeblue.recovery.plugins.module_utils._replay_rows import replay_rows
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import RestoreRequest, stop_beside
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._table_comparison import Comparison, Difference
from ansible_collections.codeblue.recovery.plugins.module_utils._table_swap import swap_tables
from ansible_collections.codeblue.recovery.plugins.module_utils._wal_end import archive_everything
from snapshot_cluster import Cluster

RULES = (
    Rule("notes", ("records",), violations="SELECT count(*) FROM records WHERE note = 'overwritten'"),
    Rule("rows", ("records",), minimum_rows=100),
    Rule("constraints", ("records",), constraints=True),
)
CONTENT = "SELECT md5(string_agg(r::text, '/' ORDER BY id)) FROM records r"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster("max_connections = 40\n").start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture()
def records(cluster: Cluster) -> Iterator[Cluster]:
    """100 records with an index, a view and a child, 40 other commits, a backup in the middle of it."""
    cluster.sql(
        "DROP TABLE IF EXISTS records, attachments, other CASCADE",
        "CREATE TABLE records (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL,"
        " CHECK (note <> ''))",
        "CREATE TABLE attachments (id int PRIMARY KEY, record bigint REFERENCES records)",
        "CREATE TABLE other (n int PRIMARY KEY)",
        "CREATE VIEW urgent AS SELECT id FROM records WHERE note LIKE 'u%'",
        "CREATE INDEX by_note ON records (note)",
        "GRANT SELECT ON records TO PUBLIC",
        "INSERT INTO records (note) SELECT 'note ' || n FROM generate_series(1, 100) n",
        "INSERT INTO attachments VALUES (1, 7)",
    )
    for directory in cluster.backups.glob("*") if cluster.backups.exists() else ():
        if directory.is_dir():
            import shutil

            shutil.rmtree(directory)
    cluster.backup("before")
    for number in range(20):
        cluster.sql(f"INSERT INTO other VALUES ({number})")
    cluster.sql("INSERT INTO records (note) VALUES ('after the backup')")
    yield cluster
    stop_beside(str(cluster.root / "beside"))


def search(cluster: Cluster, **options: object) -> CleanPoint:
    with PsqlSession(cluster.login, Deadline(60)) as sql:
        failing = [rule for rule, found in zip(RULES, check_rules(sql, RULES), strict=True) if not found.ok]
    with PsqlSession(cluster.login, Deadline(60)) as sql:
        end = archive_everything(sql, str(cluster.archive), Deadline(60))
    request = RestoreRequest(
        login=cluster.login,
        destination=str(cluster.backups),
        directory=str(cluster.root / "beside"),
        target=RecoveryTarget(),
        archive_dir=str(cluster.archive),
        settings={"shared_buffers": "16MB"},
    )
    assignment = Assignment(request, tuple(failing), end.timeline, end.until_lsn, **options)  # type: ignore[arg-type]
    return find_clean_point(assignment, Deadline(120))


def compare(cluster: Cluster, point: CleanPoint) -> tuple[Bench, list[Difference], Comparison]:
    bench = Bench(cluster.login, point.copy.login, point.copy.place.directory, Deadline(60))
    comparison = Comparison(bench, ["records"], point.culprit_xids)
    return bench, comparison.run(), comparison


def test_an_update_without_where_is_found_to_the_very_transaction(records: Cluster) -> None:
    content = records.sql(CONTENT)
    for number in range(100, 115):
        records.sql(f"INSERT INTO other VALUES ({number})")
    records.sql("UPDATE records SET note = 'overwritten'")
    records.sql("INSERT INTO records (note) VALUES ('written later')", "INSERT INTO other VALUES (500)")
    point = search(records)
    assert point.exact and len(point.culprit_xids) == 1
    assert point.effort.restores <= 3, point.as_dict()
    bench, (difference,), comparison = compare(records, point)
    assert (difference.missing, difference.changed, difference.added, difference.later) == (0, 101, 1, 1)
    kept = comparison.keep_later([difference])
    assert kept is not None
    (line,) = Path(kept).read_text().splitlines()
    assert json.loads(line)["row"]["note"] == "written later" and json.loads(line)["kind"] == "added"
    swap_tables(bench, [difference], RULES)
    assert records.sql(CONTENT) == content
    assert records.sql("SELECT count(*) FROM other WHERE n = 500") == "1"
    assert compare(records, point)[1][0].same, "a second swap would change nothing"


def test_a_dropped_table_comes_back_with_all_that_belonged_to_it(records: Cluster) -> None:
    content = records.sql(CONTENT)
    records.sql("DROP TABLE records CASCADE", "INSERT INTO other VALUES (501)")
    point = search(records)
    assert point.exact, point.as_dict()
    bench, (difference,), comparison = compare(records, point)
    assert (difference.exists, difference.way, difference.missing) == (False, "recreate", 101)
    assert comparison.keep_later([difference]) is None
    swap_tables(bench, [difference], RULES)
    assert records.sql(CONTENT) == content
    assert records.sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'records'") == "2"
    assert records.sql("SELECT count(*) FROM urgent") == "0"
    assert records.sql("SELECT has_table_privilege('public', 'records', 'select')") == "t"
    assert records.sql("SELECT count(*) FROM pg_constraint WHERE conrelid = 'attachments'::regclass AND contype='f'")
    assert int(records.sql("INSERT INTO records (note) VALUES ('next') RETURNING id")) > 101
    assert compare(records, point)[1][0].added == 1


def test_later_writes_are_written_again_once_and_conflicts_are_left(records: Cluster) -> None:
    records.sql("UPDATE records SET note = 'overwritten' WHERE id <> 50")
    records.sql("INSERT INTO records (note) VALUES ('free \\\\ key'), ('taken key')")
    records.sql("UPDATE records SET note = 'changed later' WHERE id IN (50, 51)")
    point = search(records)
    bench, differences, comparison = compare(records, point)
    assert differences[0].later == 4
    kept = comparison.keep_later(differences)
    assert kept is not None
    lines = Path(kept).read_bytes()
    swap_tables(bench, differences, RULES)
    records.sql("UPDATE records SET note = 'entered since' WHERE id = 51")
    taken = records.sql("INSERT INTO records OVERRIDING SYSTEM VALUE VALUES (103, 'somebody else') RETURNING id")
    assert taken == "103"
    expected = {"rows": 4, "written": 2, "already": 0, "conflicts": 2}
    for keep in (False, True):
        assert replay_rows(records.login, ["records"], lines, keep, Deadline(30)) == {"records": expected}
    again = replay_rows(records.login, ["records"], lines, True, Deadline(30))["records"]
    assert (again["written"], again["already"], again["conflicts"]) == (0, 2, 2)
    found = records.sql("SELECT string_agg(note, ',' ORDER BY id) FROM records WHERE id IN (50, 51, 102, 103)")
    assert found == r"changed later,entered since,free \\ key,somebody else"


def test_what_was_entered_after_an_earlier_damage_was_mended_stays(records: Cluster) -> None:
    records.sql("UPDATE records SET note = 'overwritten' WHERE id < 10")
    records.sql("UPDATE records SET note = 'mended' WHERE id < 10")
    records.sql("INSERT INTO records (note) VALUES ('after it was mended')")
    content = records.sql(CONTENT)
    records.sql("DELETE FROM attachments")
    records.sql("DELETE FROM records WHERE id > 5")
    point = search(records)
    bench, (difference,), _comparison = compare(records, point)
    assert difference.missing == 97
    swap_tables(bench, [difference], RULES)
    assert records.sql(CONTENT) == content


def test_truncated_rows_come_back(records: Cluster) -> None:
    content = records.sql(CONTENT)
    records.sql("TRUNCATE records CASCADE")
    point = search(records)
    bench, (difference,), _comparison = compare(records, point)
    assert difference.missing == 101
    swap_tables(bench, [difference], RULES)
    assert records.sql(CONTENT) == content


def test_a_swap_that_breaks_a_rule_changes_nothing(records: Cluster) -> None:
    records.sql("UPDATE records SET note = 'overwritten'")
    point = search(records)
    bench, differences, _comparison = compare(records, point)
    impossible = Rule("impossible", ("records",), violations="SELECT 1")
    with pytest.raises(CodeblueError, match="not swapped, all is as it was"):
        swap_tables(bench, differences, [impossible])
    assert records.sql("SELECT count(*) FROM records WHERE note = 'overwritten'") == "101"


def test_a_damaged_backup_and_no_backup_say_so_and_leave_no_copy(records: Cluster) -> None:
    records.sql("UPDATE records SET note = 'overwritten'")
    records.backup("damaged")
    point = search(records, exclude=frozenset())
    assert point.backup_id == "before", "the newest backup holds the damage already"
    with pytest.raises(NoCleanPoint, match="outside of what can be restored") as caught:
        search(records, exclude=frozenset({"before"}))
    assert caught.value.exit_code == 5
    with pytest.raises(NoCleanPoint, match="no base backup"):
        search(records, exclude=frozenset({"before", "damaged"}))
    assert not (records.root / "beside").exists()


def test_rules_say_numbers_and_never_what_rows_hold(records: Cluster) -> None:
    secret = Rule("cast", ("records",), violations="SELECT note::int FROM records LIMIT 1")
    with PsqlSession(records.login, Deadline(20)) as sql:
        (found,) = check_rules(sql, [secret])
        assert (found.problem, found.sqlstate) == ("failed", "22P02")
        assert "note" not in json.dumps(found.as_dict())
        assert check_rules(sql, [Rule("gone", ("nowhere",), minimum_rows=1)])[0].problem == "missing"
    with pytest.raises(BadInput, match="exactly one"):
        Rule("both", ("records",), minimum_rows=1, readable=True)
