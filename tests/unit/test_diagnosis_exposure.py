"""What the diagnosis of an exposure makes of what was seen; about 1 s."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Sequence

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_exposure import CAUSES, DIAGNOSIS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import Seen
from codeblue.runner.collection import own_runbooks

_LOG = "/var/log/records.jsonl"


def service(**phi: t.Any) -> Service:
    process = {"manager": "systemd", "unit": "records"}
    instance = {"port": 8101, "process": process, "release_root": "/srv/records", "log_files": [_LOG]}
    return load_service(
        "records",
        {
            "codeblue_environment": "production",
            "codeblue_platform": "host",
            "codeblue_kind": "service",
            "codeblue_objectives": {"rto": "30m", "rpo": "0"},
            "codeblue_host": {
                "instances": {
                    name: {"address": f"10.0.0.{number}", **instance} for number, name in enumerate(("app1", "app2"))
                }
            },
            "codeblue_phi": {
                "identifiers": {"patient_ref": "PT-[0-9]{6}"},
                "refused_requests": ["/records/1"],
                "access_logs": {"app1": ["/var/log/access.jsonl"], "app2": ["/var/log/access.jsonl"]},
                **phi,
            },
        },
        {"records", "app1", "app2"},
    )


def scanned(lines: int = 0, path: str = _LOG, left_out: Sequence[str] = ()) -> dict[str, t.Any]:
    found = {"lines": lines, "lines_read": 10, "counts": {"patient_ref": lines}, "versions": {"1.7.0": lines}}
    return {"files": {path: found}, "people": ["a" * 16], "left_out": list(left_out)}


def given(pages: dict[str, int] | None = None) -> dict[str, t.Any]:
    return {"paths": pages or {}, "people": [], "first": "2026-01-31T14:00:00Z" if pages else None, "left_out": []}


RELEASES = {
    "before": {"current": "1.7.0"},
    "history": [{"version": "1.7.0", "deployed_at": "2026-01-31T13:00:00.000000Z"}, {"version": "1.1.0"}],
}


def seen(
    scan: dict[str, t.Any],
    access: dict[str, t.Any],
    statuses: dict[str, int] | None = None,
    silent: Sequence[str] = (),
    reported: bool = True,
) -> Seen:
    def answer(machine: str, result: dict[str, t.Any]) -> MachineAnswer:
        return MachineAnswer(machine, unreachable="no answer") if machine in silent else MachineAnswer(machine, result)

    def ask(calls: Sequence[MachineCall]) -> list[MachineAnswer]:
        return [
            answer(
                call.machine,
                {
                    "answers": {
                        each["id"]: {"statuses": [(statuses or {}).get(each["id"], 401)], "right": True}
                        for each in call.arguments["requests"]
                    }
                },
            )
            for call in calls
        ]

    problem = "unavailable" if reported else None
    common = {"level": "signals", "type": "http", "seconds": 0.1, "detail": "", "at": 1795225858.0, "topic": "exposure"}
    signal = CheckResult(target="records", id="phi", ok=not reported, error_class=problem, **common)  # type: ignore[arg-type]
    since = 1795225858.0 if reported else None
    detection = Detection(fired=reported, criteria=(), results=(signal,), first_failed_at=since, seconds=0.1)
    target = service()
    answers = {}
    for machine in ("app1", "app2"):
        answers |= {
            f"logs_{machine}": answer(machine, scan),
            f"access_{machine}": answer(machine, access),
            f"release_{machine}": answer(machine, RELEASES),
        }
    return Seen(target, {"records": target}, detection, answers, ask)


def test_every_finding_of_the_card_can_be_made_and_no_other() -> None:
    card = next(load_card(each.card_path) for each in own_runbooks() if each.id == "hipaa_compliance_violation")
    assert set(card.findings) == set(CAUSES)


@pytest.mark.parametrize(
    ("look", "cause", "treatment"),
    [
        (seen(scanned(3), given()), "phi_in_log", "close_exposure"),
        (seen(scanned(3, _LOG + ".1"), given()), "phi_in_log", "close_exposure"),
        (seen(scanned(), given({"/patients/{n}": 4}), {"/patients/1": 200}), "public_endpoint", "close_exposure"),
        (seen(scanned(), given(), {"/records/1": 200}), "public_endpoint", "close_exposure"),
        (seen(scanned(), given({"/patients": 4})), "past_disclosure", "close_exposure"),
        (seen(scanned(), given()), "inconclusive", "person"),
        (seen(scanned(), given(), reported=False), "healthy", "none"),
        (seen(scanned(left_out=["too large"]), given(), reported=False), "inconclusive", "person"),
        (seen(scanned(), given(), silent=["app2"]), "inconclusive", "person"),
    ],
)
def test_causes(look: Seen, cause: str, treatment: str) -> None:
    found = DIAGNOSIS.decide(look)
    assert (found["cause"], found["treatment"]) == (cause, treatment), found["evidence"]


def test_both_are_closed_when_both_are_found_and_a_silent_machine_does_not_hold_it_up() -> None:
    found = DIAGNOSIS.decide(seen(scanned(3), given({"/patients": 4}), {"/patients": 200}, silent=["app2"]))
    assert found["cause"] == "public_endpoint" and found["confidence"] == 0.95
    assert found["exposure"]["pages"] == ["/patients"] and found["exposure"]["logs"] == {"app1": [_LOG]}
    assert found["exposure"]["releases"] == {"app1": "1.7.0"}
    assert found["exposure"]["began_at"] == "2026-01-31T13:00:00.000000Z"
    assert any("app2" in each for each in found["evidence"])
    assert not any("a" * 16 in str(each) for each in found.values()), "digests stay on the controller's side"


def test_a_service_that_says_nothing_about_patients_needs_a_person() -> None:
    target = service()
    bare = dataclasses.replace(seen(scanned(), given()), service=dataclasses.replace(target, phi=None))
    assert DIAGNOSIS.decide(bare)["treatment"] == "person"
    assert DIAGNOSIS.questions(bare.service) == ()
    asked = DIAGNOSIS.questions(target)
    assert sorted(each.name for each in asked) == [
        "access_app1", "access_app2", "logs_app1", "logs_app2", "release_app1", "release_app2",
    ]  # fmt: skip
