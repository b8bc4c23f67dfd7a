"""What recoveries of the AI service promise beyond a good drill: no change in check mode, no way back to a bad release,
a gate that closes, flags that somebody else keeps, causes that are not its own (about 110 s)."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clinic_site import Finished, Site, finish, wait_for
from codeblue.lab.layout import APPLICATION_MACHINES, GATEWAY_UNIT, unit
from codeblue.lab.releases import BAD_INFERENCE, GOOD, SLOW_INFERENCE

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

RUNBOOK = "ai_service_unavailable"
UNITS = tuple(unit("ai", machine) for machine in APPLICATION_MACHINES)
ON = {"ai_enabled": True}
OFF = {"ai_enabled": False, "ai_share": 0}


def flags_file(site: Site) -> Path:
    return site.lab.parts.layout.flags_file("records")


def flags(site: Site) -> dict[str, Any]:
    return dict(json.loads(flags_file(site).read_text(encoding="utf-8")))


def releases(site: Site) -> set[str]:
    return {version for where, version in site.lab.status().releases.items() if where.startswith("ai ")}


def files_of(site: Site) -> dict[str, bytes]:
    """Everything that a recovery of ai could change on the disk of the machines."""
    root = site.lab.directory
    paths = [flags_file(site), *root.glob("machines/app*/ai/history.jsonl")]
    paths += [path for path in root.glob("machines/app*/ai/releases/*/*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def why(finished: Finished) -> str:
    return f"{finished.out}\n{finished.err}"


def predict(site: Site) -> tuple[int, float]:
    """Status and seconds of one inference on the way that clients take."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", site.lab.parts.gateway.front_port("ai"), timeout=5)
    try:
        key = site.lab.parts.layout.secret("monitoring_ai_key").read_text().strip()
        connection.request("POST", "/predict", '{"note": "severe chest pain"}', {"X-Api-Key": key})
        response = connection.getresponse()
        response.read()
        return response.status, time.monotonic() - started
    finally:
        connection.close()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    wait_for(condition, seconds, what)


@pytest.mark.parametrize("fault", ["ai_model_damaged", "ai_release_crashing"])
def test_check_mode_names_the_way_and_changes_nothing(site: Site, fault: str) -> None:
    site.lab.break_(fault)
    before, processes = files_of(site), site.lab.status().releases
    planned = site.codeblue("plan", RUNBOOK, "-i", str(site.inventory), "--json")
    bare = site.playbook(f"codeblue.recovery.{RUNBOOK}", "--check", "--diff")
    said = " ".join(str(message.get("summary")) for message in planned.messages)
    assert "would switch triage of records off" in said, why(planned)
    restored = fault == "ai_model_damaged"
    assert ("would have restored model.json" if restored else "would have rolled back from 1.3.0 to 1.1.0") in said
    assert "would give 5 %, 25 %, 50 %, 100 %" in said
    assert bare.code == 0, why(bare)
    assert files_of(site) == before and site.lab.status().releases == processes
    assert not list(site.lab.directory.glob("machines/*/codeblue/receipts/ai/*"))
    assert site.runs() == []


def test_a_second_run_changes_nothing(site: Site) -> None:
    site.lab.break_("ai_model_damaged")
    assert site.run(RUNBOOK).code == 0
    before = files_of(site)
    again = site.run(RUNBOOK)
    assert again.summary["outcome"] == "nothing_to_do" and again.summary["first_action_seconds"] is None
    assert files_of(site) == before and flags(site) == ON


def test_rolling_back_never_lands_on_a_bad_version_again(site: Site) -> None:
    site.lab.break_("ai_release_crashing")
    first = site.run(RUNBOOK)
    assert first.code == 0, why(first)
    assert releases(site) == {GOOD}
    # A pipeline deploys the bad version once more, and another one on top of it.
    parts = site.lab.parts
    for version in (BAD_INFERENCE, SLOW_INFERENCE):
        for machine in APPLICATION_MACHINES:
            parts.releases.deploy("ai", machine, version, by="deployment")
    parts.supervisor.stop(*UNITS)
    parts.supervisor.start(*UNITS)
    until(lambda: predict(site)[1] > 1.0, 10.0, "the slow release")
    ended = site.run(RUNBOOK)
    assert ended.code == 0, why(ended)
    assert releases(site) == {GOOD}
    marked = {each.version for each in site.store().bad_versions("ai", "release")}
    assert marked == {BAD_INFERENCE, SLOW_INFERENCE}
    status, seconds = predict(site)
    assert status == 200 and seconds < 1.0


def test_a_gate_that_closes_switches_the_feature_off_again(site: Site) -> None:
    site.lab.break_("ai_release_crashing")
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    try:
        until(
            lambda: flags(site).get("ai_share") in (5, 25) or process.poll() is not None,
            60.0,
            "the first step of the return",
        )
        site.lab.parts.supervisor.stop(UNITS[0])
    finally:
        ended = finish(process)
    assert ended.code == 1 and ended.summary["outcome"] == "failed_safe", why(ended)
    assert "triage is off again" in why(ended)
    assert flags(site) == OFF
    run = site.runs()[0]
    assert run.outcome == "failed_safe"


def test_a_flag_that_somebody_else_keeps_is_reported_and_not_fought_over(site: Site) -> None:
    site.lab.break_("ai_release_crashing")
    with kept(flags_file(site), ON):
        ended = site.run(RUNBOOK)
    assert ended.code != 0, why(ended)
    assert "somebody else" in why(ended)


def test_the_release_is_not_to_blame_for_its_gateway(site: Site) -> None:
    gateway = site.lab.parts.gateway
    for machine in APPLICATION_MACHINES:
        gateway.set_state("ai", machine, "maint")
    ended = site.run(RUNBOOK)
    assert ended.code == 1, why(ended)
    assert "way_lost" in why(ended) and releases(site) == {GOOD} and flags(site) == OFF
    assert not site.store().bad_versions("ai", "release")


def test_the_release_is_not_to_blame_for_what_it_depends_on(site: Site) -> None:
    site.lab.parts.supervisor.stop(GATEWAY_UNIT)
    ended = site.run(RUNBOOK)
    assert ended.code == 1, why(ended)
    assert "way_lost" in why(ended) or "dependency_down" in why(ended)
    assert releases(site) == {GOOD} and flags(site) == OFF
    assert not site.store().bad_versions("ai", "release")


def test_stopped_processes_are_started_and_nothing_is_rolled_back(site: Site) -> None:
    site.lab.parts.supervisor.stop(*UNITS)
    ended = site.run(RUNBOOK)
    assert ended.code == 0, why(ended)
    assert "process_stopped" in why(ended) and releases(site) == {GOOD} and flags(site) == ON
    assert not site.store().bad_versions("ai", "release")


def test_one_damaged_instance_is_mended_from_the_other(site: Site) -> None:
    """There is no delivered copy of the release left on either machine."""
    layout = site.lab.parts.layout
    for machine in APPLICATION_MACHINES:
        (layout.artifacts(machine) / GOOD).rename(layout.artifacts(machine) / "elsewhere")
    try:
        model = layout.release_root("app1", "ai") / "releases" / GOOD / "model.json"
        content = model.read_bytes()
        model.write_bytes(content[:100])
        ended = site.run(RUNBOOK, "--because", "a file on app1 is damaged")
        assert ended.code == 0, why(ended)
        assert model.read_bytes() == content and releases(site) == {GOOD} and flags(site) == ON
    finally:
        for machine in APPLICATION_MACHINES:
            (layout.artifacts(machine) / "elsewhere").rename(layout.artifacts(machine) / GOOD)


def test_a_person_switches_the_feature_off_and_on(site: Site) -> None:
    off = site.run("feature_switch", "--limit", "ai")
    assert off.code == 0 and flags(site) == OFF, why(off)
    back = site.run("feature_switch", "--limit", "ai", "-e", "codeblue_feature_state=on")
    assert back.code == 0 and flags(site) == ON, why(back)
    wrong = site.run("feature_switch", "--limit", "ai", "-e", "codeblue_feature=triag")
    assert wrong.code == 2 and "known: triage" in why(wrong), why(wrong)
    nothing = site.run("feature_switch", "--limit", "auth")
    assert nothing.code == 2, why(nothing)


@contextmanager
def kept(path: Path, wanted: dict[str, Any]) -> Iterator[None]:
    """Somebody else's configuration management, which puts its own content back five times a second."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(0.2):
            if json.loads(path.read_text(encoding="utf-8")) != wanted:
                path.write_text(json.dumps(wanted), encoding="utf-8")

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
