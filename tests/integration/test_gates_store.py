"""A state store that is lost or full: a SEV1 recovery goes on in a spool, which is taken in later; about 60 s."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_site import Finished, Site, finish, wait_for, watch_journal

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
# The schema takes about 0.3 MB; a key and a seed have room beside it.
_SMALL = "2m"


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of its own at the directory."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL},mode=0700", "tmpfs", directory], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> Path:
    """Leave no byte free."""
    path = directory / "ballast"
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as stream:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    stream.write(b"\0" * size)
    return path


def assert_recovered(site: Site, finished: Finished) -> None:
    assert finished.code == 0, finished
    assert site.lab.status().primary == "db2"


def spools(site: Site) -> list[Path]:
    return sorted((site.account / "spool").glob("*.sqlite"))


def assert_taken_in(site: Site, run_id: str) -> None:
    """Afterwards the run is whole in the store, and no spool is left."""
    taken = site.codeblue("audit", "take-in")
    assert taken.code == 0, taken
    assert spools(site) == []
    run = site.store().run(run_id)
    assert run is not None and run.status == "closed" and run.outcome == "recovered", run
    failover = [step.action for step in site.steps(run_id) if step.stage == "failover"]
    assert failover == ["fence", "close_gateway", "promote", "lead_to_standby"]
    site.verify_record(run_id)


def test_a_disk_that_is_full_from_the_start(site: Site) -> None:
    state = site.account / "state"
    with small_disk(state):
        ballast = fill(state)
        site.lab.break_("primary_dead")
        finished = site.run(RUNBOOK)
        assert_recovered(site, finished)
        assert len(spools(site)) == 1
        ballast.unlink()
        assert_taken_in(site, finished.summary["run"])


def test_a_disk_that_fills_up_during_the_run(site: Site) -> None:
    state = site.account / "state"
    with small_disk(state):
        site.lab.break_("primary_dead")
        process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
        wait_for(lambda: watch_journal(site.database), 30, "the first step")
        ballast = fill(state)
        finished = finish(process)
        assert_recovered(site, finished)
        ballast.unlink()
        assert_taken_in(site, finished.summary["run"])


def test_a_store_that_cannot_be_reached(site: Site) -> None:
    site.variables = {"CODEBLUE_STATE_URL": "postgresql+psycopg://codeblue@127.0.0.1:1/codeblue?connect_timeout=2"}
    site.lab.break_("primary_dead")
    finished = site.codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    assert_recovered(site, finished)
    site.variables = {}
    assert_taken_in(site, finished.summary["run"])


@pytest.mark.parametrize("how", ["deleted", "overwritten"])
def test_a_store_that_is_lost_during_the_run(site: Site, how: str) -> None:
    site.lab.break_("primary_dead")
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    wait_for(lambda: watch_journal(site.database), 30, "the first step")
    for path in (site.database, *site.database.parent.glob("state.sqlite-*")):
        if how == "deleted":
            path.unlink(missing_ok=True)
        elif path == site.database:
            path.write_bytes(b"this is no database" * 5000)
    finished = finish(process)
    assert site.lab.status().primary == "db2", finished
    assert finished.code == 0, finished
    assert {receipt.run_id for receipt in site.receipts()} == {finished.summary["run"]}
    site.assert_receipts_once(finished.summary["run"])
