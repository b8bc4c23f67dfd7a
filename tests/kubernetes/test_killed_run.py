"""A process of a whole rollback run on Kubernetes is killed at one of its steps, and the run is resumed.

The seed is printed and can be given again: CODEBLUE_KILL_SEED=n. Every step is swept by
tests/soak/kubernetes_kill_sweep.py.
"""

from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

import pytest
from cluster import Cluster
from kill_and_resume import MOMENTS, VICTIMS, Kill, ended_well, interrupt_and_resume
from killable_login import GOOD, RUNBOOK, KillableLogin

pytestmark = pytest.mark.kubernetes

SEED = int(os.environ.get("CODEBLUE_KILL_SEED", random.SystemRandom().randrange(100_000)))
# A number beyond them would strike after the end of the run.
STEPS = 3


def test_a_killed_run_is_resumed_and_the_bad_version_stays_away(cluster: Cluster, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    kill = Kill(chance.choice(VICTIMS), chance.randrange(STEPS), chance.choice(MOMENTS))
    print(f"seed {SEED}: {kill}")
    site = KillableLogin(cluster, tmp_path, f"killed-{uuid.uuid4().hex[:8]}")
    try:
        resumed = interrupt_and_resume(site, RUNBOOK, kill, ())
        assert ended_well(resumed), resumed
        site.assert_no_step_twice(resumed.run_id)
        site.verify_record(resumed.run_id)
        site.namespace.serves("Deployment", "login", GOOD)
        state = site.end_state()
        assert state["bad"] == ["pause:crash"], state
        # The version was changed once, however often it was begun.
        assert state["writes"] == ["patch deployments/login"], state
        # A second bad release is left for the good one, and not for the first bad one, which came right before it.
        site.break_release("bad")
        done = site.command("run", RUNBOOK, "-i", str(site.inventory), "--json")
        assert done.code == 0, done.out[-600:]
        site.namespace.serves("Deployment", "login", GOOD)
    finally:
        site.namespace.remove()
