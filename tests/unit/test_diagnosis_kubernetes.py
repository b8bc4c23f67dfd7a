"""Why a service on Kubernetes does not work."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import (
    CAUSES,
    RECENT_SECONDS,
    RESTORE_OBJECTS,
    TREATMENTS,
    ServiceFindings,
    judge,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    Missing,
    NamespaceObjects,
    look_at_service,
    look_at_workload,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import Replicas
from kubernetes_objects import Object, deployment, endpoint_slice, pod, replica_set, service

NOW = 2_000_000_000.0
NO_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
CRASH = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}


def fails(target: str = "records", error: str = "unavailable") -> CheckResult:
    return CheckResult(target, "live", "shallow", "http", False, 0.1, error, "", NOW)


def findings(
    listed: Object, pods: list[Object], leads: Object | None = None, endpoints: int = 2, **more: t.Any
) -> ServiceFindings:
    objects = NamespaceObjects(
        {
            "Deployment": [listed],
            "ReplicaSet": [replica_set(1, "old"), replica_set(2, "new")],
            "Pod": pods,
            "Service": [leads or service()],
            "EndpointSlice": [endpoint_slice(endpoints)],
        }
    )
    found = ServiceFindings(
        service="records",
        depends_on=("patient_db",),
        workload=look_at_workload(objects, "Deployment", "records"),
        route=look_at_service(objects, "records", "records", "Deployment"),
        route_wanted=True,
        missing=(),
        failing=(fails(),),
        changed_at=NOW - 600,
        earlier=True,
        replicas=Replicas(2, "codeblue_kubernetes.replicas"),
        selector="app=records",
    )
    return dataclasses.replace(found, **more)


def new(count: int, ready: bool, state: Object | None = None, **more: t.Any) -> list[Object]:
    return [pod(f"new-{n}", "new", ready, state, **more) for n in range(count)]


def old(count: int) -> list[Object]:
    return [pod(f"old-{n}", "old") for n in range(count)]


UNSCHEDULED = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]}
REFUSED = {
    "type": "ReplicaFailure",
    "status": "True",
    "message": 'pods "records-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2',
}


def refused() -> Object:
    found = deployment(ready=0, updated=0)
    found["status"]["conditions"] = [REFUSED]
    return found


DATABASE = (fails("patient_db", "refused"), fails())

CASES: dict[str, tuple[str, ServiceFindings]] = {
    "nothing wrong": ("healthy", findings(deployment(), new(2, True), failing=())),
    "no workload": ("workload_missing", findings(deployment(), [], workload=None)),
    "no image": ("image_unavailable", findings(deployment(ready=2, updated=1), [*old(2), *new(1, False, NO_IMAGE)])),
    "crash beside the old one": (
        "release_crashing",
        findings(deployment(ready=1, updated=1), [*old(1), *new(1, False, CRASH)], failing=DATABASE),
    ),
    "crash without a database": (
        "dependency_down",
        findings(deployment(ready=0), new(2, False, CRASH), failing=DATABASE),
    ),
    "crash after a rollout": ("release_crashing", findings(deployment(ready=0), new(2, False, CRASH))),
    "crash after months": (
        "inconclusive",
        findings(deployment(ready=0), new(2, False, CRASH), changed_at=NOW - RECENT_SECONDS - 1),
    ),
    "no secret": (
        "configuration_missing",
        findings(deployment(ready=0), new(2, False), missing=(Missing("Secret", "database", None),)),
    ),
    # Pods that run already have read it; the next ones would not come.
    "no secret and all run": (
        "healthy",
        findings(deployment(), new(2, True), missing=(Missing("Secret", "database", None),), failing=()),
    ),
    "no replicas": ("scaled_to_zero", findings(deployment(replicas=0, ready=0, updated=0), [])),
    "quarantine": ("cut_off", findings(deployment(replicas=0), [], cut_off="codeblue.recovery/quarantine")),
    "fewer than needed": (
        "scaled_down",
        findings(deployment(1, 1, 1), new(1, True), replicas=Replicas(2, "inventory")),
    ),
    "quota": ("quota_exceeded", findings(refused(), [])),
    "no node": ("pods_unschedulable", findings(deployment(ready=0), new(2, False, **UNSCHEDULED))),
    "paused": ("rollout_paused", findings(deployment(ready=1, updated=0, paused=True), old(1))),
    "not ready beside the old one": ("release_failing", findings(deployment(ready=1), [*old(1), *new(1, False)])),
    "not ready after a rollout": ("release_failing", findings(deployment(ready=0), new(2, False))),
    "not ready, database away": ("dependency_down", findings(deployment(ready=0), new(2, False), failing=DATABASE)),
    "one of two not ready": ("inconclusive", findings(deployment(ready=1), [*new(1, True), pod("n", "new", False)])),
    "selector": ("traffic_misrouted", findings(deployment(), new(2, True), service(app="gone"), 0)),
    "no service": ("traffic_misrouted", findings(deployment(), new(2, True), route=None)),
    "all ready and away": ("way_lost", findings(deployment(), new(2, True))),
    "all ready and wrong": ("inconclusive", findings(deployment(), new(2, True), failing=(fails(error="status"),))),
    "all ready, database away": ("dependency_down", findings(deployment(), new(2, True), failing=DATABASE)),
}


@pytest.mark.parametrize(("cause", "found"), CASES.values(), ids=CASES)
def test_cause(cause: str, found: ServiceFindings) -> None:
    judged = judge(found, NOW)
    assert judged["cause"] == cause, judged
    assert judged["treatment"] == (RESTORE_OBJECTS if found.route is None else TREATMENTS.get(cause, "person"))
    assert judged["evidence"] and all(isinstance(line, str) and line for line in judged["evidence"])
    assert bool(judged["next_step"]) == (judged["treatment"] == "person")


def test_every_cause_is_shown_here() -> None:
    assert {cause for cause, _found in CASES.values()} == set(CAUSES)


def test_nothing_is_rolled_back_without_an_earlier_revision() -> None:
    found = dataclasses.replace(CASES["no image"][1], earlier=False)
    judged = judge(found, NOW)
    assert (judged["cause"], judged["treatment"]) == ("image_unavailable", "person")
    assert "no earlier revision" in judged["next_step"]


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        ("no replicas", {"replicas": None}, "Nobody wrote down"),
        ("no replicas", {"scaled_by": "ScaledObject ai"}, "sets that number"),
        ("selector", {"selector": ""}, "Give the Service"),
    ],
)
def test_what_is_not_known_is_for_a_person(case: str, change: dict[str, t.Any], said: str) -> None:
    judged = judge(dataclasses.replace(CASES[case][1], **change), NOW)
    assert judged["treatment"] == "person" and said in judged["next_step"]


def test_an_autoscaler_that_has_few_pods_is_not_overruled() -> None:
    found = dataclasses.replace(CASES["fewer than needed"][1], scaled_by="HorizontalPodAutoscaler records")
    assert judge(found, NOW)["cause"] == "way_lost"


def test_a_version_of_a_database_that_ran_is_for_a_person() -> None:
    judged = judge(dataclasses.replace(CASES["crash after a rollout"][1], kind="database"), NOW)
    assert judged["treatment"] == "person" and "may have written its files" in judged["next_step"]
    judged = judge(dataclasses.replace(CASES["no image"][1], kind="database"), NOW)
    assert judged["treatment"] == "rollback"
