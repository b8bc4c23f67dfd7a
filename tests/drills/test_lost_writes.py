"""What is lost when the standby was not in step, counted twice: by what it has, and by what is gone. About 25 s."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool
from codeblue.drill.runbook_command import RunbookCommand, RunReport
from codeblue.lab import Lab
from codeblue.lab.measurement import Sample, lost_sentinels
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.prober import Prober

pytestmark = [pytest.mark.lab, pytest.mark.drill]

WRITING_SECONDS = 2.0


def recover(lab: Lab) -> RunReport:
    """As an operator does: without an acceptance first, and with it when the run asks for it."""
    report = run(lab)
    return run(lab, "--accept", "data_loss") if report.outcome == "refused" else report


def run(lab: Lab, *arguments: str) -> RunReport:
    command = RunbookCommand("database_connection_failure", lab.inventory_path, arguments)
    command.start()
    try:
        return command.wait()
    finally:
        command.stop()


def decision_of(report: RunReport) -> dict[str, Any]:
    """What the run wrote down before its first change."""
    assert report.run is not None
    recorded = open_store_or_spool().run(report.run)
    assert recorded is not None and recorded.origin == "drill"
    decisions = [step.decision.get("choice") for step in open_store_or_spool().steps(report.run)]
    found = [dict(decision) for decision in decisions if decision]
    assert found
    return found[0]


def acknowledged(samples: list[Sample]) -> list[int]:
    return [sample.n for sample in samples if sample.ok and sample.n is not None]


def numbers_in(lab: Lab, member: str) -> set[int]:
    with lab.parts.postgresql.connect(member, DATABASE) as connection:
        return {row[0] for row in connection.execute("select n from codeblue_sentinel")}


def test_exactly_the_writes_after_the_standby_fell_behind_are_lost(lab: Lab, tmp_path: Path) -> None:
    with Prober(lab, tmp_path / "samples.jsonl") as prober:
        stopped = lab.break_("replication_stopped")
        time.sleep(WRITING_SECONDS)
        struck = lab.break_("primary_dead")
        # The old primary is dead: nothing that is acknowledged from here on is of its time.
        standby_has = numbers_in(lab, str(struck.facts["standby"]))
        time.sleep(0.2)
        of_its_time = prober.samples()
        expected = sorted(set(acknowledged(of_its_time)) - standby_has)
        report = recover(lab)
        time.sleep(1.0)
        samples = prober.samples()
    assert report.outcome == "recovered", report.why
    # At ten writes a second.
    assert len(expected) >= WRITING_SECONDS * 10 * 0.6
    # The same number a second way: what was acknowledged after replication stopped.
    last_kept = stopped.facts["standby_last_sentinel"]
    assert expected == sorted(n for n in acknowledged(of_its_time) if n > last_kept)
    with lab.parts.postgresql.connect(lab.parts.current_primary(), DATABASE) as connection:
        lost = lost_sentinels(connection, acknowledged(samples))
    assert list(lost) == expected
    assert_says_so(decision_of(report), len(expected), seconds_of(of_its_time, expected, struck.struck_monotonic))


def assert_says_so(choice: dict[str, Any], writes: int, seconds: float) -> None:
    """The run's own statement covers what was really lost."""
    assert choice["path"] == "promote"
    assert choice["in_step"] is not True
    # It is told in commits when the old primary's log can be read, else in time. Checks and logins write too.
    assert choice["loss_commits"] is not None or choice["loss_seconds"] is not None
    if choice["loss_commits"] is not None:
        assert writes <= choice["loss_commits"] <= writes * 3
    if choice["loss_seconds"] is not None:
        assert seconds <= choice["loss_seconds"] <= seconds + 30.0


def seconds_of(samples: list[Sample], lost: list[int], struck: float) -> float:
    return struck - min(sample.finished for sample in samples if sample.n in lost)


def test_nothing_is_lost_when_the_old_primary_can_be_started_again(lab: Lab, tmp_path: Path) -> None:
    with Prober(lab, tmp_path / "samples.jsonl") as prober:
        lab.break_("replication_stopped")
        time.sleep(WRITING_SECONDS / 2)
        lab.break_("primary_crashed")
        report = run(lab)
        time.sleep(1.0)
        samples = prober.samples()
    assert report.outcome == "recovered", report.why
    assert decision_of(report)["path"] == "start_primary"
    assert lab.parts.current_primary() == "db1"
    with lab.parts.postgresql.connect("db1", DATABASE) as connection:
        assert lost_sentinels(connection, acknowledged(samples)) == ()
