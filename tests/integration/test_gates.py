"""Nothing changes a target past the gates: not --limit, tags or --start-at-task, not a foreign playbook, not -e.

Each attempt must be refused with one clear line and leave the clinic as it was; about 60 s.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from clinic_site import Finished, Site, finish, wait_for, watch_journal

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
PLAYBOOK = f"codeblue.recovery.{RUNBOOK}"
FORGED_DIAGNOSIS = {
    "cause": "primary_dead",
    "primary": "db1",
    "members": {},
    "failover": {
        "path": "promote",
        "if_that_fails": None,
        "primary": "db1",
        "standby": "db2",
        "in_step": True,
        "loss_bytes": 0,
        "loss_commits": 0,
        "loss_seconds": 0.0,
        "acceptances": [],
        "reason": "because I say so",
    },
}
# One call of each kind: an action over several machines, and modules for one machine.
FOREIGN_TASKS = {
    "postgresql_failover": ("patient_db", {"diagnosis": FORGED_DIAGNOSIS}),
    "postgresql_promote": (
        "db2",
        {"bin_dir": "/bin", "data_dir": "/nowhere", "port": 1, "socket_dir": "/nowhere", "os_user": "nobody"},
    ),
    "haproxy_server": ("lb1", {"socket": "{sock}", "backend": "patient_db", "servers": {"db1": "maint"}}),
    "process_state": (
        "app1",
        {"manager": "supervisor", "socket": "{sup}", "unit": "records-app1", "state": "stopped"},
    ),
}


def play(site: Site, name: str, hosts: str, tasks: list[dict[str, object]]) -> Path:
    path = site.account / f"{name}.yml"
    path.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    return path


def foreign(site: Site, action: str, **more: object) -> Path:
    hosts, arguments = FOREIGN_TASKS[action]
    text = json.dumps(arguments)
    text = text.replace("{sock}", str(site.lab.layout.gateway_socket))
    text = text.replace("{sup}", str(site.lab.layout.supervisor_socket))
    task = {f"codeblue.recovery.{action}": json.loads(text), **more}
    return play(site, f"foreign_{action}", hosts, [task])


def refusals(finished: Finished) -> set[str]:
    """The errors of failed tasks, each as the one line that it is."""
    return {match for match in re.findall(r'"error": "((?:[^"\\]|\\.)*)"', finished.out)}


def assert_refused(finished: Finished, needle: str) -> None:
    assert finished.code != 0, finished
    said = refusals(finished)
    assert any(needle in line for line in said), (needle, said, finished)
    assert "Traceback" not in finished.out + finished.err


@pytest.mark.parametrize("action", FOREIGN_TASKS)
def test_a_foreign_playbook_is_refused(site: Site, action: str) -> None:
    before = site.fingerprint()
    assert_refused(site.playbook(str(foreign(site, action))), "no run is open for")
    assert site.fingerprint() == before


def test_a_foreign_playbook_is_refused_with_the_id_of_a_run_that_is_open(site: Site) -> None:
    site.lab.break_("primary_dead")
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    try:
        wait_for(lambda: watch_journal(site.database), 20, "the first step")
        other = site.runs()[0].run_id
        finished = site.playbook(str(foreign(site, "process_state")), "-e", f"codeblue_run_id={other}")
    finally:
        assert finish(process).code == 0
    assert_refused(finished, "no run is open for")
    assert site.lab.status().processes["records-app1"]["state"] == "RUNNING"
    assert {receipt.run_id for receipt in site.receipts()} == {other}


def test_every_module_of_the_collection_goes_through_an_action() -> None:
    root = Path(__file__).parents[2] / "plugins"
    modules = {path.stem for path in (root / "modules").glob("*.py")}
    actions = {path.stem for path in (root / "action").glob("*.py")}
    assert modules - actions == set()


@pytest.mark.parametrize(
    "options",
    [
        ("--start-at-task", "Fail over to what still works"),
        ("--start-at-task", "Bring the database back"),
        ("--start-at-task", "Prove that the targets and what depends on them work"),
        ("--tags", "failover"),
        ("--skip-tags", "always"),
    ],
    ids=" ".join,
)
def test_tags_and_start_at_task_change_nothing_without_a_run(site: Site, options: tuple[str, str]) -> None:
    """Whatever is skipped: with the opening skipped nothing is changed, with it there it is a whole run."""
    site.lab.break_("primary_dead")
    before = site.fingerprint()
    finished = site.playbook(PLAYBOOK, *options)
    if site.runs():
        assert options[0] == "--skip-tags"
        assert site.runs()[0].status == "closed" and finished.code == 0
        return
    after = site.fingerprint()
    assert after["receipts"] == before["receipts"] == []
    assert after["primary"] == before["primary"] and after["members"] == before["members"]
    assert "Traceback" not in finished.out + finished.err


def test_limit_to_a_machine_or_to_nothing_changes_nothing(site: Site) -> None:
    site.lab.break_("primary_dead")
    for pattern in ("db2", "nobody", "localhost"):
        refused = site.run(RUNBOOK, "--limit", pattern)
        assert refused.code == 2, refused
        assert refused.summary["error"] and "\n" not in refused.summary["error"]
        site.playbook(PLAYBOOK, "--limit", pattern)
    assert site.receipts() == [] and site.runs() == []


def test_limit_to_the_service_recovers_it_with_all_its_machines(site: Site) -> None:
    site.lab.break_("primary_dead")
    finished = site.run(RUNBOOK, "--limit", "patient_db")
    assert finished.code == 0, finished
    assert {receipt.machine for receipt in site.receipts()} >= {"db1", "db2", "lb1"}


def test_a_second_run_is_refused_and_says_who_holds_the_target(site: Site) -> None:
    site.lab.break_("primary_dead")
    first = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    try:
        wait_for(lambda: watch_journal(site.database), 20, "the first step")
        holder = site.runs()[0]
        by_command = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
        by_ansible = site.start_playbook(PLAYBOOK)
        second, third = finish(by_command), finish(by_ansible)
    finally:
        finished = finish(first)
    assert finished.code == 0, finished
    if second.summary["outcome"] == "nothing_to_do":
        pytest.skip("the first run had ended before the second looked")
    assert second.code == 3, second
    assert holder.run_id in second.summary["error"], second.summary
    assert str(holder.operator).split(" ")[0] in second.summary["error"] + (second.summary["hint"] or "")
    assert third.code != 0 and any(holder.run_id in line for line in refusals(third)), third
    assert {receipt.run_id for receipt in site.receipts()} == {holder.run_id}


@pytest.mark.parametrize("runbook", ["database_connection_failure", "complete_system_outage"])
def test_a_healthy_clinic_is_left_alone(site: Site, runbook: str) -> None:
    before = site.fingerprint()
    finished = site.run(runbook)
    assert finished.code == 0 and finished.summary["outcome"] == "nothing_to_do", finished
    assert site.fingerprint() == before and before["receipts"] == []
    run = site.runs()[0]
    assert run.status == "closed" and run.outcome == "nothing_to_do"
    assert site.steps(run.run_id) == []


def test_a_healthy_clinic_is_validated_when_somebody_says_why(site: Site) -> None:
    before = site.fingerprint()
    finished = site.run(RUNBOOK, "--because", "the on-call was paged by a user")
    assert finished.code == 0 and finished.summary["outcome"] == "recovered", finished
    after = site.fingerprint()
    assert after == before, "a healthy database needs nothing, so even then nothing was changed"
    assert any(record["kind"] == "detection" for record in site.ledger(site.runs()[0].run_id))


def test_a_plan_changes_nothing_and_leaves_no_record(site: Site) -> None:
    site.lab.break_("primary_dead")
    before = site.fingerprint()
    planned = site.codeblue("plan", RUNBOOK, "-i", str(site.inventory), "--json")
    assert planned.code == 0, planned
    assert site.fingerprint() == before and site.runs() == []
