"""Whole recoveries beside a keeper that puts files back and one that starts units again.

About 12 s, with the extended ones 60 s.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clinic_site import Finished, Site, finish
from codeblue.lab.keepers import MACHINE, Keepers
from codeblue.lab.layout import APPLICATION_MACHINES, FILE_KEEPER_UNIT, UNIT_KEEPER_UNIT

pytestmark = pytest.mark.lab

# Longer than a round of the keepers.
_ROUND_SECONDS = 1.5


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def a_round_later() -> None:
    """Whoever puts things back has had the time to."""
    end = time.monotonic() + _ROUND_SECONDS
    until(lambda: time.monotonic() >= end)


def run(site: Site, name: str, *options: str) -> Finished:
    """A recovery beside somebody else takes two steps more than one alone."""
    return finish(site.start_codeblue("run", name, "-i", str(site.inventory), "--json", *options), 240.0)


def keepers(site: Site) -> Keepers:
    return Keepers(site.lab.layout)


def states(site: Site) -> dict[str, str]:
    return {name: str(each["state"]) for name, each in site.lab.status().processes.items()}


def of_target(site: Site, target: str) -> dict[str, Any]:
    """What the record says of the closed target."""
    closed = [each for each in site.ledger(site.runs()[0].run_id) if each["kind"] == "target_closed"]
    return dict(next(each["fields"] for each in closed if each["fields"]["target"] == target))


def notes(site: Site) -> list[str]:
    return [each["fields"]["text"] for each in site.ledger(site.runs()[0].run_id) if each["kind"] == "note"]


def test_a_keeper_of_the_flags_is_suspended_before_the_first_one_changes(site: Site) -> None:
    flags = site.lab.layout.flags_file("records")
    site.lab.break_("ai_model_damaged")
    keepers(site).keep_files([flags])
    site.lab.parts.supervisor.start(FILE_KEEPER_UNIT)
    finished = run(site, "ai_service_unavailable", "--limit", "ai")
    assert finished.code in (0, 4), finished
    assert states(site)[FILE_KEEPER_UNIT] == "STOPPED"
    log = keepers(site)._config(FILE_KEEPER_UNIT).with_suffix(".log")
    assert not log.exists() or "put back" not in log.read_text(), "it had no time to put anything back"
    due = f"on {MACHINE}: supervisorctl -s unix://{site.lab.layout.supervisor_socket} start {FILE_KEEPER_UNIT}"
    assert [note for note in notes(site) if note.startswith(f"due afterwards {due}")]
    assert of_target(site, "ai")["detail"]["due"] == [due]
    suspended = [step.action for step in site.steps(site.runs()[0].run_id) if step.action.startswith("suspend_")]
    assert suspended == [f"suspend_{FILE_KEEPER_UNIT}_{MACHINE}"], "once, and never again"
    a_round_later()
    assert json.loads(flags.read_text()) != {} and states(site)[FILE_KEEPER_UNIT] == "STOPPED"


@pytest.mark.extended
def test_a_keeper_of_a_release_is_suspended_and_the_rollback_holds(site: Site) -> None:
    site.lab.break_("bad_release_outage")
    links = [site.lab.layout.release_root(MACHINE, service) / "current" for service in ("records", "auth", "ai")]
    bad = {link: link.readlink() for link in links}
    keepers(site).keep_files(links)
    site.lab.parts.supervisor.start(FILE_KEEPER_UNIT)
    finished = run(site, "complete_system_outage")
    assert finished.code == 0, finished
    assert states(site)[FILE_KEEPER_UNIT] == "STOPPED"
    a_round_later()
    assert [link for link in links if link.readlink() != bad[link]], "a release was rolled back and stays so"


@pytest.mark.extended
def test_a_keeper_that_nobody_named_is_seen_at_the_close(site: Site) -> None:
    site.inventory = site.overlay({f"all/children/codeblue_machines/hosts/{MACHINE}/codeblue_reconcilers": None})
    site.lab.break_("bad_release_outage")
    links = [site.lab.layout.release_root(MACHINE, service) / "current" for service in ("records", "auth", "ai")]
    keepers(site).keep_files(links)
    site.lab.parts.supervisor.start(FILE_KEEPER_UNIT)
    finished = run(site, "complete_system_outage")
    assert finished.code in (1, 4), finished
    details = [of_target(site, name)["detail"] for name in ("records", "auth", "ai")]
    assert [each for each in details if "points to" in json.dumps(each.get("changed_again", []))], details


@pytest.mark.extended
@pytest.mark.skipif(shutil.which("nft") is not None, reason="a machine that filters stops no process")
def test_a_keeper_of_units_is_suspended_before_a_service_is_stopped_for_good(site: Site) -> None:
    units = [f"records-{machine}" for machine in APPLICATION_MACHINES]
    keepers(site).keep_units([f"records-{MACHINE}"])
    site.lab.parts.supervisor.start(UNIT_KEEPER_UNIT)
    finished = run(site, "quarantine_service", "--limit", "records", "--because", "a test")
    assert finished.code == 0, finished
    a_round_later()
    seen = states(site)
    assert [seen[unit] for unit in units] == ["STOPPED", "STOPPED"] and seen[UNIT_KEEPER_UNIT] == "STOPPED"
    assert Path(site.lab.layout.lock_dir(MACHINE) / "held" / f"supervisor-records-{MACHINE}.json").exists()
    released = run(site, "release_service", "--limit", "records", "--because", "a test")
    assert released.code == 0, released
    assert [states(site)[unit] for unit in units] == ["RUNNING", "RUNNING"]
    assert not Path(site.lab.layout.lock_dir(MACHINE) / "held" / f"supervisor-records-{MACHINE}.json").exists()
