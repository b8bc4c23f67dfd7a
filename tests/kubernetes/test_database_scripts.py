"""The scripts of the Jobs on a real PostgreSQL: the very text that a Job runs, with the tools that its image has."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import psycopg
import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_postgresql_scripts as scripts
from real_database import RULES, TABLES, RealDatabase

_ALL = "SELECT md5(string_agg(r::text, ',' ORDER BY id)) FROM records r"


@pytest.fixture(scope="module")
def server() -> Iterator[RealDatabase]:
    running = RealDatabase()
    yield running
    running.stop()


@pytest.fixture
def database(server: RealDatabase) -> Iterator[RealDatabase]:
    """Clean, with a dump of it that is an hour old and one of before."""
    for each in server.dumps.iterdir():
        each.unlink()
    for hours, name in ((48, "older.dump"), (1, "clinic-1.dump")):
        server.nightly(name)
        when = time.time() - hours * 3600
        os.utime(server.dumps / name, (when, when))
    with server.connect() as connection:
        before = connection.execute(_ALL).fetchone()
    yield server
    code, report, said = server.run(scripts.writable())
    assert code == 0, (report, said)
    with server.connect() as connection:
        assert connection.execute(_ALL).fetchone() == before, "each test ends with the rows it began with"


def damage(database: RealDatabase, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement)


def test_rules_are_counted_and_nothing_of_a_row_is_said(database: RealDatabase) -> None:
    code, report, said = database.run(scripts.assess(RULES))
    assert code == 0 and [each["violations"] for each in report] == [0, 0, 0], (report, said)
    damage(database, "UPDATE records SET note = 'overwritten' WHERE id <= 40")
    code, report, said = database.run(scripts.assess(RULES))
    assert code == 0 and {each["rule"]: each["violations"] for each in report} == {
        "records_there": 0,
        "records_digests": 40,
        "records_readable": 0,
    }
    assert said == "" and "overwritten" not in str(report)
    mend(database)


def test_writes_end_for_everybody_and_come_back_as_they_were(database: RealDatabase) -> None:
    with database.connect() as open_session:
        code, report, said = database.run(scripts.read_only())
        assert code == 0 and report[-1]["write"] == "25006" and report[-1]["ended"] >= 1, (report, said)
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    with database.connect() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM visits")
    # A second Job, as after a kill, does not take our own setting for the one of before.
    code, report, said = database.run(scripts.read_only())
    assert code == 0, (report, said)
    code, report, said = database.run(scripts.writable())
    assert code == 0 and report[-1] == {"write": "ok", "before": "none"}, (report, said)
    with database.connect() as connection:
        connection.execute("UPDATE visits SET record = record")
        assert connection.execute("SELECT setconfig FROM pg_db_role_setting").fetchall() == []


def mend(database: RealDatabase) -> list[list[dict[str, object]]]:
    """The whole way back; the reports of its Jobs."""
    reports = []
    for script in (
        scripts.read_only(),
        scripts.dump(TABLES),
        scripts.restore_beside(RULES, TABLES),
        scripts.swap(RULES, TABLES, ()),
        scripts.writable(),
    ):
        code, report, said = database.run(script)
        assert code == 0, (report, said)
        assert "note " not in said and "overwritten" not in said
        reports.append(report)
    return reports


def test_overwritten_rows_come_back_and_other_tables_stay(database: RealDatabase) -> None:
    damage(database, "UPDATE records SET note = 'overwritten' WHERE id <= 40")
    damage(database, "INSERT INTO visits (record) VALUES (1)")
    _stopped, kept, beside, swapped, _resumed = mend(database)
    assert (
        kept[-1]["file"] == "codeblue-emergency-01RUN.dump"
        and (database.dumps / "codeblue-emergency-01RUN.dump").exists()
    )
    (chosen,) = [each for each in beside if each.get("clean")]
    assert chosen["dump"] == "clinic-1.dump" and time.time() - float(str(chosen["taken_at"])) > 3000
    compared = {each["table"]: each for each in beside if "table" in each}
    assert compared["records"] == {"table": "records", "live": 500, "beside": 500, "out": 40, "back": 40}
    assert compared["record_digests"]["out"] == 0
    assert swapped[-1] == {"swapped": 2}
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM visits").fetchone() == (501,), "written since, and not damaged"
        assert connection.execute("SELECT count(*) FROM records WHERE note = 'overwritten'").fetchone() == (0,)
        names = [name for (name,) in connection.execute("SELECT datname FROM pg_database")]
        assert "clinic_codeblue" not in names
    damage(database, "DELETE FROM visits WHERE id > 500")


def test_a_table_that_is_gone_is_made_anew(database: RealDatabase) -> None:
    damage(database, "DROP TABLE record_digests")
    code, report, said = database.run(scripts.assess(RULES))
    assert code == 0 and report[1] == {"rule": "records_digests", "on": "clinic", "sqlstate": "42P01"}, said
    beside = mend(database)[2]
    (compared,) = [each for each in beside if each.get("table") == "record_digests"]
    assert compared["live"] is None and compared["back"] == 500
    with database.connect() as connection:
        keys = (
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'record_digests'::regclass AND contype IN ('p', 'f')"
        )
        assert connection.execute(keys).fetchone() == (2,)


def test_a_dump_that_holds_the_damage_already_is_passed_over(database: RealDatabase) -> None:
    damage(database, "UPDATE records SET note = 'overwritten' WHERE id = 7")
    database.nightly("newest.dump")
    (database.dumps / "broken.dump").write_bytes(b"PGDMP is not all there is to it")
    beside = mend(database)[2]
    tried = [(each["dump"], each["clean"]) for each in beside if "dump" in each]
    assert tried == [("broken.dump", False), ("newest.dump", False), ("clinic-1.dump", True)]


def test_without_a_clean_dump_nothing_is_swapped(database: RealDatabase) -> None:
    damage(database, "UPDATE records SET note = 'overwritten' WHERE id = 7")
    for each in database.dumps.iterdir():
        each.unlink()
    database.nightly("newest.dump")
    code, report, _said = database.run(scripts.restore_beside(RULES, TABLES))
    assert code == 1 and report[-1] == {"failed": "no dump holds a clean state"}
    damage(database, "UPDATE records SET note = 'note 7' WHERE id = 7")


def test_a_swap_that_breaks_a_rule_changes_nothing_and_a_second_one_does_nothing(database: RealDatabase) -> None:
    damage(database, "UPDATE records SET note = 'overwritten' WHERE id <= 3")
    for script in (scripts.dump(TABLES), scripts.restore_beside(RULES, TABLES)):
        assert database.run(script)[0] == 0
    # Only one of two tables that belong together, of which the other is damaged by now as well.
    damage(database, "UPDATE record_digests SET digest = 'x' WHERE id = 9")
    code, report, _said = database.run(scripts.swap(RULES, ("records",), ()))
    assert code == 1 and "all is as it was (P0001)" in report[-1]["failed"], report
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM records WHERE note = 'overwritten'").fetchone() == (3,)
    code, report, said = database.run(scripts.swap(RULES, TABLES, ("records",)))
    assert code == 1, "a table that others refer to cannot be truncated, and nothing was changed"
    assert database.run(scripts.swap(RULES, TABLES, ()))[0] == 0, said
    code, report, _said = database.run(scripts.swap(RULES, TABLES, ()))
    assert code == 0 and report[-1] == {"already": True}


def test_a_database_that_does_not_answer_is_said_without_its_words(server: RealDatabase) -> None:
    port, server.port = server.port, 1
    try:
        code, report, said = server.run(scripts.assess(RULES))
    finally:
        server.port = port
    assert code == 1 and report == [{"failed": "the database does not answer ()"}] and said == ""
