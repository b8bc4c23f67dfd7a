"""The state store on SQLite and on PostgreSQL: the same promises on both. About 15 s."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _store_schema, _tables
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import (
    LeaseHeld,
    LeaseLost,
    LedgerRefused,
    Snapshot,
    StateWouldBeLost,
    Store,
    StoreUnavailable,
    open_store,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_database import Database
from store_support import ALICE, BOB, dead_process, isolate, opening, postgresql_server

ME = ProcessIdentity.current()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    isolate(monkeypatch, tmp_path)
    if request.param == "postgresql":
        url = request.getfixturevalue("server")
        _empty(url)
        monkeypatch.setenv("CODEBLUE_STATE_URL", url)
    opened = open_store()
    yield opened
    opened.close()


def _empty(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


def _kinds(store: Store, run_id: str) -> list[str]:
    return [str(record["kind"]) for record in store.ledger_records(run_id)]


# -- runs --------------------------------------------------------------------------------------------------------


def test_a_run_from_opening_to_close(store: Store) -> None:
    asked = opening("patient_db", "records", accepts=("data_loss",))
    run, leases = store.open_run(asked)
    assert run.status == "open"
    assert run.open_targets == ("patient_db", "records")
    step = store.begin_step(
        run.run_id, "patient_db", "failover", "promote", {"machine": "db2"}, ME, leases["patient_db"].generation
    )
    assert (step.state, step.attempts, step.key) == ("new", 1, f"{run.run_id}/patient_db/failover/promote")
    assert store.incident(run.incident_id).status == "resolving"  # type: ignore[union-attr]
    assert store.change(run.change_id).status == "implementing"  # type: ignore[union-attr]
    store.finish_step(step, "ok", {"changed": True}, changed=True)
    half = store.close_target(run.run_id, "patient_db", "recovered", {"checks": 3})
    assert (half.status, half.targets["patient_db"].outcome) == ("open", "recovered")
    assert store.lease_of("patient_db") is None
    closed = store.close_target(run.run_id, "records", "degraded", {"checks": 2})
    assert (closed.status, closed.outcome, closed.exit_code) == ("closed", "degraded", 4)
    ticket = store.change(run.change_id)
    assert ticket is not None
    assert (ticket.status, ticket.outcome, ticket.type) == ("completed", "degraded", "emergency")
    assert ticket.validation == {
        "patient_db": {"outcome": "recovered", "checks": 3},
        "records": {"outcome": "degraded", "checks": 2},
    }
    assert ticket.review_due_at is not None
    assert [acceptance.kind for acceptance in store.acceptances(run.run_id)] == ["data_loss"]
    assert store.incident(run.incident_id).status == "resolved"  # type: ignore[union-attr]
    kinds = _kinds(store, run.run_id)
    assert kinds[0] == "run_opened"
    assert kinds[-1] == "run_closed"
    assert kinds.index("step_intent") < kinds.index("step_result") < kinds.index("target_closed")


@pytest.mark.parametrize(
    ("outcomes", "worst", "exit_code"),
    [
        (("recovered", "nothing_to_do"), "recovered", 0),
        (("recovered", "failed_safe"), "failed_safe", 1),
        (("failed_unsafe", "failed_safe"), "failed_unsafe", 5),
        (("refused", "degraded"), "refused", 3),
        (("interrupted", "failed_safe"), "interrupted", 130),
    ],
)
def test_a_run_is_as_good_as_its_worst_target(
    store: Store, outcomes: tuple[str, str], worst: str, exit_code: int
) -> None:
    run = store.create_run(opening("a", "b"))
    store.close_target(run.run_id, "a", outcomes[0], {})
    closed = store.close_target(run.run_id, "b", outcomes[1], {})
    assert (closed.outcome, closed.exit_code) == (worst, exit_code)


def test_closing_a_target_again_changes_nothing(store: Store) -> None:
    run = store.create_run(opening("a"))
    store.close_target(run.run_id, "a", "recovered", {})
    before = _kinds(store, run.run_id)
    assert store.close_target(run.run_id, "a", "failed_unsafe", {}).outcome == "recovered"
    assert _kinds(store, run.run_id) == before


def test_a_second_run_on_an_unresolved_service_belongs_to_the_same_incident(store: Store) -> None:
    first = store.create_run(opening("patient_db"))
    store.close_target(first.run_id, "patient_db", "failed_safe", {})
    second = store.create_run(opening("patient_db"))
    assert second.incident_id == first.incident_id
    store.close_target(second.run_id, "patient_db", "recovered", {})
    assert store.create_run(opening("patient_db")).incident_id != first.incident_id


def test_doctor_closes_a_run_that_was_left_behind(store: Store) -> None:
    run, _ = store.open_run(opening("a", "b"))
    closed = store.close_run(run.run_id, "interrupted", {"summary": "its process is gone"})
    assert (closed.outcome, closed.exit_code, closed.open_targets) == ("interrupted", 130, ())
    assert store.lease_of("a") is None


def test_bad_calls_are_named_and_write_nothing(store: Store) -> None:
    run = store.create_run(opening("a"))
    with pytest.raises(BadInput, match="exists"):
        store.create_run(opening("a", run_id=run.run_id))
    with pytest.raises(BadInput, match="no target"):
        store.close_target(run.run_id, "z", "recovered", {})
    with pytest.raises(BadInput, match="outcome"):
        store.close_target(run.run_id, "a", "fine", {})
    with pytest.raises(BadInput, match="at least one target"):
        store.create_run(opening("a").__class__(**{**opening("a").__dict__, "targets": ()}))
    with pytest.raises(Refused, match="is closed"):
        store.close_target(run.run_id, "a", "recovered", {})
        store.reopen_run(run.run_id, ME)


# -- journal -----------------------------------------------------------------------------------------------------


def test_what_was_done_is_not_done_again(store: Store) -> None:
    run, leases = store.open_run(opening("a"))
    generation = leases["a"].generation
    step = store.begin_step(run.run_id, "a", "s", "x", {"chosen": "db2"}, ME, generation)
    store.finish_step(step, "ok", {"timeline": 2}, changed=True)
    again = store.begin_step(run.run_id, "a", "s", "x", {"chosen": "db3"}, ME, generation)
    assert (again.state, again.result, again.decision) == ("done", {"timeline": 2}, {"chosen": "db2"})
    assert _kinds(store, run.run_id).count("step_intent") == 1


def test_an_intent_without_result_is_in_doubt_and_keeps_its_decision(store: Store) -> None:
    gone = dead_process()
    run, _ = store.open_run(opening("a", holder=gone))
    generation = store.leases_of_run(run.run_id)[0].generation
    store.begin_step(run.run_id, "a", "s", "x", {"chosen": "db2"}, gone, generation)
    assert [step.worker for step in store.open_intents(run.run_id)] == [gone]
    store.reopen_run(run.run_id, ME)
    newer = store.acquire_leases(run.run_id, ["a"], ME)["a"].generation
    assert newer > generation
    again = store.begin_step(run.run_id, "a", "s", "x", {"chosen": "db3"}, ME, newer)
    assert (again.state, again.decision, again.attempts) == ("in_doubt", {"chosen": "db2"}, 2)
    assert store.finish_step(again, "ok", {}, changed=False).state == "done"
    assert store.open_intents(run.run_id) == []


def test_a_failed_step_is_in_doubt(store: Store) -> None:
    run, leases = store.open_run(opening("a"))
    step = store.begin_step(run.run_id, "a", "s", "x", {}, ME, leases["a"].generation)
    store.finish_step(step, "failed", {"error": "no answer"}, changed=False)
    again = store.begin_step(run.run_id, "a", "s", "x", {}, ME, leases["a"].generation)
    assert (again.state, again.outcome, again.result) == ("in_doubt", "failed", {"error": "no answer"})


def test_a_step_that_another_process_is_at_is_refused(store: Store) -> None:
    run, leases = store.open_run(opening("a"))
    other = subprocess.Popen(["sleep", "60"])
    try:
        store.begin_step(run.run_id, "a", "s", "x", {}, ProcessIdentity.of(other.pid), leases["a"].generation)
        with pytest.raises(Refused, match=str(other.pid)):
            store.begin_step(run.run_id, "a", "s", "x", {}, ME, leases["a"].generation)
    finally:
        other.kill()
        other.wait()


def test_a_worker_that_was_taken_over_cannot_write_its_result(store: Store) -> None:
    run, leases = store.open_run(opening("a"))
    old = store.begin_step(run.run_id, "a", "s", "x", {}, dead_process(), leases["a"].generation)
    store.begin_step(run.run_id, "a", "s", "x", {}, ME, leases["a"].generation)
    with pytest.raises(Refused, match="taken over"):
        store.finish_step(old, "ok", {}, changed=True)


def test_no_step_without_lease_approval_or_open_target(store: Store) -> None:
    run = store.create_run(opening("a", "b"))
    with pytest.raises(LeaseLost):
        store.begin_step(run.run_id, "a", "s", "x", {}, ME, 1)
    generation = store.acquire_leases(run.run_id, ["a"], ME)["a"].generation
    with pytest.raises(LeaseLost):
        store.begin_step(run.run_id, "a", "s", "x", {}, ME, generation + 1)
    with pytest.raises(LeaseLost):
        store.begin_step(run.run_id, "b", "s", "x", {}, ME, generation)
    normal, leases = store.open_run(opening("c", severity="SEV3", environment="production"))
    with pytest.raises(Refused, match="waits for an approval"):
        store.begin_step(normal.run_id, "c", "s", "x", {}, ME, leases["c"].generation)
    assert store.steps(run.run_id) == store.steps(normal.run_id) == []


def test_credentials_never_enter_journal_or_record(store: Store) -> None:
    canary = "canary-7f3a9b21"
    run, leases = store.open_run(opening("a"))
    generation = leases["a"].generation
    with pytest.raises(LedgerRefused, match="credential"):
        store.begin_step(run.run_id, "a", "s", "x", {"password": canary}, ME, generation)
    with pytest.raises(LedgerRefused, match="credential"):
        store.record(run.run_id, "note", {"text": f"postgresql://app:{canary}@db1/clinic"})
    with pytest.raises(LedgerRefused, match="unknown field 'passwords'"):
        store.record(run.run_id, "note", {"passwords": canary})
    step = store.begin_step(run.run_id, "a", "s", "y", {}, ME, generation)
    store.finish_step(step, "ok", {"after": {"password": canary}, "log": f"password={canary}"}, changed=True)
    store.close_target(run.run_id, "a", "recovered", {"token": canary})
    with store.database.read() as connection:
        for table in _tables.metadata.sorted_tables:
            assert canary not in str(connection.execute(sa.select(table)).all())


# -- leases ------------------------------------------------------------------------------------------------------


def test_the_second_run_is_told_who_holds_the_target(store: Store) -> None:
    run, _ = store.open_run(opening("a"))
    with pytest.raises(LeaseHeld) as held:
        store.open_run(opening("b", "a"))
    assert run.run_id in held.value.message
    assert "alice" in held.value.message
    assert str(os.getpid()) in held.value.message
    assert held.value.holder_alive is True
    assert held.value.exit_code == 3
    assert store.lease_of("b") is None
    assert [known.run_id for known in store.runs()] == [run.run_id]


def test_a_dead_holder_is_taken_over_by_its_own_run_only(store: Store) -> None:
    run, leases = store.open_run(opening("a", holder=dead_process()))
    other = store.create_run(opening("a"))
    with pytest.raises(LeaseHeld, match="has ended") as held:
        store.acquire_leases(other.run_id, ["a"], ME)
    assert f"codeblue resume {run.run_id}" in str(held.value)
    assert store.acquire_leases(run.run_id, ["a"], ME)["a"].generation > leases["a"].generation


def test_an_expired_lease_of_a_dead_or_unseen_holder_can_be_taken_by_another_run(store: Store) -> None:
    elsewhere = ProcessIdentity("another-host", "boot:1", 7, "99")
    for holder in (dead_process(), elsewhere):
        run, _ = store.open_run(opening("a", holder=holder), ttl_seconds=0)
        other = store.create_run(opening("a"))
        store.acquire_leases(other.run_id, ["a"], ME)
        with pytest.raises(LeaseLost, match=other.run_id):
            store.check_lease("a", run.run_id, 1)
        store.close_run(other.run_id, "failed_safe", {})


def test_an_unseen_holder_keeps_its_lease_until_it_expires(store: Store) -> None:
    run, _ = store.open_run(opening("a", holder=ProcessIdentity("another-host", "boot:1", 7, "99")))
    for claimant in (run.run_id, store.create_run(opening("a")).run_id):
        with pytest.raises(LeaseHeld, match="cannot be seen"):
            store.acquire_leases(claimant, ["a"], ME)


def test_an_expired_lease_of_a_living_holder_stays(store: Store) -> None:
    _run, _ = store.open_run(opening("a"), ttl_seconds=0)
    other = store.create_run(opening("a"))
    with pytest.raises(LeaseHeld, match="still running"):
        store.acquire_leases(other.run_id, ["a"], ME)


def test_leases_of_a_process_are_found_while_their_run_is_open(store: Store) -> None:
    run, leases = store.open_run(opening("b", "a"))
    assert store.leases_held_by(ME) == [leases["a"], leases["b"]]
    store.close_run(run.run_id, "failed_safe", {})
    assert store.leases_held_by(ME) == []


def test_generations_rise_even_when_the_store_was_lost(store: Store) -> None:
    run, leases = store.open_run(opening("a"))
    store.close_run(run.run_id, "failed_safe", {})
    with store.database.write() as transaction:
        transaction.connection.execute(_tables.leases.delete())
    time.sleep(0.002)
    _, again = store.open_run(opening("a"))
    assert again["a"].generation > leases["a"].generation


# -- changes, incidents, catalog ---------------------------------------------------------------------------------


def test_a_normal_change_needs_somebody_else(store: Store) -> None:
    run, leases = store.open_run(opening("a", severity="SEV3", environment="production"))
    assert store.approval_for(run.run_id) is None
    with pytest.raises(Refused, match="nobody approves their own"):
        store.approve(run.change_id, ALICE)
    with pytest.raises(Refused, match="authenticated"):
        store.approve(run.change_id, Operator("carol", "awx", verified=False))
    ticket = store.approve(run.change_id, BOB, "agreed", accepts=["data_loss"])
    assert ticket.status == "approved"
    approval = store.approval_for(run.run_id)
    assert approval is not None
    assert (approval.kind, approval.approver) == ("person", "bob")
    assert [acceptance.via for acceptance in store.acceptances(run.run_id)] == ["approval"]
    store.begin_step(run.run_id, "a", "s", "x", {}, ME, leases["a"].generation)


def test_an_emergency_is_approved_by_policy_and_says_so(store: Store) -> None:
    run = store.create_run(opening("a", severity="SEV2", environment="production"))
    approval = store.approval_for(run.run_id)
    assert approval is not None
    assert (approval.kind, approval.approver) == ("policy", "policy SEV2")


def test_breaking_the_glass_needs_a_reason_and_leaves_a_review_to_somebody_else(store: Store) -> None:
    run = store.create_run(opening("a", severity="SEV3", environment="production"))
    with pytest.raises(Refused, match="justification"):
        store.break_glass(run.change_id, ALICE, "now")
    store.break_glass(run.change_id, ALICE, "the ward has no medication list")
    assert store.approval_for(run.run_id).kind == "break_glass"  # type: ignore[union-attr]
    with pytest.raises(Refused, match="still open"):
        store.review_change(run.change_id, BOB, "ok")
    store.close_target(run.run_id, "a", "recovered", {})
    with pytest.raises(Refused, match="somebody else"):
        store.review_change(run.change_id, ALICE, "ok")
    assert store.review_change(run.change_id, BOB, "justified").reviewed_by == "bob"
    assert "change_reviewed" in _kinds(store, run.run_id)


def test_an_incident_only_moves_on(store: Store) -> None:
    run = store.create_run(opening("a"))
    store.record(run.run_id, "detection", {"target": "a", "fired": True})
    store.record(run.run_id, "diagnosis", {"target": "a", "cause": "primary_dead"})
    assert store.incident(run.incident_id).status == "identified"  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="is not resolved"):
        store.move_incident(run.incident_id, "closed", BOB)
    store.move_incident(run.incident_id, "resolved", BOB, "by itself")
    with pytest.raises(BadInput, match="only moves on"):
        store.move_incident(run.incident_id, "investigating", BOB)
    closed = store.move_incident(run.incident_id, "closed", BOB)
    assert list(closed.times) == ["detected", "acknowledged", "investigating", "identified", "resolved", "closed"]


def test_a_bad_version_stays_bad_until_a_person_clears_it(store: Store) -> None:
    run = store.create_run(opening("records"))
    store.mark_bad("records", "release", "2.0.0", run.run_id, "crashes at start")
    store.mark_bad("records", "release", "2.0.0", run.run_id, "crashes at start")
    assert [bad.version for bad in store.bad_versions("records", "release")] == ["2.0.0"]
    assert store.bad_versions("records", "config") == []
    with pytest.raises(BadInput, match="reason"):
        store.clear_bad("records", "release", "2.0.0", BOB, " ")
    store.clear_bad("records", "release", "2.0.0", BOB, "rebuilt")
    assert store.bad_versions("records") == []
    store.mark_bad("records", "release", "2.0.0", run.run_id, "again")
    assert len(store.bad_versions("records")) == 1


def test_the_snapshot_catalog(store: Store) -> None:
    run = store.create_run(opening("a"))
    first = Snapshot(
        "s1", "a", "database", "emergency", "2025-01-01T00:00:00.000000Z", "/s/1", "ab", 5, run_id=run.run_id
    )
    second = Snapshot("s2", "a", "database", "scheduled", "2025-01-02T00:00:00.000000Z", "/s/2", "cd", 6)
    store.add_snapshot(first)
    store.add_snapshot(first)
    store.add_snapshot(second)
    assert [snapshot.snapshot_id for snapshot in store.snapshots("a")] == ["s2", "s1"]
    store.set_snapshot_state("s1", "proven")
    store.set_snapshot_state("s2", "corrupt", "a chunk does not match its digest")
    assert [snapshot.state for snapshot in store.snapshots("a")] == ["corrupt", "proven"]
    with pytest.raises(BadInput, match="is corrupt"):
        store.set_snapshot_state("s2", "verified")
    store.set_snapshot_state("s2", "deleted")
    assert [snapshot.snapshot_id for snapshot in store.snapshots()] == ["s1"]


# -- the database itself -----------------------------------------------------------------------------------------


def test_the_record_cannot_be_edited_by_accident(store: Store) -> None:
    run = store.create_run(opening("a"))
    for statement in (_tables.ledger.update().values(kind="x"), _tables.ledger.delete()):
        with pytest.raises(StoreUnavailable, match="append-only"), store.database.write() as transaction:
            transaction.connection.execute(statement)
    assert _kinds(store, run.run_id)[0] == "run_opened"


def test_a_failure_in_a_transaction_leaves_nothing(store: Store) -> None:
    asked = opening("a")
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.create_run(asked)
        raise ZeroDivisionError
    assert store.run(asked.run_id) is None
    assert store.create_run(asked).status == "open"


def test_the_migrations_make_the_same_tables(store: Store, tmp_path: Path) -> None:
    """For SQLite the quick way against Alembic; for PostgreSQL Alembic against the tables in code."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), _tables.metadata) == []
    if store.database.dialect == "sqlite":
        migrated = Database(f"sqlite:///{tmp_path}/migrated.sqlite")
        with migrated.write() as transaction:
            _store_schema._migrate(migrated, transaction.connection, None)
        assert _sqlite_schema(migrated) == _sqlite_schema(store.database)
    else:
        made = sa.create_engine(store.database.url)
        with made.begin() as connection:
            before = _postgresql_schema(connection)
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
            _tables.metadata.create_all(connection)
            _tables.alembic_version.create(connection)
            assert _postgresql_schema(connection) == before


def _sqlite_schema(database: Database) -> list[tuple[str, frozenset[str]]]:
    """Every object with its clauses; their order within a table says nothing."""
    with database.read() as connection:
        rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    clauses = re.compile(r", (?![^()]*\))")
    return sorted(
        (name, frozenset(part.strip(" )") for part in clauses.split(" ".join(sql.split())))) for name, sql in rows
    )


def _postgresql_schema(connection: sa.Connection) -> set[str]:
    queries = (
        "SELECT table_name || column_name || data_type || is_nullable || coalesce(character_maximum_length::text, '') "
        "FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    )
    return {str(row[0]) for query in queries for row in connection.execute(sa.text(query))}


def test_a_store_made_by_a_newer_version_is_refused(store: Store) -> None:
    with store.database.write() as transaction:
        transaction.connection.execute(_tables.alembic_version.update().values(version_num="9999"))
    with pytest.raises(StoreUnavailable, match="9999"):
        open_store()


def test_a_child_process_gets_a_connection_of_its_own(store: Store) -> None:
    run = store.create_run(opening("a"))
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.record(run.run_id, "note", {"text": "from the child"})
            os.write(writable, b"ok")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    store.record(run.run_id, "note", {"text": "from the parent"})
    os.close(writable)
    assert os.read(readable, 10) == b"ok"
    assert _kinds(store, run.run_id)[-2:] == ["note", "note"]


_WRITER = """
import sys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
store, me, run_id, generation = open_store(), ProcessIdentity.current(), sys.argv[1], int(sys.argv[2])
for number in range(1000000):
    step = store.begin_step(run_id, "a", "s", f"{me.pid}-{number}", {"version": str(number)}, me, generation)
    store.finish_step(step, "ok", {"version": str(number)}, changed=True)
    print(number, flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_a_whole_chain(store: Store, tmp_path: Path) -> None:
    from codeblue.verify import verify_export

    run, leases = store.open_run(opening("a"))
    store.close()
    acknowledged: dict[int, int] = {}
    for delay in (0.0, 0.013, 0.031):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, run.run_id, str(leases["a"].generation)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(delay)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            said = writer.communicate()[0].split()
            acknowledged[writer.pid] = int(said[-1]) if said else 0
    lines = store.export(run.run_id)
    verdict = verify_export(lines, [store.ledger.key.public_pem.encode()], [])
    assert verdict.exit_code == 4, verdict.message
    done = {step.action for step in store.steps(run.run_id) if step.state == "done"}
    for pid, last in acknowledged.items():
        assert {f"{pid}-{number}" for number in range(last + 1)} <= done
    records = [json.loads(line).get("record", {}) for line in lines]
    results = {record["fields"]["action"] for record in records if record.get("kind") == "step_result"}
    assert results == done


# -- places and limits -------------------------------------------------------------------------------------------


def test_state_is_readable_by_its_owner_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    store = open_store()
    store.create_run(opening("a"))
    directory = tmp_path / "state" / "codeblue"
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in (*directory.glob("state.sqlite*"), directory / "keys" / "ledger.key"):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert (directory / "keys" / "ledger.key.pub").exists()


def test_sqlite_flushes_every_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    with open_store().database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_importing_opens_nothing_and_leaves_alembic_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    code = (
        "import sys, os\n"
        "from ansible_collections.codeblue.recovery.plugins.plugin_utils import _store_resilient as s\n"
        "assert not os.path.exists(os.environ['XDG_STATE_HOME'])\n"
        "s.open_store_or_spool('SEV1').runs()\n"
        "heavy = {'alembic', 'httpx', 'apprise', 'yaml', 'psycopg', 'sqlalchemy.orm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_link_in_place_of_the_state_directory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state" / "codeblue").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="link"):
        open_store()


def test_a_throw_away_container_keeps_no_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.delenv("CODEBLUE_ALLOW_LOCAL_STATE")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    store = open_store()
    with pytest.raises(StateWouldBeLost) as refused:
        store.create_run(opening("a", environment="production"))
    assert refused.value.exit_code == 3
    store.create_run(opening("a", environment="lab"))
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")
    store.create_run(opening("a", environment="production"))


def test_a_server_that_is_away_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as failed:
        open_store("postgresql+psycopg://someone:canary-5c1d@127.0.0.1:1/clinic")
    assert time.monotonic() - started < 6
    assert "canary-5c1d" not in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 3


def test_a_server_that_accepts_and_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolate(monkeypatch, tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            open_store(f"postgresql+psycopg://someone@127.0.0.1:{silent.getsockname()[1]}/clinic")
        assert time.monotonic() - started < 7


def test_a_damaged_store_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    open_store().close()
    path = tmp_path / "state" / "codeblue" / "state.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        open_store()
    assert sqlite3.sqlite_version


def test_a_postgresql_server_that_restarted_is_used_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str
) -> None:
    isolate(monkeypatch, tmp_path)
    _empty(server)
    store = open_store(server)
    run = store.create_run(opening("a"))
    killer = sa.create_engine(server)
    with killer.begin() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )
    killer.dispose()
    store.record(run.run_id, "note", {"text": "still here"})
    store.close()
