"""A process of a recovery of the login is killed in the middle, and the run is resumed (about 90 s).

The seed is printed and can be given again: CODEBLUE_KILL_SEED=n.
"""

from __future__ import annotations

import os
import random

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests
from clinic_site import Site
from kill_and_resume import MOMENTS, VICTIMS, Kill, ended_well, kill_and_resume, settled_end_state

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

SEED = int(os.environ.get("CODEBLUE_KILL_SEED", random.SystemRandom().randrange(100_000)))
# The rotation as a whole, four keys and four restarts; the renewal as a whole and its one change; so many at least.
STEPS = {"auth_signing_key_wrong": 9, "auth_certificate_expired": 2}


def seeded(fault: str) -> Kill:
    chance = random.Random(f"{SEED}/{fault}")
    return Kill(chance.choice(VICTIMS), chance.randrange(STEPS[fault]), chance.choice(MOMENTS))


@pytest.mark.parametrize(
    ("fault", "kill"),
    [
        # Half of the keys are new; half of the processes still have the old ones; the certificate is on its way.
        ("auth_signing_key_wrong", Kill("runner", 2, "accepted")),
        # A signer has the good key already, so that what it gives out is taken before and after.
        ("auth_signing_key_wrong", Kill("worker", 5, "accepted")),
        ("auth_signing_key_wrong", Kill("playbook", 6, "accepted")),
        ("auth_certificate_expired", Kill("runner", 1, "accepted")),
        ("auth_certificate_expired", Kill("playbook", 0, "intent")),
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
    settled_end_state(site)
    keys = [key_digests(path.read_bytes()) for path in site.lab.directory.glob("machines/app*/secrets/token_*.pem")]
    assert len(keys) == 4 and len(set().union(*keys)) == 1, "the keys do not belong together"
    again = site.run("authentication_system_down")
    assert again.summary["outcome"] == "nothing_to_do", again
