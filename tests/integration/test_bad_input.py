"""Bad input gives one clear line and its exit code, through the command and bare; nothing is touched; about 60 s."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from clinic_site import Finished, Site

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
SERVICES = "all/children/codeblue_services/children"
DATABASE = f"{SERVICES}/codeblue_databases/hosts/patient_db"


def assert_one_line(finished: Finished, code: int, *needles: str) -> None:
    assert finished.code == code, finished
    error = finished.summary["error"]
    assert error and "\n" not in error and len(error) <= 700, error
    for needle in needles:
        assert needle in error + " " + (finished.summary["hint"] or ""), (needle, finished.summary)
    assert "Traceback" not in finished.out + finished.err


def assert_untouched(site: Site, before: dict[str, object]) -> None:
    assert site.fingerprint() == before
    assert all(run.status == "closed" for run in site.runs())


def test_an_unknown_runbook(site: Site) -> None:
    before = site.fingerprint()
    finished = site.run("database_conection_failure")
    assert_one_line(finished, 2, "database_conection_failure", "database_connection_failure")
    assert_untouched(site, before)


@pytest.mark.parametrize(
    ("content", "needle"),
    [(None, "hosts.yml"), ("all: [", "hosts.yml"), ("all:\n  hosts:\n    a b: {}\n  : x\n", "hosts.yml")],
    ids=["missing", "cut_off", "wrong"],
)
def test_an_unreadable_inventory(site: Site, content: str | None, needle: str) -> None:
    before = site.fingerprint()
    path = site.account / "given" / "hosts.yml"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    site.inventory = path
    assert_one_line(site.run(RUNBOOK), 2, needle)
    assert_untouched(site, before)


@pytest.mark.parametrize(
    ("path", "value", "needles"),
    [
        ("all/vars/codeblue_environment", None, ("codeblue_environment",)),
        ("all/vars/codeblue_environment", "productoin", ("codeblue_environment", "productoin")),
        (f"{DATABASE}/codeblue_kind", None, ("codeblue_kind",)),
        (f"{DATABASE}/codeblue_objectives/rto", "soon", ("rto", "soon")),
        (f"{DATABASE}/codeblue_tier", "first", ("codeblue_tier", "whole number")),
        (f"{DATABASE}/codeblue_host/postgresql/members/db1/port", "many", ("members.db1.port", "whole number")),
        (f"{DATABASE}/codeblue_host/postgresql/wrte_paths", ["gateway"], ("wrte_paths",)),
        (f"{DATABASE}/codeblue_host/gateway/machine", "lb9", ("lb9",)),
        (f"{DATABASE}/codeblue_depends_on", ["records"], ("patient_db", "records")),
        (f"{DATABASE}/codeblue_depends_on", ["nobody"], ("nobody",)),
    ],
    ids=lambda value: str(value).rpartition("/")[2] if isinstance(value, str) else None,
)
def test_a_wrong_inventory(site: Site, path: str, value: object, needles: tuple[str, ...]) -> None:
    before = site.fingerprint()
    site.inventory = site.overlay({path: value})
    assert_one_line(site.run(RUNBOOK), 2, *needles)
    assert_untouched(site, before)


def test_a_wrong_inventory_while_the_primary_is_dead_through_the_command_and_bare(site: Site) -> None:
    site.lab.break_("primary_dead")
    before = site.fingerprint()
    site.inventory = site.overlay({"all/vars/codeblue_environment": None})
    assert_one_line(site.run(RUNBOOK), 2, "codeblue_environment")
    bare = site.playbook(f"codeblue.recovery.{RUNBOOK}")
    assert bare.code != 0
    assert any("codeblue_environment" in error for error in _errors(bare)), bare
    assert_untouched(site, before)


@pytest.mark.parametrize("accept", ["dataloss", "everything"])
def test_a_misspelt_acceptance(site: Site, accept: str) -> None:
    before = site.fingerprint()
    assert_one_line(site.run(RUNBOOK, "--accept", accept), 2, accept, "data_loss")
    assert_untouched(site, before)


def test_a_run_that_is_not_there_cannot_be_resumed(site: Site) -> None:
    before = site.fingerprint()
    finished = site.codeblue("resume", "01JD3V4T6R8Y0Q2M5N7P9S1W3X", "-i", str(site.inventory), "--json")
    assert_one_line(finished, 2, "01JD3V4T6R8Y0Q2M5N7P9S1W3X")
    assert_untouched(site, before)


def test_a_changed_inventory_stops_a_resume(site: Site) -> None:
    """Two exits at once: the run stays open, and says how to go on."""
    from kill_and_resume import Kill, kill_and_resume

    lab_inventory = site.inventory
    other = site.overlay({f"{DATABASE}/codeblue_objectives/rto": "7m"})
    site.inventory = lab_inventory
    original = site.codeblue

    def resume_with_other(*arguments: str) -> Finished:
        return original(*[str(other) if argument == str(lab_inventory) else argument for argument in arguments])

    site.codeblue = resume_with_other  # type: ignore[method-assign]
    resumed = kill_and_resume(site, "primary_dead", Kill("playbook", 0, "intent"))
    assert resumed.finished.code == 3, resumed
    assert "changed" in resumed.finished.summary["error"]
    accepted = original("resume", resumed.run_id, "-i", str(other), "--accept", "changed_inputs", "--json")
    assert accepted.code == 0, accepted


def _errors(finished: Finished) -> list[str]:
    """One line per failure, as people read it: in the task's result, or from Ansible before any task."""
    return re.findall(r'"msg": "((?:[^"\\]|\\.)*)"', finished.out) + [
        line for line in (finished.out + finished.err).splitlines() if "ERROR" in line
    ]


def test_paths_of_this_file_are_in_the_lab(session_lab: object) -> None:
    """So that the overlays above change something that is there."""
    text = Path(session_lab.inventory_path).read_text()  # type: ignore[attr-defined]
    for name in ("codeblue_databases", "patient_db", "write_paths", "codeblue_depends_on"):
        assert name in text
