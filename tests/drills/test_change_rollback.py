"""Changes of every kind that are taken back in a real clinic: a release together with its migration, a migration that
would lose data, one under a service that works, forgotten flags, and a run that is killed meanwhile (about 150 s)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from clinic_site import Finished, SeenStep, Site, finish, wait_for, watch_journal
from codeblue.lab.layout import APPLICATION_MACHINES
from codeblue.lab.migrations import MACHINE, NEW_COLUMNS, SERVICE_RIGHTS
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.releases import BAD_START, GOOD
from codeblue.lab.service_faults import kill_everything

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

RUNBOOK = "complete_system_outage"
LONGEST_SECONDS = 240.0


def applied(site: Site) -> list[str]:
    parts = site.lab.parts
    with parts.postgresql.connect(parts.current_primary(), DATABASE) as connection:
        rows = connection.execute("select version from schema_migrations order by version").fetchall()
    return [str(row[0]) for row in rows]


def rollback_steps(site: Site, run_id: str) -> list[str]:
    return [f"{step.target} {step.action}" for step in site.steps(run_id) if step.stage == "rollback"]


def marked(site: Site) -> set[tuple[str, str, str]]:
    return {(bad.target, bad.kind, bad.version) for bad in site.store().bad_versions()}


def copies(site: Site) -> list[Path]:
    return sorted(site.lab.directory.glob("machines/*/snapshots/patient_db.dumps/*.dump"))


def forget_copies(site: Site) -> None:
    for path in copies(site):
        path.unlink()


def recover(site: Site, *options: str) -> Finished:
    """Three changes one after the other, each proven, take longer than other recoveries."""
    command = ("run", RUNBOOK, "-i", str(site.inventory), "--json", *options)
    return finish(site.start_codeblue(*command), LONGEST_SECONDS)


def why(finished: Finished) -> str:
    return f"{finished.out}\n{finished.err}"


def header(site: Site, version: str, name: str, way_back: str) -> None:
    """Say of a migration what its way back costs; `heal` does not undo this, the tests do."""
    (path,) = (site.lab.layout.machine(MACHINE) / "migrations").glob(f"{version}_{name}.up.sql")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("-- way_back: ")
    path.write_text("\n".join([lines[0], f"-- way_back: {way_back}", *lines[2:]]) + "\n", encoding="utf-8")


def test_a_release_goes_back_before_the_migration_that_it_needs(site: Site) -> None:
    parts = site.lab.parts
    forget_copies(site)
    for service in ("auth", "records"):
        for machine in APPLICATION_MACHINES:
            parts.releases.deploy(service, machine, BAD_START, by="deployment")
    # As some deliver: first the code, then the schema that it needs, which so is the newest change of all.
    parts.migrations.up(NEW_COLUMNS)
    kill_everything(parts)
    done = recover(site)
    assert done.code == 0 and done.summary["outcome"] == "recovered", why(done)
    steps = [each for each in rollback_steps(site, done.summary["run"]) if "restart" not in each]
    decided = [each for each in steps if "decide" in each]
    assert decided == ["auth decide_1", "records decide_2", "patient_db decide_3"] or decided == [
        "records decide_1",
        "auth decide_2",
        "patient_db decide_3",
    ], steps
    assert steps[-2:] == [f"patient_db copy_before_{NEW_COLUMNS}", f"patient_db schema_down_{NEW_COLUMNS}"]
    assert applied(site) == ["0001"]
    assert {version for where, version in site.lab.status().releases.items() if not where.startswith("ai ")} == {GOOD}
    assert marked(site) == {
        ("auth", "release", BAD_START),
        ("records", "release", BAD_START),
        ("patient_db", "schema", NEW_COLUMNS),
    }
    assert len(copies(site)) == 1
    assert recover(site).summary["outcome"] == "nothing_to_do"
    site.assert_no_step_twice(done.summary["run"])


def test_what_would_lose_data_waits_for_a_person_and_goes_back_when_it_is_accepted(site: Site) -> None:
    parts = site.lab.parts
    forget_copies(site)
    header(site, SERVICE_RIGHTS, "service_rights", "data_loss")
    try:
        parts.migrations.up(SERVICE_RIGHTS)
        kill_everything(parts)
        refused = recover(site)
        # The other targets were started and still fail, so that the run as a whole counts as failed.
        assert refused.code == 1 and refused.summary["targets"]["patient_db"] == "refused", why(refused)
        assert "--accept data_loss" in refused.summary["hint"], why(refused)
        assert applied(site) == ["0001", SERVICE_RIGHTS] and not copies(site) and not marked(site)
        done = recover(site, "--accept", "data_loss", "--because", "the rights hold no data")
        assert done.code == 0 and done.summary["outcome"] == "recovered", why(done)
        assert applied(site) == ["0001"] and len(copies(site)) == 1
        assert copies(site)[0].stat().st_mode & 0o777 == 0o600
    finally:
        header(site, SERVICE_RIGHTS, "service_rights", "clean")


def test_a_migration_without_a_way_back_is_left_to_a_person(site: Site) -> None:
    parts = site.lab.parts
    forget_copies(site)
    header(site, SERVICE_RIGHTS, "service_rights", "none")
    try:
        parts.migrations.up(SERVICE_RIGHTS)
        kill_everything(parts)
        failed = recover(site, "--accept", "data_loss")
        assert failed.code == 1 and "has no way back" in why(failed), why(failed)
        assert applied(site) == ["0001", SERVICE_RIGHTS] and not copies(site) and not marked(site)
    finally:
        header(site, SERVICE_RIGHTS, "service_rights", "clean")


CHECK = """
- name: Only look
  hosts: codeblue_services
  gather_facts: false
  tasks:
    - name: Take back what is newest
      codeblue.recovery.progressive_rollback:
      run_once: true
      register: found
    - name: Say what was found
      ansible.builtin.debug:
        var: found.rolled_back
      run_once: true
"""


def test_check_mode_says_what_would_go_back_and_changes_nothing(site: Site) -> None:
    site.lab.parts.migrations.up(SERVICE_RIGHTS)
    forget_copies(site)
    before = site.fingerprint()
    playbook = site.account / "work" / "check.yml"
    playbook.write_text(CHECK, encoding="utf-8")
    planned = site.playbook(str(playbook), "--check")
    assert planned.code == 0 and '"kind": "schema"' in planned.out and f'"{SERVICE_RIGHTS}"' in planned.out, why(
        planned
    )
    assert applied(site) == ["0001", SERVICE_RIGHTS] and not copies(site) and site.fingerprint() == before


def test_forgotten_flags_go_back_and_are_told_in_their_history(site: Site) -> None:
    site.lab.break_("maintenance_flag_outage")
    done = recover(site)
    assert done.code == 0 and done.summary["outcome"] == "recovered", why(done)
    for service in ("auth", "records"):
        flags = json.loads(site.lab.layout.flags_file(service).read_text(encoding="utf-8"))
        assert flags == {"ai_enabled": True}
        told = site.lab.layout.flags_history(service).read_text(encoding="utf-8").splitlines()
        entries: list[dict[str, Any]] = [json.loads(line) for line in told]
        assert [entry["flags"].get("maintenance") for entry in entries] == [None, True, None]
        assert entries[1]["by"] == "unrecorded" and entries[2]["by"].startswith("codeblue, run ")
    assert {(target, kind) for target, kind, _version in marked(site)} == {("auth", "flags"), ("records", "flags")}


def kill_playbook_at(site: Site, step: str) -> str:
    """Break, run, and kill ansible-playbook as soon as the intent of a step is on disk; returns the run."""
    site.lab.break_("bad_migration_outage")
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    try:

        def begun() -> SeenStep | None:
            assert process.poll() is None, f"the run ended before {step}"
            return next((each for each in watch_journal(site.database) if step in each.name), None)

        worker = wait_for(begun, LONGEST_SECONDS, step).worker
        parent = int(Path(f"/proc/{worker}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
    finally:
        finish(process, LONGEST_SECONDS)
    (run,) = site.runs()
    assert run.status == "open", run
    return run.run_id


@pytest.mark.parametrize("step", ["copy_before", "schema_down"])
def test_a_run_that_is_killed_at_the_migration_is_resumed(site: Site, step: str) -> None:
    forget_copies(site)
    run_id = kill_playbook_at(site, step)
    resumed = finish(site.start_codeblue("resume", run_id, "-i", str(site.inventory), "--json"), LONGEST_SECONDS)
    assert resumed.code == 0 and resumed.summary["outcome"] == "recovered", why(resumed)
    assert applied(site) == ["0001"] and len(copies(site)) == 1
    assert [each for each in rollback_steps(site, run_id) if "decide" in each] == ["patient_db decide_1"]
    site.assert_no_step_twice(run_id)
