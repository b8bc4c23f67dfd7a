"""Why nobody can log in, judged from what was seen; every cause, and what must not be taken for one."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import Shown
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_auth import (
    CAUSES,
    TREATMENTS,
    AuthDiagnosis,
    judge,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import new_pair

NOW = 1_800_000_000.0
DAY = 86400.0
CARD = Path(__file__).parents[2] / "runbooks" / "authentication_system_down" / "runbook.yml"
PRIVATE, PUBLIC = new_pair()
OTHER_PRIVATE, OTHER_PUBLIC = new_pair()
VALID = Shown("1A", NOW - DAY, NOW + DAY)
EXPIRED = Shown("1A", NOW - 91 * DAY, NOW - DAY)
EARLY = Shown("1A", NOW + DAY, NOW + 2 * DAY)

Answers = dict[str, MachineAnswer]


def unit(state: str, machine: str = "app1") -> MachineAnswer:
    return MachineAnswer(machine, result={"before": {"auth": {"state": state}}, "changed": False})


def file(content: str, machine: str = "app1") -> MachineAnswer:
    return MachineAnswer(machine, result={"content": base64.b64encode(content.encode()).decode()})


def silent(machine: str) -> MachineAnswer:
    return MachineAnswer(machine, unreachable="no route to host")


def answers(**changes: MachineAnswer) -> Answers:
    """Of two machines where all is well; `unit_app1=…` is another answer to `unit/app1`."""
    well: Answers = {
        "unit/app1": unit("running"),
        "unit/app2": unit("running", "app2"),
        "signing/app1": file(PRIVATE),
        "signing/app2": file(PRIVATE, "app2"),
        "verification/app1": file(PUBLIC),
        "verification/app2": file(PUBLIC, "app2"),
    }
    return {**well, **{name.replace("_", "/"): answer for name, answer in changes.items()}}


def failed(error_class: str, check: str = "login", target: str = "auth") -> CheckResult:
    return CheckResult(target, check, "deep", "http", False, 0.1, error_class, "", NOW)


REFUSED = failed("token_refused", "token")
NO_TLS = failed("tls", "secure_login")


@pytest.fixture(scope="module")
def auth() -> Service:
    return service(certificates=True)


def service(certificates: bool) -> Service:
    process = {"manager": "systemd", "unit": "auth"}

    def consumers(name: str) -> list[dict[str, t.Any]]:
        return [
            {"machine": machine, "secret_file": f"/etc/{name}.pem", "process": process, "reload": "restart"}
            for machine in ("app1", "app2")
        ]

    certificate = {
        "machine": "lb1",
        "socket": "/run/h.sock",
        "file": "/etc/haproxy/login.pem",
        "names": ["login.example"],
        "issuer_key_from": "file:/ca.key",
        "issuer_certificate_from": "file:/ca.pem",
    }
    return load_service(
        "auth",
        {
            "codeblue_environment": "lab",
            "codeblue_platform": "host",
            "codeblue_kind": "auth",
            "codeblue_tier": 1,
            "codeblue_depends_on": ["patient_db"],
            "codeblue_objectives": {"rto": "15m", "rpo": "15m"},
            "codeblue_host": {
                "instances": {
                    machine: {"address": "127.0.0.1", "port": 8081, "process": process} for machine in ("app1", "app2")
                },
                "session_keys": {
                    "signing": consumers("token_signing"),
                    "verification": consumers("token_verification"),
                    "verify_url": "http://127.0.0.1:1/verify",
                },
                **({"certificates": {"login": certificate}} if certificates else {}),
            },
        },
        {"auth", "patient_db", "app1", "app2", "lb1"},
    )


@pytest.mark.parametrize(
    ("seen", "failing", "beneath", "shown", "cause"),
    [
        (answers(), [], [], {}, "healthy"),
        (answers(unit_app1=unit("stopped")), [failed("unavailable")], [], {}, "process_stopped"),
        (answers(unit_app1=unit("FATAL")), [], [], {}, "process_stopped"),
        (answers(unit_app1=unit("inactive"), unit_app2=silent("app2")), [], [], {}, "process_stopped"),
        # What is down is started first, whatever else is wrong: the rest is seen better then.
        (answers(unit_app1=unit("stopped"), signing_app1=file(OTHER_PRIVATE)), [REFUSED], [], {}, "process_stopped"),
        (answers(signing_app1=file(OTHER_PRIVATE)), [REFUSED], [], {}, "signing_key_wrong"),
        (answers(verification_app2=file(OTHER_PUBLIC)), [REFUSED], [], {}, "signing_key_wrong"),
        (answers(verification_app2=file("")), [failed("status")], [], {}, "signing_key_wrong"),
        (answers(signing_app2=file("no key at all")), [failed("unavailable")], [], {}, "signing_key_wrong"),
        # Two signers with two keys, each known by one verifier only: every other token is refused.
        (
            answers(signing_app2=file(OTHER_PRIVATE), verification_app2=file(OTHER_PUBLIC)),
            [],
            [],
            {},
            "signing_key_wrong",
        ),
        (answers(), [NO_TLS], [], {"secure_login": EXPIRED}, "certificate_expired"),
        (answers(), [NO_TLS], [], {"secure_login": EARLY}, "certificate_expired"),
        (answers(), [failed("unavailable")], [failed("refused", "tcp", "patient_db")], {}, "dependency_down"),
        (answers(), [failed("status")], [], {}, "not_working"),
        (answers(unit_app1=silent("app1"), unit_app2=silent("app2")), [failed("refused")], [], {}, "machines_silent"),
        # What must not be taken for a cause:
        (answers(), [REFUSED], [], {}, "inconclusive"),
        (answers(), [NO_TLS], [], {"secure_login": VALID}, "inconclusive"),
        (answers(), [NO_TLS], [], {"secure_login": None}, "inconclusive"),
        # In a rotation with an overlap every verifier knows the old key and the new one.
        (
            answers(
                signing_app2=file(OTHER_PRIVATE),
                verification_app1=file(PUBLIC + OTHER_PUBLIC),
                verification_app2=file(PUBLIC + OTHER_PUBLIC),
            ),
            [],
            [],
            {},
            "healthy",
        ),
        # A file that nobody could read tells nothing.
        (answers(signing_app1=MachineAnswer("app1", failure="permission denied")), [], [], {}, "healthy"),
        (answers(unit_app1=silent("app1"), signing_app1=silent("app1")), [], [], {}, "healthy"),
    ],
)
def test_causes(
    auth: Service,
    seen: Answers,
    failing: list[CheckResult],
    beneath: list[CheckResult],
    shown: Mapping[str, Shown | None],
    cause: str,
) -> None:
    found = judge(auth, seen, failing, beneath, shown, NOW)
    assert found["cause"] == cause, found
    assert found["treatment"] == TREATMENTS.get(cause, "person")
    assert found["evidence"] and all(isinstance(each, str) and each for each in found["evidence"])
    assert (found["confidence"] == 0) == (cause == "inconclusive")
    assert bool(found["next_step"]) == (found["treatment"] == "person")


def test_a_refused_token_makes_a_wrong_key_surer(auth: Service) -> None:
    seen = answers(signing_app1=file(OTHER_PRIVATE))
    alone = judge(auth, seen, [failed("status")], [], {}, NOW)
    refused = judge(auth, seen, [REFUSED], [], {}, NOW)
    assert refused["confidence"] > alone["confidence"]
    assert len(refused["evidence"]) == 2 and all("app1" in each for each in refused["evidence"])


def test_nothing_of_a_key_is_in_the_judgement(auth: Service) -> None:
    found = repr(judge(auth, answers(signing_app1=file(OTHER_PRIVATE)), [REFUSED], [], {}, NOW))
    for pem in (PRIVATE, OTHER_PRIVATE, PUBLIC):
        body = pem.splitlines()[1]
        assert body not in found and base64.b64encode(pem.encode()).decode() not in found


def test_how_long_a_certificate_has_expired_is_said(auth: Service) -> None:
    found = judge(auth, answers(), [NO_TLS], [], {"secure_login": EXPIRED}, NOW)
    assert "expired 24.0 h ago" in found["evidence"][0]
    early = judge(auth, answers(), [NO_TLS], [], {"secure_login": EARLY}, NOW)
    assert "not valid for another 24.0 h" in early["evidence"][0]


def test_a_certificate_that_nobody_issues_needs_a_person() -> None:
    found = judge(service(certificates=False), answers(), [NO_TLS], [], {"secure_login": EXPIRED}, NOW)
    assert (found["cause"], found["treatment"]) == ("certificate_expired", "person")
    assert "codeblue_host.certificates" in found["next_step"]


def test_what_is_silent_is_named(auth: Service) -> None:
    found = judge(auth, answers(unit_app2=silent("app2")), [failed("status")], [], {}, NOW)
    assert found["unreachable"] == {"unit/app2": "no route to host"}


def test_the_card_has_a_finding_for_every_cause_and_says_who_acts() -> None:
    card = load_card(CARD)
    assert set(card.findings) == set(CAUSES)
    for cause in CAUSES:
        assert card.is_automatic(cause) == (TREATMENTS.get(cause, "person") != "person"), cause


def test_the_questions_only_look_and_cover_every_machine(auth: Service) -> None:
    questions = {question.name: question.call for question in AuthDiagnosis().questions(auth)}
    assert set(questions) == set(answers())
    assert all(call.check_mode for call in questions.values())
