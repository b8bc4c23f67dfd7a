"""Why an AI service does not work, judged from what was seen; every cause, and what must not be taken for one."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_ai import (
    CAUSES,
    TREATMENTS,
    AiDiagnosis,
    judge,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_looks import (
    GatewayServer,
    InstanceLook,
    InstancesLook,
    UnitLook,
    look_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import Answered, InstanceProbe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service

NOW = 1_800_000_000.0
CARD = Path(__file__).parents[2] / "runbooks" / "ai_service_unavailable" / "runbook.yml"
RIGHT = Answered(2, 2, {}, 0.01)
RUNS = UnitLook("running", 100, NOW - 600)


def ago(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(NOW - seconds, datetime.UTC).isoformat()


def answers(predict: Answered = RIGHT, health: Answered = RIGHT, live: Answered = RIGHT) -> dict[str, Answered]:
    return {"live": live, "health": health, "predict": predict}


def late(seconds: float) -> Answered:
    return Answered(2, 2, {}, seconds)


def failing(kind: str) -> Answered:
    return Answered(2, 0, {kind: 2}, None)


def instance(machine: str, **changes: t.Any) -> InstanceLook:
    known: dict[str, t.Any] = {
        "probe": InstanceProbe(machine, changes.pop("answers", answers())),
        "unit": RUNS,
        "version": "1.3.0",
        "deployed_at": ago(3600),
        "earlier": "1.1.0",
        "damaged": (),
    }
    return InstanceLook(machine, **{**known, **changes})


def look(*instances: InstanceLook, gateway: str | None = "UP") -> InstancesLook:
    servers = None if gateway is None else {each.machine: GatewayServer("ready", gateway) for each in instances}
    return InstancesLook({each.machine: each for each in instances}, servers)


def both(**changes: t.Any) -> InstancesLook:
    return look(instance("app1", **changes), instance("app2", **changes))


def failed(target: str = "ai", check: str = "predict", error_class: str = "unavailable") -> CheckResult:
    return CheckResult(target, check, "deep", "http", False, 0.1, error_class, "HTTP 503", NOW)


@pytest.fixture(scope="module")
def ai() -> Service:
    def http(check: str, path: str, **more: t.Any) -> dict[str, t.Any]:
        return {"id": check, "type": "http", "url": f"http://127.0.0.1:80{path}", "status": 200, **more}

    return load_service(
        "ai",
        {
            "codeblue_environment": "lab",
            "codeblue_platform": "host",
            "codeblue_kind": "ai",
            "codeblue_tier": 3,
            "codeblue_depends_on": ["features"],
            "codeblue_objectives": {"rto": "15m", "rpo": "1h"},
            "codeblue_host": {
                "instances": {
                    machine: {
                        "address": "127.0.0.1",
                        "port": 8103,
                        "process": {"manager": "systemd", "unit": "ai"},
                        "release_root": "/srv/ai",
                    }
                    for machine in ("app1", "app2")
                },
                "gateway": {
                    "machine": "lb1",
                    "socket": "/run/h.sock",
                    "backend": "ai",
                    "servers": {"app1": "one", "app2": "two"},
                },
            },
            "codeblue_checks": {
                "shallow": [http("live", "/health/live")],
                "deep": [
                    http("health", "/health"),
                    http("predict", "/predict", method="POST", json={"note": "pain"}, body_has="urgent"),
                ],
                "comprehensive": [],
                "thresholds": {"response": "500ms", "error_rate": 0.001},
            },
        },
        {"ai", "features", "app1", "app2", "lb1"},
    )


RESTARTED = {"unit": RUNS, "unit_later": UnitLook("running", 200, NOW), "answers": answers(failing("closed"))}
GIVEN_UP = {
    "unit": UnitLook("failed", None, None, 1),
    "answers": answers(failing("refused"), failing("refused"), failing("refused")),
}
STOPPED = {**GIVEN_UP, "unit": UnitLook("stopped", None, None, 0)}


@pytest.mark.parametrize(
    ("seen", "problems", "cause"),
    [
        (both(**RESTARTED), [failed()], "release_crashing"),
        (both(**GIVEN_UP), [failed()], "release_crashing"),
        (both(**{**GIVEN_UP, "unit": UnitLook("restarting", None, None, 139)}), [failed()], "release_crashing"),
        (look(instance("app1", **GIVEN_UP), instance("app2", **RESTARTED)), [failed()], "release_crashing"),
        # The one that works has another release, so the release makes the difference.
        (look(instance("app1", **GIVEN_UP), instance("app2", version="1.1.0")), [failed()], "release_crashing"),
        (both(damaged=("model.json",), **GIVEN_UP), [failed()], "model_damaged"),
        (look(instance("app1", damaged=("model.json",)), instance("app2")), [], "model_damaged"),
        (both(answers=answers(late(1.5))), [failed(error_class="timeout")], "inference_slow"),
        (both(answers=answers(failing("timeout"))), [failed(error_class="timeout")], "inference_slow"),
        (both(answers=answers(failing("body"))), [failed(error_class="body")], "release_failing"),
        (both(answers=answers(failing("status"), failing("status"))), [failed()], "release_failing"),
        (both(**STOPPED), [failed()], "process_stopped"),
        (both(answers=answers(failing("status"))), [failed(), failed("features")], "dependency_down"),
        (both(answers=answers(late(1.5))), [failed(), failed("features", "tcp", "refused")], "dependency_down"),
        (look(instance("app1"), instance("app2"), gateway="MAINT"), [failed()], "way_lost"),
        (look(instance("app1"), instance("app2"), gateway=None), [failed()], "way_lost"),
        (both(unreachable="no route"), [failed()], "machines_silent"),
        (both(), [], "healthy"),
        # Failures elsewhere are not its own.
        (both(), [failed("records")], "healthy"),
        # What must not be taken for a cause:
        (both(), [failed()], "inconclusive"),
        (both(answers=answers(late(1.5), late(1.4), late(1.4))), [failed()], "inconclusive"),
        (both(answers=answers(failing("timeout"), live=failing("timeout"))), [failed()], "inconclusive"),
        (both(answers=answers(late(1.5)), deployed_at=ago(30 * 86400)), [failed()], "inconclusive"),
        (both(answers=answers(failing("body")), deployed_at=None), [failed()], "inconclusive"),
        (both(answers=answers(late(1.5)), deployed_at="yesterday"), [failed()], "inconclusive"),
        (look(instance("app1", **GIVEN_UP), instance("app2")), [failed()], "inconclusive"),
        (look(instance("app1", **STOPPED), instance("app2", **RESTARTED)), [failed()], "inconclusive"),
        (look(instance("app1", answers=answers(late(1.5))), instance("app2")), [failed()], "inconclusive"),
        (look(instance("app1", answers=answers(failing("body"))), instance("app2", **GIVEN_UP)), [], "inconclusive"),
        (both(probe=InstanceProbe("app1", unknown="the module failed")), [failed()], "inconclusive"),
    ],
)
def test_causes(ai: Service, seen: InstancesLook, problems: list[CheckResult], cause: str) -> None:
    found = judge(ai, seen, problems, NOW)
    assert found["cause"] == cause, found
    assert found["treatment"] == TREATMENTS.get(cause, "person")
    assert found["evidence"] and all(isinstance(each, str) and each for each in found["evidence"])
    assert (found["confidence"] == 0) == (cause == "inconclusive")
    assert bool(found["next_step"]) == (found["treatment"] == "person")


def test_a_crash_of_a_dependent_release_is_still_a_crash(ai: Service) -> None:
    assert judge(ai, both(**RESTARTED), [failed(), failed("features")], NOW)["cause"] == "release_crashing"


def test_one_machine_that_is_silent_does_not_hide_the_cause_of_the_others(ai: Service) -> None:
    seen = look(instance("app1", unreachable="no route"), instance("app2", damaged=("model.json",)))
    found = judge(ai, seen, [failed()], NOW)
    assert found["cause"] == "model_damaged" and found["unreachable"] == {"app1": "no route"}


def test_without_an_earlier_release_a_person_decides(ai: Service) -> None:
    found = judge(ai, look(instance("app1", **RESTARTED), instance("app2", earlier=None, **RESTARTED)), [failed()], NOW)
    assert (found["cause"], found["treatment"]) == ("release_crashing", "person")
    assert "no earlier release" in found["evidence"][-1] and found["next_step"]


def test_the_card_has_a_finding_for_every_cause_and_says_who_acts() -> None:
    card = load_card(CARD)
    assert set(card.findings) == set(CAUSES)
    for cause in CAUSES:
        assert card.is_automatic(cause) == (TREATMENTS.get(cause, "person") != "person"), cause


def test_the_questions_and_their_answers_fit_each_other(ai: Service) -> None:
    questions = {question.name: question.call for question in AiDiagnosis().questions(ai)}
    assert set(questions) == {
        "gateway/0",
        *(f"{kind} {machine}" for kind in ("unit", "releases", "files", "probe") for machine in ("app1", "app2")),
    }
    assert all(call.check_mode for call in questions.values()), "they only look"
    requests = {each["id"]: each for each in questions["probe app1"].arguments["requests"]}
    assert requests["predict"]["url"] == "http://127.0.0.1:8103/predict" and requests["predict"]["body_has"] == "urgent"
    history = [{"version": "1.3.0", "deployed_at": ago(60)}, {"version": "1.1.0", "deployed_at": ago(600)}]
    measured = {"asked": 2, "right": 1, "problems": {"closed": 1}, "statuses": [200], "median_seconds": 0.2}
    given = {
        "unit app1": {"before": {"ai": {"state": "running", "pid": 7, "exit_status": None}}},
        "releases app1": {"before": {"current": "1.3.0"}, "available": ["1.1.0", "1.3.0"], "history": history},
        "files app1": {"before": {"damaged": ["model.json"]}},
        "probe app1": {"answers": {"predict": measured}},
        "gateway/0": {
            "before": {"ai/one": {"state": "ready", "status": "UP"}, "ai/two": {"state": "maint", "status": "MAINT"}}
        },
    }
    answered = {name: MachineAnswer(call.machine, result=given.get(name)) for name, call in questions.items()}
    answered |= {name: MachineAnswer("app2", unreachable="no route") for name in questions if name.endswith(" app2")}
    seen = look_of(ai, answered)
    first, second = seen.instances["app1"], seen.instances["app2"]
    assert (first.version, first.earlier, first.deployed_at) == ("1.3.0", "1.1.0", ago(60))
    assert first.damaged == ("model.json",) and first.unit is not None and first.unit.pid == 7
    assert first.probe.answers["predict"].worst == "closed" and first.probe.closed
    assert second.unreachable == "no route" and second.damaged is None
    assert seen.gateway is not None and seen.gateway["app2"].status == "MAINT"
