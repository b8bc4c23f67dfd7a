# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is seen of an intruder on AWS, and what is done about it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_trail import ForeignUse, foreign_use
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_breach import (
    BreachLook,
    judge_breach,
)

KNOWN = ["10.0.0.0/8", "2001:db8::/32"]
USE = ForeignUse("deploy", "…AB12", ("203.0.113.7",), ("ListBuckets",), 3, False)


def event(source: str, name: str = "ListBuckets") -> dict[str, t.Any]:
    return {"sourceIPAddress": source, "eventName": name}


def alarm() -> CheckResult:
    fields = {"target": "records", "level": SIGNALS, "topic": "intrusion", "id": "foreign_key_use", "ok": False}
    return t.cast("CheckResult", type("Alarm", (), fields)())


def test_calls_from_known_networks_and_by_services_are_nobodys() -> None:
    calls = [event("10.1.2.3"), event("2001:db8::1"), event("ecs.amazonaws.com"), event("")]
    assert foreign_use("deploy", "…AB12", calls, KNOWN) is None


def test_calls_from_elsewhere_are_told_with_what_they_read() -> None:
    calls = [event("203.0.113.7"), event("203.0.113.7", "GetSecretValue"), event("10.1.2.3")]
    found = foreign_use("deploy", "…AB12", calls, KNOWN)
    assert found is not None and (found.calls, found.reads_secrets) == (2, True)
    assert found.addresses == ("203.0.113.7",) and "used 2 times" in found.said


@pytest.mark.parametrize(
    ("look", "alarmed", "cause", "treatment"),
    [
        (BreachLook(), False, "healthy", "none"),
        (BreachLook(foreign=(USE,)), True, "stolen_key", "disable_identities"),
        (BreachLook(foreign=(USE,)), False, "stolen_key", "disable_identities"),
        (BreachLook(strays=("task 1 …",)), True, "intrusion", "quarantine"),
        (BreachLook(), True, "intrusion", "quarantine"),
        (BreachLook(strays=("task 1 …",)), False, "inconclusive", "person"),
        (BreachLook(cut_off="01RUN"), True, "cut_off", "person"),
        (BreachLook(cut_off="01RUN"), False, "cut_off", "none"),
    ],
)
def test_the_judgement(look: BreachLook, alarmed: bool, cause: str, treatment: str) -> None:
    found = judge_breach("records", look, [alarm()] if alarmed else [])
    assert (found["cause"], found["treatment"]) == (cause, treatment)
    assert bool(found["next_step"]) == (treatment in ("quarantine", "person") or cause == "cut_off")


def test_secrets_are_known_when_they_were_read_or_the_service_is_taken() -> None:
    read = ForeignUse("deploy", "…AB12", ("203.0.113.7",), ("GetSecretValue",), 1, True)
    assert judge_breach("records", BreachLook(foreign=(read,)), [])["secrets_known"]
    assert not judge_breach("records", BreachLook(foreign=(USE,)), [])["secrets_known"]
    assert judge_breach("records", BreachLook(), [alarm()])["secrets_known"]
