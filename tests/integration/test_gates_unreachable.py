"""An old primary, a machine, or everything that does not answer: the run ends as the table says and is closed.

About 60 s.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from collections.abc import Iterator

import pytest
from clinic_site import Finished, Site

pytestmark = pytest.mark.lab

RUNBOOK = "database_connection_failure"
MACHINES = "all/children/codeblue_machines/hosts"
DATABASE = "all/children/codeblue_services/children/codeblue_databases/hosts/patient_db"
POSTGRESQL = f"{DATABASE}/codeblue_host/postgresql"


def away() -> dict[str, t.Any]:
    """The variables of a machine whose sshd is not there: nothing listens on that port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_ssh_common_args": "-o ConnectTimeout=3 -o BatchMode=yes -o StrictHostKeyChecking=no",
    }


def without(site: Site, *machines: str, **changes: t.Any) -> None:
    """From now on these machines cannot be reached."""
    content = {f"{MACHINES}/{machine}/{name}": value for machine in machines for name, value in away().items()}
    site.inventory = site.overlay({**content, **{path.replace("__", "/"): value for path, value in changes.items()}})


@contextlib.contextmanager
def accepting_port() -> Iterator[int]:
    """A port that takes connections and says nothing, as that of a cut-off machine may elsewhere."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        stop = threading.Event()
        kept: list[socket.socket] = []

        def accept() -> None:
            listener.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    kept.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()
            for connection in kept:
                connection.close()


def assert_closed(site: Site, outcome: str, finished: Finished, code: int) -> None:
    run = site.runs()[0]
    assert run.status == "closed" and run.outcome == outcome, (run, finished)
    assert finished.code == code, finished
    assert all(state.outcome for state in run.targets.values())
    assert site.store().leases_of_run(run.run_id) == []
    site.verify_record(run.run_id)


def test_a_primary_that_hangs_is_replaced(site: Site) -> None:
    site.lab.break_("primary_hung")
    finished = site.run(RUNBOOK)
    assert_closed(site, "recovered", finished, 0)
    status = site.lab.status()
    assert status.primary == "db2" and status.servers["patient_db"]["db1"] == "MAINT"


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
def test_a_primary_whose_machine_is_gone_is_replaced_when_the_gateway_closes_the_only_way(site: Site, way: str) -> None:
    site.lab.break_("primary_dead")
    without(site, "db1")
    if way == "codeblue":
        finished = site.run(RUNBOOK)
    else:
        finished = site.playbook(f"codeblue.recovery.{RUNBOOK}")
    assert_closed(site, "recovered", finished, 0)
    assert site.lab.status().servers["patient_db"]["db1"] == "MAINT"
    assert "db1" not in {receipt.machine for receipt in site.receipts()}


def test_a_primary_whose_machine_is_gone_and_may_take_writes_is_not_replaced(site: Site) -> None:
    site.lab.break_("primary_dead")
    with accepting_port() as port:
        content = {f"{MACHINES}/db1/{name}": value for name, value in away().items()}
        site.inventory = site.overlay(
            {
                **content,
                f"{POSTGRESQL}/write_paths": ["gateway", "direct"],
                f"{POSTGRESQL}/members/db1/port": port,
            }
        )
        before = site.fingerprint()
        finished = site.run(RUNBOOK)
    assert_closed(site, "refused", finished, 3)
    assert "db1" in finished.summary["error"] and "\n" not in finished.summary["error"]
    assert site.fingerprint() == before
    assert site.receipts() == []


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
@pytest.mark.parametrize("runbook", [RUNBOOK, pytest.param("complete_system_outage", marks=pytest.mark.extended)])
def test_when_no_machine_answers_the_run_is_closed(site: Site, runbook: str, way: str) -> None:
    site.lab.break_("complete_outage" if runbook != RUNBOOK else "primary_dead")
    without(site, "db1", "db2", "lb1", "app1", "app2")
    if way == "codeblue":
        finished = site.run(runbook)
        assert finished.summary["error"] and "\n" not in finished.summary["error"]
    else:
        finished = site.playbook(f"codeblue.recovery.{runbook}")
    run = site.runs()[0]
    assert run.status == "closed" and run.outcome in ("failed_safe", "refused"), (run, finished)
    assert finished.code != 0 if way != "codeblue" else finished.code in (1, 3), finished
    assert site.receipts() == []
    assert "unreachable=1" not in finished.out, "a dead machine must not make the service unreachable"
