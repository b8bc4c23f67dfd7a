"""The diagnosis of damaged data: from what the members' rules say to one cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_integrity import DIAGNOSIS, together
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import IntegrityRule
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Seen,
    diagnosis_of,
)

RULES = [
    {"id": "there", "tables": ["records"], "minimum_rows": 10},
    {"id": "digests", "tables": ["records", "digests"], "violations": "SELECT 0"},
    {"id": "orders", "tables": ["orders"], "constraints": True},
]
WHOLE = {"ok": True, "problem": None, "violations": 0, "sqlstate": None}


def patient_db(rules: list[dict[str, Any]]) -> Service:
    member = {"address": "127.0.0.1", "data_dir": "/data", "process": {"manager": "systemd", "unit": "pg"}}
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "host",
        "codeblue_kind": "database",
        "codeblue_tier": 0,
        "codeblue_depends_on": [],
        "codeblue_objectives": {"rto": "5m", "rpo": "5m"},
        "codeblue_host": {
            "postgresql": {
                "bin_dir": "/bin",
                "database": "clinic",
                "archive_dir": "/archive",
                "write_paths": ["gateway"],
                "integrity": rules,
                "members": {
                    "db1": {**member, "role": "primary", "port": 5432},
                    "db2": {**member, "role": "standby", "port": 5433},
                },
            }
        },
    }
    return load_services({"patient_db": variables}, {"patient_db", "db1", "db2"})["patient_db"]


def status(primary: bool, follower: str | None = None) -> dict[str, Any]:
    replication = [{"name": follower, "state": "streaming"}] if follower else []
    return {"sql": {"answers": True}, "in_recovery": not primary, "replication": replication}


def findings(**problems: str) -> dict[str, Any]:
    found = []
    for rule in RULES:
        problem = problems.get(str(rule["id"]))
        entry = {"ok": False, "problem": problem, "violations": 7, "sqlstate": "XX001"} if problem else WHOLE
        found.append({"rule": rule["id"], "tables": rule["tables"], **entry})
    return {"whole": not problems, "findings": found}


def decide(answers: dict[str, dict[str, Any] | None], fired: bool = True, rules: Any = RULES) -> dict[str, Any]:
    service = patient_db(rules)
    result = CheckResult(
        target="patient_db",
        id="record_integrity",
        level="signals",
        type="http",
        ok=not fired,
        seconds=0.1,
        error_class="unavailable" if fired else None,
        detail="",
        at=0.0,
        topic="integrity",
    )
    detection = Detection.__new__(Detection)
    object.__setattr__(detection, "results", [result])
    seen = Seen(
        service=service,
        services={"patient_db": service},
        detection=detection,
        answers={
            name: MachineAnswer(name.split("/")[1], result=answer, failure=None if answer else "psql is missing")
            for name, answer in answers.items()
        },
        ask=lambda _calls: [],
    )
    return DIAGNOSIS.decide(seen)


def members(primary: dict[str, Any] | None, standby: dict[str, Any] | None) -> dict[str, dict[str, Any] | None]:
    return {
        "status/db1": status(True, "db2"),
        "status/db2": status(False),
        "integrity/db1": primary,
        "integrity/db2": standby,
    }


def test_damage_on_both_members_went_through_the_log() -> None:
    found = decide(members(findings(there="violated"), findings(there="violated")))
    assert (found["cause"], found["treatment"], found["in_log"]) == ("data_damaged", "restore_data", True)
    assert found["confidence"] == PROVEN
    assert found["tables"] == ["digests", "records"], "what a rule ties together is restored together"
    assert found["failed_rules"] == ["there"]


@pytest.mark.parametrize("problem", ["violated", "unreadable"])
def test_a_whole_standby_in_step_means_the_disk(problem: str) -> None:
    found = decide(members(findings(there=problem), findings()))
    assert (found["cause"], found["in_log"]) == ("storage_damaged", False)


def test_a_standby_that_does_not_follow_proves_nothing() -> None:
    answers = {**members(findings(there="violated"), findings()), "status/db1": status(True)}
    assert decide(answers)["cause"] == "data_damaged"


def test_a_standby_that_nobody_could_ask_leaves_it_likely() -> None:
    assert decide(members(findings(there="missing"), None))["confidence"] == LIKELY


def test_whole_data_and_no_signal_are_healthy_and_a_signal_alone_is_inconclusive() -> None:
    assert decide(members(findings(), findings()), fired=False)["treatment"] == "none"
    found = decide(members(findings(), findings()))
    assert (found["cause"], found["treatment"], found["confidence"]) == ("inconclusive", "person", UNDECIDED)


@pytest.mark.parametrize(
    "answers",
    [
        {},
        members(None, None),
        members(findings(there="locked"), findings()),
        {**members(findings(there="violated"), findings()), "status/db2": status(True)},
    ],
    ids=["nobody answers", "no findings", "a rule that could not look", "two primaries"],
)
def test_what_is_not_known_is_for_a_person(answers: dict[str, dict[str, Any] | None]) -> None:
    found = decide(answers)
    assert found["treatment"] == "person" and found["next_step"]


def test_without_rules_nobody_can_say_what_is_clean() -> None:
    assert decide(members(findings(), findings()), rules=[])["treatment"] == "person"
    assert DIAGNOSIS.questions(patient_db([])) == ()
    assert len(DIAGNOSIS.questions(patient_db(RULES))) == 4


def test_tables_are_tied_over_several_rules() -> None:
    one = IntegrityRule("a", ("x", "y"), minimum_rows=1)
    rules = [one, replace(one, id="b", tables=("y", "z")), replace(one, id="c", tables=("w",))]
    assert together(["x"], rules) == ["x", "y", "z"]
    assert together(["w"], rules) == ["w"]


def test_the_runbook_has_this_diagnosis() -> None:
    assert diagnosis_of("data_corruption_detected") is DIAGNOSIS
