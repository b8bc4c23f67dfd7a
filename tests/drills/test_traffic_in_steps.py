"""Traffic moved between the instances of a service in steps, over a restart of the gateway too (about 45 s)."""

from __future__ import annotations

from pathlib import Path

import pytest
from clinic_site import Finished, Site, wait_for
from codeblue.lab.layout import GATEWAY_UNIT, unit

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

PLAY = """\
- name: Shift of traffic
  hosts: ai
  gather_facts: false
  tasks:
    - name: Shift
      block:
        - name: Open the run
          ansible.builtin.import_role: {name: codeblue.recovery.incident, tasks_from: open}
          vars: {incident_runbook: feature_switch}
        - name: Shift traffic
          ansible.builtin.import_role: {name: codeblue.recovery.failover, tasks_from: shift}
          vars: {failover_reason: a test}
        - name: Close the run
          ansible.builtin.import_role: {name: codeblue.recovery.incident, tasks_from: close_operation}
          vars: {incident_work: "{{ failover_result.codeblue.summary }}"}
      rescue:
        - name: Make safe
          ansible.builtin.import_role: {name: codeblue.recovery.incident, tasks_from: make_safe}
          vars: {incident_failure: "{{ ansible_failed_result }}"}
"""


def shift(site: Site, weights: str, *options: str) -> Finished:
    play = site.account / "work" / "shift.yml"
    play.write_text(PLAY)
    return site.playbook(str(play), "-e", f"{{failover_weights: {weights}}}", *options)


def weights(site: Site) -> dict[str, int]:
    """As the gateway has them."""
    lines = site.lab.parts.gateway.command("show servers state ai").splitlines()
    names = lines[1].lstrip("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[2:] if line.strip()]
    return {row["srv_name"]: int(row["srv_uweight"]) for row in rows}


def gateway_answers(site: Site) -> bool:
    states = site.lab.status().servers.get("ai", {})
    return bool(states) and all(state.startswith("UP") for state in states.values())


def test_traffic_moves_there_and_back_and_stays_over_a_restart(site: Site) -> None:
    planned = shift(site, "{app1: 0, app2: 100}", "--check")
    assert planned.code == 0 and weights(site) == {"app1": 1, "app2": 1}, planned
    away = shift(site, "{app1: 0, app2: 100}")
    assert away.code == 0, away
    assert weights(site) == {"app1": 0, "app2": 100}
    decided = [step.action for step in site.steps(site.runs()[0].run_id)]
    assert [action.rpartition("_at_")[2] for action in decided if "_at_" in action] == ["5", "25", "50", "100"]
    supervisor = site.lab.parts.supervisor
    supervisor.stop(GATEWAY_UNIT)
    supervisor.start(GATEWAY_UNIT)
    wait_for(lambda: gateway_answers(site), 10.0, "the gateway's return")
    assert weights(site) == {"app1": 0, "app2": 100}, "a restart keeps them"
    back = shift(site, "{app1: 100, app2: 100}")
    assert back.code == 0 and weights(site) == {"app1": 100, "app2": 100}, back
    again = shift(site, "{app1: 100, app2: 100}")
    assert again.code == 0 and "changed=0" in again.out, again


def test_a_gate_that_closes_brings_the_weights_back(site: Site) -> None:
    site.lab.parts.supervisor.stop(unit("ai", "app2"))
    ended = shift(site, "{app2: 200}")
    assert ended.code != 0 and "the weights are as before again" in ended.out, ended
    assert weights(site) == {"app1": 1, "app2": 1}
    assert site.runs()[0].outcome == "failed_safe"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{app9: 1}", "is no server of its gateway"),
        ("{app1: 300}", "no whole number from 0 to 256"),
        ("{app1: half}", "no whole number from 0 to 256"),
        ("{app1: 0, app2: 0}", "no server would take traffic"),
    ],
)
def test_bad_weights_change_nothing(site: Site, given: str, words: str) -> None:
    ended = shift(site, given)
    assert ended.code != 0 and words in ended.out, ended
    assert weights(site) == {"app1": 1, "app2": 1}


def test_without_an_open_run_nothing_is_shifted(site: Site, tmp_path: Path) -> None:
    play = tmp_path / "bare.yml"
    play.write_text(
        "- hosts: ai\n  gather_facts: false\n  tasks:\n"
        "    - codeblue.recovery.gateway_ramp: {weights: {app1: 0}}\n"
        "    - codeblue.recovery.feature_switch: {state: 'off'}\n"
    )
    ended = site.playbook(str(play))
    assert ended.code != 0 and "no run is open for ai" in ended.out
    assert weights(site) == {"app1": 1, "app2": 1}
