"""Corrupted records: killed in the middle and resumed, written again, and what cannot be recovered; about 150 s."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from clinic_site import Site
from codeblue.lab.postgresql import DATABASE
from kill_and_resume import Kill, ended_well, kill_and_resume

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

RUNBOOK = "data_corruption_detected"
DAMAGED = (
    "select count(*) from records r full join record_digests d using (id)"
    " where d.digest is distinct from record_digest(patient_ref, note, triage, created_by)"
)
WRITABLE = "insert into codeblue_check values (3, clock_timestamp()) on conflict (id) do update set checked_at = now()"
# In the order in which the run begins them.
STEPS = (
    "decide_1",
    "writes_stopped",
    "base_backup",
    "keep",
    "clean_point",
    "compare",
    "keep_later_writes",
    "swap",
    "remove_copy",
    "writes_resumed",
)


@pytest.fixture()
def backed_up(site: Site) -> Site:
    """With a base backup, as from the schedule."""
    done = site.codeblue("snapshot", "create", "-i", str(site.inventory), "--limit", "patient_db", "--json")
    assert done.code == 0, done.out + done.err
    return site


def ask(site: Site, query: str) -> Any:
    parts = site.lab.parts
    with parts.postgresql.connect(parts.current_primary(), DATABASE, seconds=10) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def execute(site: Site, *statements: str) -> None:
    parts = site.lab.parts
    with parts.postgresql.connect(parts.current_primary(), DATABASE) as connection:
        for statement in statements:
            connection.execute(statement)


def left_over(site: Site) -> list[Path]:
    """Copies that should have been removed."""
    return list(site.lab.directory.glob("machines/*/snapshots/.clean-*"))


@pytest.mark.parametrize(
    ("fault", "step", "moment", "victim"),
    [
        ("records_overwritten", "swap", "accepted", "playbook"),
        ("records_dropped", "swap", "result", "runner"),
        ("records_damaged_silently", "clean_point", "accepted", "worker"),
    ],
)
def test_a_run_killed_at_a_step_is_resumed_to_the_same_end(
    backed_up: Site, fault: str, step: str, moment: str, victim: str
) -> None:
    site = backed_up
    # What is entered in the ordinary way right before must be there afterwards.
    execute(site, "insert into records (patient_ref, note, triage, created_by) values ('s', 'before', 'soon', 'x')")
    kept = ask(site, "select count(*) from records where note = 'before'")
    # Nobody can write to a table that is gone, so nothing is kept then.
    steps = [each for each in STEPS if fault != "records_dropped" or each != "keep_later_writes"]
    resumed = kill_and_resume(site, fault, Kill(victim, steps.index(step), moment))
    assert resumed.struck is None or step in resumed.struck, resumed
    print(f"killed at {resumed.struck}, in doubt: {resumed.in_doubt}, resumed in {resumed.seconds:.1f} s")
    assert ended_well(resumed), resumed.finished.out[-3000:]
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    assert not site.store().open_intents(resumed.run_id)
    assert ask(site, "select count(*) from records where note = 'before'") == kept
    assert ask(site, "select count(*) from records where note = 'No known allergies'") == 0
    assert ask(site, DAMAGED) == 0
    execute(site, WRITABLE)
    assert left_over(site) == []


def test_what_was_entered_after_the_damage_is_kept_and_written_again(backed_up: Site) -> None:
    site = backed_up
    before = ask(site, "select max(id) from records")
    site.lab.break_("records_overwritten")
    later = ask(site, "select count(*) from records where note like 'entered after%'")
    ended = site.run(RUNBOOK)
    assert ended.code == 0, ended.out[-3000:]
    assert ask(site, f"select count(*) from records where note like 'entered after%' and id > {before}") == 0
    identity = next((site.lab.directory / "identity").glob("*.agekey"))
    arguments = ("-i", str(site.inventory), "-e", f"codeblue_evidence_identity={identity}", "--json")
    planned = site.codeblue("plan", "replay_writes", *arguments)
    assert planned.code == 0 and "would be written" in planned.out, planned.out[-3000:]
    assert ask(site, f"select count(*) from records where note like 'entered after%' and id > {before}") == 0
    for text in ("2 written", "0 written, 2 there already"):
        done = site.codeblue("run", "replay_writes", *arguments)
        assert done.code == 0 and text in done.out, done
    assert ask(site, "select count(*) from records where note like 'entered after%'") == later
    assert "entered after" not in planned.out + planned.err + done.out + done.err, "no row in any output"


def test_without_a_clean_backup_it_ends_with_5_and_writes_stay_stopped(site: Site) -> None:
    site.lab.break_("records_overwritten")
    for backup in site.lab.directory.glob("machines/*/snapshots/patient_db/*"):
        if backup.is_dir():
            shutil.rmtree(backup)
    ended = site.run(RUNBOOK)
    assert ended.code == 5, ended.out[-3000:]
    assert "no base backup" in ended.out and "writes stay stopped" in ended.out, ended.out[-3000:]
    assert ask(site, "select setconfig::text from pg_db_role_setting where setconfig::text like '%read_only=on%'")
    assert left_over(site) == []
