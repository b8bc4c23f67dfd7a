"""What recoveries from slowness promise beyond a good drill: no change in check mode, no failed request while a release
is rolled back, nothing done twice after a kill, nothing to do afterwards (about 120 s on idle cores)."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from clinic_site import Finished, Site
from codeblue.lab.layout import BATCH_REPORT_UNIT
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.releases import GOOD, SLOW_RECORDS
from kill_and_resume import Kill, ended_well, kill_and_resume, settled_end_state

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

RUNBOOK = "performance_degradation"


def why(finished: Finished) -> str:
    return f"{finished.out}\n{finished.err}"


def health(site: Site) -> str:
    """One request through the gateway with a person's patience; empty when it was answered rightly."""
    connection = http.client.HTTPConnection("127.0.0.1", site.lab.parts.gateway.front_port("records"), timeout=10)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
        return "" if response.status == 200 else str(response.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


@contextmanager
def asking(site: Site) -> Iterator[list[str]]:
    """Ask records all the time; what failed."""
    failed: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.03):
            problem = health(site)
            if problem:
                failed.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def lock_holders(site: Site) -> int:
    parts = site.lab.parts
    with parts.postgresql.connect(parts.current_primary(), DATABASE) as connection:
        row = connection.execute("select count(*) from pg_stat_activity where usename = 'billing'").fetchone()
    return int(row[0]) if row else 0


def settings_of(site: Site, role: str) -> list[str]:
    parts = site.lab.parts
    with parts.postgresql.connect(parts.current_primary(), DATABASE) as connection:
        rows = connection.execute(
            "select unnest(setconfig) from pg_db_role_setting join pg_roles on oid = setrole where rolname = %s",
            (role,),
        ).fetchall()
    return [str(row[0]) for row in rows]


def test_check_mode_names_the_session_and_leaves_it(site: Site) -> None:
    site.lab.break_("blocking_lock")
    finished = site.playbook(f"codeblue.recovery.{RUNBOOK}", "--check")
    assert finished.code == 0, why(finished)
    assert lock_holders(site) == 1 and settings_of(site, "billing") == []
    assert not site.runs()


def test_the_session_is_ended_its_role_bounded_and_then_there_is_nothing_to_do(site: Site) -> None:
    site.lab.break_("blocking_lock")
    finished = site.run(RUNBOOK)
    assert finished.code == 0, why(finished)
    assert lock_holders(site) == 0
    assert settings_of(site, "billing") == ["idle_in_transaction_session_timeout=60s"]
    again = site.run(RUNBOOK)
    assert again.code == 0, why(again)
    assert [run.outcome for run in site.runs()][:2] == ["nothing_to_do", "recovered"]


def test_a_release_is_rolled_back_without_a_failed_request(site: Site) -> None:
    site.lab.break_("slow_release")
    with asking(site) as failed:
        finished = site.run(RUNBOOK)
    assert finished.code == 0, why(finished)
    assert failed == []
    run = site.runs()[0]
    # From outside in: traffic away, back to the version before, traffic again; the second instance after the first.
    order = [step.action for step in site.steps(run.run_id) if step.stage == "rollback" and step.action != "choose"]
    assert order == [
        step.format(machine)
        for machine in ("app1", "app2")
        for step in ("drain_{}", f"switch_{{}}_to_{GOOD}", f"restart_{{}}_on_{GOOD}", "ready_{}")
    ]
    assert [bad.version for bad in site.store().bad_versions("records")] == [SLOW_RECORDS]


def test_the_job_goes_on_when_nobody_else_wants_the_processor(site: Site) -> None:
    site.lab.break_("cpu_hog")
    finished = site.run(RUNBOOK)
    assert finished.code == 0, why(finished)
    pid = site.lab.parts.supervisor.pid(BATCH_REPORT_UNIT)
    assert pid is not None, "it was slowed down, not ended"
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE


@pytest.mark.parametrize(
    ("fault", "kill"),
    [
        ("slow_release", Kill("playbook", 4, "accepted")),
        ("slow_release", Kill("worker", 2, "intent", bare=True)),
        ("blocking_lock", Kill("runner", 1, "accepted")),
    ],
    ids=str,
)
def test_a_killed_run_is_resumed_and_nothing_is_done_twice(site: Site, fault: str, kill: Kill) -> None:
    resumed = kill_and_resume(site, fault, kill)
    print(f"{fault} {kill}: struck at {resumed.struck}, resumed in {resumed.seconds:.1f} s")
    assert ended_well(resumed), resumed
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    run = site.store().run(resumed.run_id)
    assert run is not None and run.outcome == "recovered", run
    state = settled_end_state(site)
    assert set(state["releases"].values()) == {GOOD}
    assert {states["app1"] for name, states in state["servers"].items() if name == "records"} == {"UP"}
    deadline = time.monotonic() + 5.0
    while health(site) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert health(site) == ""
