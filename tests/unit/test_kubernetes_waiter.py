"""What a workload's status and pods say about a rollout: complete, under way, stuck, or without hope."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import (
    hopeless,
    in_the_way,
    progress,
    refused_pods,
    selector_of,
)


def workload(
    kind: str = "Deployment", generation: int = 2, spec: dict[str, t.Any] | None = None, **status: t.Any
) -> t.Any:
    return {
        "kind": kind,
        "metadata": {"name": "records", "uid": "w1", "generation": generation},
        "spec": {"replicas": 2, **(spec or {})},
        "status": {"observedGeneration": 2, **status},
    }


def pod(name: str, revision: str, ready: bool = True, waiting: str = "", kind: str = "StatefulSet") -> dict[str, t.Any]:
    label = "pod-template-hash" if kind == "Deployment" else "controller-revision-hash"
    state = {"waiting": {"reason": waiting, "message": "because"}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name, "labels": {label: revision}},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "main", "state": state}],
        },
    }


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (workload(generation=3), "its controller has not begun"),
        (workload(replicas=3, updatedReplicas=1), "1 of 2 pods are of the wanted version"),
        (workload(replicas=3, updatedReplicas=2, availableReplicas=1), "1 of 2 pods serve"),
        (workload(replicas=3, updatedReplicas=2, availableReplicas=2), "1 pods of another version are still there"),
        (workload(replicas=2, updatedReplicas=2, availableReplicas=2), ""),
        (workload(spec={"replicas": 0}), ""),
        (workload("DaemonSet", desiredNumberScheduled=3, updatedNumberScheduled=2), "2 of 3 pods are of the wanted"),
        (
            workload("DaemonSet", desiredNumberScheduled=1, updatedNumberScheduled=1, numberAvailable=1),
            "",
        ),
    ],
)
def test_progress(found: t.Any, line: str) -> None:
    assert progress(found).startswith(line) and bool(progress(found)) == bool(line)


def test_pods_that_the_api_refuses() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded\nquota"}
    assert refused_pods(workload(conditions=[failure])) == "its pods cannot be made: exceeded quota"
    # What is said about the template before this one does not count.
    assert refused_pods(workload(generation=3, conditions=[failure])) == ""


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"])
def test_a_pod_without_hope_ends_the_wait(reason: str) -> None:
    found = hopeless([pod("a", "good"), pod("b", "good", False, reason)], "StatefulSet", "good")
    assert found == f"pod b: {reason}, because"


def test_pods_of_the_version_that_is_left_and_passing_states_do_not() -> None:
    pods = [pod("a", "bad", False, "ImagePullBackOff"), pod("b", "good", False, "ContainerCreating")]
    assert hopeless(pods, "StatefulSet", "good") == ""


def test_only_broken_pods_of_a_stuck_stateful_set_are_in_the_way() -> None:
    pods = [pod("r-0", "good"), pod("r-1", "bad", False), pod("r-2", "bad")]
    assert [each["metadata"]["name"] for each in in_the_way(workload("StatefulSet"), pods, "good")] == ["r-1"]
    assert in_the_way(workload("DaemonSet"), pods, "good") == []
    assert in_the_way(workload("StatefulSet"), pods, "") == []


def test_with_on_delete_one_pod_that_serves_goes_at_a_time() -> None:
    spec = {"updateStrategy": {"type": "OnDelete"}}
    names = ["r-0", "r-1"]
    serving = [pod(name, "bad") for name in names]
    found = in_the_way(workload("StatefulSet", spec=spec), serving, "good")
    assert [each["metadata"]["name"] for each in found] == ["r-1"]
    missing = in_the_way(workload("StatefulSet", spec=spec), serving[:1], "good")
    assert missing == [], "while one is missing, no other goes"


def test_selectors_become_a_query() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "records"}, "matchExpressions": expressions}
    assert selector_of({"spec": {"selector": selector}}) == "app=records,tier in (a,b),!old"
