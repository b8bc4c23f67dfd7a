"""Why a service on Kubernetes answers late."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes_performance import (
    judge_late,
    more_pods,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import Replicas
from kubernetes_objects import deployment
from test_diagnosis_kubernetes import NOW, findings, new

HOUR = 3600.0


def late(target: str = "records", error: str = "slow") -> CheckResult:
    return CheckResult(target, "answer_time", "signals", "http", False, 2.5, error, "", NOW, "performance")


def well(seconds_ago: float) -> str:
    return datetime.datetime.fromtimestamp(NOW - seconds_ago, datetime.UTC).isoformat().replace("+00:00", "Z")


def found(changed: float = HOUR, **more: object) -> ServiceFindings:
    base = findings(deployment(), new(2, True), changed_at=NOW - changed, version="records:1.2+abc")
    return dataclasses.replace(base, failing=(late(),), **more)  # type: ignore[arg-type]


MONTH = 30 * 24 * HOUR
CASES: dict[str, tuple[ServiceFindings, list[CheckResult], str | None, tuple[str, str]]] = {
    "nothing late": (found(), [], None, ("healthy", "none")),
    "another is late": (found(), [late("web")], None, ("healthy", "none")),
    "database late": (found(), [late(), late("patient_db")], None, ("waits_for_dependency", "none")),
    "release since it was well": (found(), [late()], well(2 * HOUR), ("slow_release", "rollback")),
    "release before it was well": (found(), [late()], well(HOUR / 2), ("overloaded", "scale_out")),
    "young release": (found(), [late()], None, ("slow_release", "rollback")),
    "old release": (found(MONTH), [late()], None, ("overloaded", "scale_out")),
    "no earlier release": (found(earlier=False), [late()], well(2 * HOUR), ("slow_release", "person")),
    "fewer pods": (found(replicas=Replicas(4, "a run")), [late()], None, ("scaled_down", "scale")),
    "autoscaled": (found(MONTH, scaled_by="HorizontalPodAutoscaler x"), [late()], None, ("overloaded", "person")),
    "database": (found(MONTH, kind="database"), [late()], None, ("overloaded", "person")),
    "release of a database": (found(kind="database"), [late()], None, ("slow_release", "person")),
}


@pytest.mark.parametrize(("seen", "results", "last_well", "expected"), CASES.values(), ids=CASES)
def test_cause(
    seen: ServiceFindings, results: list[CheckResult], last_well: str | None, expected: tuple[str, str]
) -> None:
    judged = judge_late(seen, results, last_well, NOW)
    assert (judged["cause"], judged["treatment"]) == expected, judged
    assert judged["evidence"] and bool(judged["next_step"]) == (judged["treatment"] == "person")


def test_what_does_not_work_is_another_runbooks() -> None:
    down = dataclasses.replace(found(), workload=None)
    judged = judge_late(down, [late()], None, NOW)
    assert (judged["cause"], judged["treatment"]) == ("workload_missing", "person")
    assert "comes first" in judged["next_step"]


def test_what_is_left_and_what_is_given() -> None:
    judged = judge_late(found(), [late()], well(2 * HOUR), NOW)
    assert judged["release"] == "records:1.2+abc"
    assert [more_pods(each) for each in (1, 2, 3, 4, 10)] == [2, 3, 5, 6, 15]
