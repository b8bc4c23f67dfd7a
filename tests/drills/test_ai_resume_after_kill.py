"""A process of a recovery of the AI service is killed in the middle, and the run is resumed (about 60 s).

The seed is printed and can be given again: CODEBLUE_KILL_SEED=n.
"""

from __future__ import annotations

import json
import os
import random

import pytest
from clinic_site import Site
from kill_and_resume import MOMENTS, VICTIMS, Kill, ended_well, kill_and_resume, settled_end_state

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

SEED = int(os.environ.get("CODEBLUE_KILL_SEED", random.SystemRandom().randrange(100_000)))
# Flag, choice, two switches or restores, two restarts, and four steps with a gate each: so many at least.
STEPS = {"ai_release_crashing": 15, "ai_model_damaged": 13}


def seeded(fault: str) -> Kill:
    chance = random.Random(f"{SEED}/{fault}")
    return Kill(chance.choice(VICTIMS), chance.randrange(STEPS[fault]), chance.choice(MOMENTS))


@pytest.mark.parametrize(
    ("fault", "kill"),
    [
        # Between the rollback and the proof, and while traffic comes back: the two places where half is worst.
        ("ai_release_crashing", Kill("runner", 4, "accepted")),
        ("ai_release_crashing", Kill("playbook", 10, "intent")),
        ("ai_model_damaged", Kill("runner", 2, "accepted")),
        *((fault, seeded(fault)) for fault in STEPS),
    ],
    ids=lambda value: str(value).replace("/", "-"),
)
def test_a_killed_run_is_resumed_and_nothing_is_done_twice(site: Site, fault: str, kill: Kill) -> None:
    print(f"seed {SEED}: {fault} {kill}")
    resumed = kill_and_resume(site, fault, kill)
    assert ended_well(resumed), resumed
    site.assert_no_step_twice(resumed.run_id)
    site.verify_record(resumed.run_id)
    run = site.store().run(resumed.run_id)
    assert run is not None and run.outcome == "recovered", run
    assert set(settled_end_state(site)["releases"].values()) == {"1.1.0"}
    flags = site.lab.parts.layout.flags_file("records").read_text(encoding="utf-8")
    assert json.loads(flags) == {"ai_enabled": True}
    marked = {each.version for each in site.store().bad_versions("ai", "release")}
    assert marked == ({"1.3.0"} if fault == "ai_release_crashing" else set())
