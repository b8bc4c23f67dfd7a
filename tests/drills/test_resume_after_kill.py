"""One process of a run is killed at one of its steps, and the run is resumed; about 120 s.

The seed is printed and can be given again: CODEBLUE_KILL_SEED=n. Every step is swept by tests/soak/kill_sweep.py.
"""

from __future__ import annotations

import os
import random

import pytest
from clinic_site import Site
from kill_and_resume import MOMENTS, RUNBOOKS, VICTIMS, Kill, ended_well, kill_and_resume, settled_end_state, timeline

pytestmark = [pytest.mark.lab, pytest.mark.drill]

SEED = int(os.environ.get("CODEBLUE_KILL_SEED", random.SystemRandom().randrange(100_000)))
# At least so many steps a recovery has; a number beyond them would strike after its end.
STEPS = {
    "primary_dead": 4,
    "complete_outage": 9,
    "ai_release_crashing": 5,
    "auth_signing_key_wrong": 9,
    "records_overwritten": 4,
    "phi_public_endpoint": 3,
    "service_sending_data": 6,
    "slow_release": 3,
}
# Those whose end state is the normal one but for what the fault broke.
OTHERS = [fault for fault in STEPS if fault not in ("primary_dead", "complete_outage")]
# The seed chooses two of them; the others are `make extended`.
CHOSEN = random.Random(SEED).sample(OTHERS, 2)


def seeded(fault: str, bare: bool) -> Kill:
    chance = random.Random(f"{SEED}/{fault}/{bare}")
    victims = VICTIMS[1:] if bare else VICTIMS
    return Kill(chance.choice(victims), chance.randrange(STEPS[fault]), chance.choice(MOMENTS), bare)


@pytest.mark.parametrize(
    ("fault", "bare"),
    [("primary_dead", False), ("complete_outage", False), ("primary_dead", True)],
    ids=["database_connection_failure", "complete_system_outage", "bare_ansible_playbook"],
)
def test_a_killed_run_is_resumed_and_nothing_is_done_twice(site: Site, fault: str, bare: bool) -> None:
    kill = seeded(fault, bare)
    print(f"seed {SEED}: {fault} {kill}")
    promoted = timeline(site, "db2")
    resumed = kill_and_resume(site, fault, kill)
    assert ended_well(resumed), resumed
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    run = site.store().run(resumed.run_id)
    assert run is not None and run.outcome == "recovered", run
    state = settled_end_state(site)
    if fault == "primary_dead":
        assert state["primary"] == "db2" and state["servers"]["patient_db"]["db1"] == "MAINT", state
        assert timeline(site, "db2") == promoted + 1
    else:
        assert state["primary"] == "db1" and state["members"]["db2"] == "standby", state
    assert set(state["releases"].values()) == {"1.1.0"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=RUNBOOKS[fault], marks=[] if fault in CHOSEN else [pytest.mark.extended])
        for fault in OTHERS
    ],
)
def test_a_killed_run_of_every_other_runbook_is_resumed(site: Site, fault: str) -> None:
    kill = seeded(fault, bare=False)
    print(f"seed {SEED}: {fault} {kill}")
    resumed = kill_and_resume(site, fault, kill)
    assert ended_well(resumed), resumed
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    run = site.store().run(resumed.run_id)
    assert run is not None and run.outcome == "recovered", run
    again = site.run(RUNBOOKS[fault])
    assert again.summary["outcome"] == "nothing_to_do", again
