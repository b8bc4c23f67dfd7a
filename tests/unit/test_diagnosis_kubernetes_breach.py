"""Strays are told from what a workload has made, and what follows from them and from alarms; pure."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes_breach import (
    judge_breach,
    strays_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import NamespaceObjects

ALARM = CheckResult("ai", "foreign", "signals", "http", False, 0.1, "status", "", 1.0, topic="intrusion")


def thing(name: str, owner: str = "", **spec: t.Any) -> dict[str, t.Any]:
    owners = [{"uid": owner, "controller": True, "kind": "X", "name": owner}] if owner else []
    metadata = {"name": name, "uid": f"uid-{name}", "labels": {"app": "ai"}, "ownerReferences": owners}
    return {"metadata": metadata, "spec": spec}


def objects(*pods: dict[str, t.Any]) -> NamespaceObjects:
    return NamespaceObjects(
        {
            "Deployment": [thing("ai")],
            "ReplicaSet": [thing("set", "uid-ai")],
            "Pod": [thing("own", "uid-set"), *pods],
            "Service": [thing("ai", selector={"app": "ai"})],
        }
    )


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (thing("alone"), "pod alone, which no controller made, takes traffic of Service ai"),
        (thing("own2", "uid-set", ephemeralContainers=[{"name": "dbg"}]), "container dbg was put into pod own2"),
        (thing("other", "uid-elsewhere"), None),
    ],
)
def test_strays(pod: dict[str, t.Any], said: str | None) -> None:
    assert strays_of(objects(pod), "Deployment", "ai", "ai") == ((said,) if said else ())
    assert strays_of(objects(pod), "Deployment", "gone", "ai") == ()


@pytest.mark.parametrize(
    ("strays", "alarms", "cut_off", "cause", "treatment"),
    [
        ((), (), "", "healthy", "none"),
        ((), (ALARM,), "", "intrusion", "quarantine"),
        (("a",), (ALARM,), "", "intrusion", "quarantine"),
        (("a",), (), "", "inconclusive", "person"),
        ((), (ALARM,), "key", "cut_off", "person"),
        ((), (), "key", "cut_off", "none"),
    ],
)
def test_judgement(strays: t.Any, alarms: t.Any, cut_off: str, cause: str, treatment: str) -> None:
    judged = judge_breach("ai", strays, alarms, cut_off)
    assert (judged["cause"], judged["treatment"]) == (cause, treatment)
    assert bool(judged["next_step"]) == (treatment != "none")
    assert judged["machines"] == judged["peers"] == judged["callers"] == []
