"""Several gateways in front of one service: how they are read, changed, and looked at as one."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import (
    entries_change,
    gateway_answer,
    gateway_change,
    gateway_looks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_changes import Changed, joined

SECOND = Gateway("lb2", "/run/2.sock", None, "web_b", {"app1": "one", "app2": "two"})
PAIR = Gateway("lb1", "/run/1.sock", "/run/1.state", "web", {"app1": "app1", "app2": "app2"}, beside=(SECOND,))


def server(state: str, sessions: int = 0, status: str = "UP") -> dict[str, t.Any]:
    return {"state": state, "status": status, "sessions": sessions, "weight": 100}


def seen(machine: str, **servers: dict[str, t.Any]) -> MachineAnswer:
    return MachineAnswer(machine, result={"before": {name.replace("__", "/"): each for name, each in servers.items()}})


def test_a_change_is_made_at_each_by_its_own_names() -> None:
    change = gateway_change(PAIR, {"app1": "drain"}, "drain_app1")
    assert [(each.machine, each.action) for each in change.every] == [("lb1", "drain_app1"), ("lb2", "drain_app1@2")]
    wanted = [each.arguments["changes"] for each in change.every]
    assert wanted == [
        [{"backend": "web", "server": "app1", "state": "drain"}],
        [{"backend": "web_b", "server": "one", "state": "drain"}],
    ]
    entries = entries_change(PAIR, "/etc/refused", ["192.0.2.1"], "refuse", {}, "absent")
    assert [each.arguments["socket"] for each in entries.every] == ["/run/1.sock", "/run/2.sock"]


def test_a_server_is_as_where_it_gets_least_and_sessions_are_counted_together() -> None:
    answers = [
        seen("lb1", web__app1=server("ready", 3), web__app2=server("maint")),
        seen("lb2", web_b__one=server("drain", 2), web_b__two=server("ready", 1)),
    ]
    assert [call.machine for call in gateway_looks(PAIR)] == ["lb1", "lb2"]
    before = gateway_answer(PAIR, answers).result_or_raise()["before"]
    assert {name: (each["state"], each["sessions"]) for name, each in before.items()} == {
        "web/app1": ("drain", 5),
        "web/app2": ("maint", 1),
    }


def test_the_one_that_answers_speaks_for_both() -> None:
    away = MachineAnswer("lb1", unreachable="no route")
    answer = gateway_answer(PAIR, [away, seen("lb2", web_b__one=server("ready"), web_b__two=server("ready"))])
    assert sorted(answer.result_or_raise()["before"]) == ["web/app1", "web/app2"]
    assert gateway_answer(PAIR, [away, MachineAnswer("lb2", failure="no socket")]) is away


@pytest.mark.parametrize("first", [True, False])
def test_a_change_holds_when_one_has_it(first: bool) -> None:
    change = gateway_change(PAIR, {"app1": "drain"}, "drain_app1")
    done = MachineAnswer("lb", result={"changed": True, "persisted": True})
    away = MachineAnswer("lb", unreachable="no route")
    answers = [done, away] if first else [away, done]
    whole = joined(change, [Changed(each, a) for each, a in zip(change.every, answers, strict=True)])
    assert whole.result["changed"] and whole.missed == {"lb2" if first else "lb1": "no route"}


def test_it_is_lasting_when_both_keep_it_and_fails_when_none_has_it() -> None:
    change = gateway_change(PAIR, {"app1": "drain"}, "drain_app1")
    kept = MachineAnswer("lb1", result={"changed": False, "persisted": True})
    lost = MachineAnswer("lb2", result={"changed": True, "persisted": False, "not_persisted_because": "no file"})
    whole = joined(change, [Changed(change, kept), Changed(change.beside[0], lost)])
    assert (whole.result["changed"], whole.result["persisted"], whole.missed) == (True, False, {})
    assert whole.result["not_persisted_because"] == "no file"
    failed = [Changed(each, MachineAnswer(each.machine, failure="no socket")) for each in change.every]
    assert joined(change, failed).answer.failure == "no socket"
