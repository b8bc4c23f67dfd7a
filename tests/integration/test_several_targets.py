"""A runbook with two targets of which the first is well: the second is recovered all the same (about 10 s)."""

from __future__ import annotations

import pytest
import yaml
from clinic_site import Site

pytestmark = pytest.mark.lab

_GROUP = "all/children/codeblue_services/children/codeblue_auth_services/hosts"


def test_a_first_target_that_is_well_does_not_hide_the_second(site: Site) -> None:
    inventory = yaml.safe_load(site.lab.inventory_path.read_text(encoding="utf-8"))
    services = inventory["all"]["children"]["codeblue_services"]["children"]
    portal = dict(next(group["hosts"]["records"] for group in services.values() if "records" in group["hosts"]))
    # Something that people log in to, which works on without the broken one: its checks ask for nothing but its life.
    portal["codeblue_kind"], portal["codeblue_depends_on"] = "auth", []
    live = [each for each in portal["codeblue_checks"]["shallow"] if each["id"].startswith("live")]
    assert live
    portal["codeblue_checks"] = {**portal["codeblue_checks"], "shallow": live, "deep": [], "comprehensive": []}
    portal["codeblue_checks"]["signals"] = []
    auth = services["codeblue_auth_services"]["hosts"]["auth"]
    site.inventory = site.overlay({_GROUP: {"a_portal": portal, "auth": auth}})
    site.lab.break_("auth_process_dead")
    finished = site.run("authentication_system_down")
    assert finished.code == 0, finished
    run = site.runs()[0]
    assert run.outcome == "recovered" and set(run.targets) == {"a_portal", "auth"}
    assert {step.target for step in site.steps(run.run_id) if step.changed} == {"auth"}
