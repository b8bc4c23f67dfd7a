"""Planned switchovers of a database while somebody writes to it; the first test about 20 s, all some minutes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_site import Finished, Site, finish, wait_for, watch_journal
from codeblue.lab.layout import GATEWAY_UNIT, postgres_unit
from codeblue.lab.measurement import Sample, lost_sentinels
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.prober import Prober
from codeblue.lab.processes import postgres_processes
from kill_and_resume import Kill, interrupt_and_resume, settled_end_state, timeline

pytestmark = [pytest.mark.lab, pytest.mark.drill]

OPERATION = "database_switchover"
# Five in a row are a stable return for the measurement; the rest is for a machine under load.
WRITES_AFTERWARDS = 8


def switch_over(site: Site, *options: str) -> Finished:
    return site.run(OPERATION, *options)


def to(member: str) -> tuple[str, ...]:
    return ("-e", f"codeblue_switchover_to={member}")


def acknowledged(samples: list[Sample]) -> list[int]:
    return [sample.n for sample in samples if sample.ok and sample.n is not None]


@contextlib.contextmanager
def writing(site: Site, output: Path) -> Iterator[Prober]:
    """Somebody writes meanwhile; none of what was acknowledged is lost, and writes go on afterwards."""
    with Prober(site.lab, output) as prober:
        wait_for(lambda: len(acknowledged(prober.samples())) >= WRITES_AFTERWARDS, 20.0, "the first writes", 0.1)
        yield prober
        before = len(acknowledged(prober.samples()))
        wait_for(lambda: len(acknowledged(prober.samples())) >= before + WRITES_AFTERWARDS, 30.0, "writes", 0.1)
    written = acknowledged(prober.samples())
    with site.lab.parts.postgresql.connect(site.lab.parts.current_primary(), DATABASE) as connection:
        assert lost_sentinels(connection, written) == ()


def outage_seconds(prober: Prober) -> float:
    """Of the sentinels' own, as the prober saw it from outside."""
    from codeblue.lab.prober import analyse

    found = analyse(prober.samples()).outage_seconds("patient_db")
    assert found is not None
    return found


def summary_of(site: Site, run_id: str) -> str:
    run = site.store().run(run_id)
    assert run is not None and run.outcome == "completed", run
    return json.dumps([record["fields"] for record in site.ledger(run_id)])


def assert_switched(site: Site, old: str, new: str) -> None:
    state = settled_end_state(site)
    assert state["primary"] == new and state["members"] == {new: "primary", old: "standby"}, state
    assert state["servers"]["patient_db"][old] == "MAINT"
    assert state["servers"]["patient_db"][new].startswith("UP"), state
    with site.lab.parts.postgresql.connect(new) as connection:
        rows = connection.execute("select application_name, state from pg_stat_replication").fetchall()
        assert rows == [(old, "streaming")]
    with site.lab.parts.postgresql.connect(old) as connection:
        # What it kept for its standby would hold its log for ever.
        assert connection.execute("select slot_name from pg_replication_slots").fetchall() == []


def test_a_switchover_loses_no_write_and_stays_over_a_restart_of_the_gateway(site: Site, tmp_path: Path) -> None:
    before = timeline(site, "db2")
    with writing(site, tmp_path / "samples.jsonl") as prober:
        ended = switch_over(site)
        assert ended.code == 0, ended.out
    switched = ended.summary
    print(f"write outage: {outage_seconds(prober):.2f} s from outside; {said(ended)}")
    assert switched["outcome"] == "completed" and "followers: db1 by follow" in said(ended), ended
    assert_switched(site, "db1", "db2")
    assert timeline(site, "db2") == before + 1
    supervisor = site.lab.parts.supervisor
    supervisor.stop(GATEWAY_UNIT)
    supervisor.start(GATEWAY_UNIT)
    wait_for(lambda: gateway_leads_to(site, "db2"), 10.0, "the gateway's return", 0.05)
    site.assert_no_step_twice(switched["run"])
    site.verify_record(switched["run"])


def gateway_leads_to(site: Site, member: str) -> bool:
    servers = site.lab.status().servers.get("patient_db", {})
    return bool(servers) and all(
        state.startswith("UP") if name == member else state == "MAINT" for name, state in servers.items()
    )


def said(ended: Finished) -> str:
    """What the step of the switchover said."""
    return next(str(message.get("summary")) for message in ended.messages if message.get("stage") == "switchover")


@pytest.mark.extended
def test_there_and_back_and_nothing_to_do(site: Site, tmp_path: Path) -> None:
    with writing(site, tmp_path / "samples.jsonl") as prober:
        for old, new in (("db1", "db2"), ("db2", "db1"), ("db1", "db2"), ("db2", "db1")):
            planned = site.codeblue("plan", OPERATION, "-i", str(site.inventory), "--json", *to(new))
            assert planned.code == 0 and f"would make {new} the primary instead of {old}" in planned.out, planned
            ended = switch_over(site, *to(new))
            assert ended.code == 0, ended.out
            print(said(ended))
            assert_switched(site, old, new)
            again = switch_over(site, *to(new))
            assert again.code == 0 and f"{new} is the primary already" in said(again), again
            assert again.summary["first_action_seconds"] is None
    print(f"four switchovers, from the first failure to the last: {outage_seconds(prober):.2f} s")


@pytest.mark.extended
def test_what_stands_against_it_is_said_and_nothing_is_changed(site: Site) -> None:
    postgresql = site.lab.parts.postgresql
    before = site.fingerprint()

    def refused(words: str, code: int = 3, *options: str) -> None:
        ended = switch_over(site, *options)
        assert ended.code == code and words in json.dumps(ended.summary), ended
        now = site.fingerprint()
        assert {**now, "receipts": of_changes(now)} == {**before, "receipts": of_changes(before)}

    refused("'db9' is no standby of it", 2, *to("db9"))
    with postgresql.connect("db2") as standby:
        standby.execute("select pg_wal_replay_pause()")
        refused("db2 does not replay (paused)")
        standby.execute("select pg_wal_replay_resume()")
    with postgresql.connect("db2") as standby, postgresql.connect("db1", DATABASE) as primary:
        standby.execute("select pg_wal_replay_pause()")
        for _round in range(20):
            primary.execute("select pg_logical_emit_message(true, 'test', repeat('x', 100000))")
        refused("behind db1", 3, "-e", "codeblue_switchover_lag=1000")
        standby.execute("select pg_wal_replay_resume()")
    with postgresql.connect("db1", DATABASE) as primary:
        primary.execute("begin")
        refused("s old and would be rolled back", 3, "-e", "codeblue_switchover_transactions=0.01")
        primary.execute("rollback")
    with postgresql.connect("db2") as standby:
        standby.execute("alter system set synchronous_standby_names = 'db3'")
        standby.execute("select pg_reload_conf()")
        wait_for(lambda: shown(standby) == "db3", 5.0, "the setting", 0.05)
        refused("commits on db2 would hang")
        standby.execute("alter system reset synchronous_standby_names")
        standby.execute("select pg_reload_conf()")


def shown(connection: t.Any) -> str:
    return str(connection.execute("show synchronous_standby_names").fetchone()[0])


def of_changes(fingerprint: dict[str, t.Any]) -> list[t.Any]:
    """Receipts of what a machine accepted; a checkpoint changes nothing."""
    return [receipt for receipt in fingerprint["receipts"] if receipt.event == "accepted"]


@pytest.mark.extended
def test_without_a_standby_nothing_is_changed(site: Site) -> None:
    site.lab.parts.supervisor.stop(postgres_unit("db2"))
    before = site.fingerprint()
    ended = switch_over(site)
    assert ended.code == 3 and "no standby can take over from db1" in json.dumps(ended.summary), ended
    assert site.fingerprint() == before


def walreceiver(site: Site, member: str) -> int:
    for process in postgres_processes(site.lab.layout.data_dir(member)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"walreceiver" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                return process.pid
    raise AssertionError(f"{member} has no walreceiver")


@pytest.mark.extended
def test_a_standby_that_misses_the_end_of_the_log_is_not_promoted(site: Site, tmp_path: Path) -> None:
    promoted = timeline(site, "db2")
    frozen = walreceiver(site, "db2")
    with writing(site, tmp_path / "samples.jsonl") as prober:
        process = site.start_codeblue("run", OPERATION, "-i", str(site.inventory), "--json")

        def stopping() -> bool:
            return any(step.name.endswith("/stop_old") for step in watch_journal(site.database))

        try:
            wait_for(stopping, 120.0, "the stop")
            os.kill(frozen, signal.SIGSTOP)
        finally:
            ended = finish(process)
            os.kill(frozen, signal.SIGCONT)
    assert ended.code == 1 and "db1 is the primary as before" in json.dumps(ended.summary), ended
    print(f"write outage of a switchover that went back: {outage_seconds(prober):.2f} s")
    assert site.lab.status().primary == "db1" and gateway_leads_to(site, "db1")
    assert not (site.lab.layout.data_dir("db1") / "standby.signal").exists()
    site.lab.parts.postgresql.wait_for_role("db2", "standby")
    assert timeline(site, "db2") == promoted
    # As it was, so that it can be done now.
    again = switch_over(site)
    assert again.code == 0, again
    assert_switched(site, "db1", "db2")


# The steps: checkpoint, stop_old, hold_writes, promote_new, lead_to_new, rejoin_db1.
KILLS = (
    Kill("playbook", 0, "result"),
    Kill("worker", 1, "intent"),
    Kill("playbook", 1, "accepted"),
    Kill("runner", 2, "result"),
    Kill("playbook", 3, "intent"),
    Kill("worker", 3, "accepted"),
    Kill("playbook", 4, "result"),
    Kill("playbook", 5, "accepted", bare=True),
)


@pytest.mark.extended
@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_killed_switchover_is_resumed(site: Site, tmp_path: Path, kill: Kill) -> None:
    promoted = timeline(site, "db2")
    with writing(site, tmp_path / "samples.jsonl") as prober:
        resumed = interrupt_and_resume(site, OPERATION, kill, ())
    print(f"{kill} at {resumed.struck}: write outage {outage_seconds(prober):.2f} s, resumed {resumed.seconds:.1f} s")
    assert resumed.struck is not None and resumed.finished.code == 0, resumed
    assert_switched(site, "db1", "db2")
    assert timeline(site, "db2") == promoted + 1
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    assert "db2 is the primary instead of db1" in summary_of(site, resumed.run_id)
