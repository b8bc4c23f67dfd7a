"""How many pods a workload had, and by which selector it is reached."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import (
    ANNOTATION,
    replica_sources,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import (
    cut_off,
    last_good_route,
    selector_of_text,
    selector_text,
)
from kubernetes_objects import LABELS, Object, deployment, owner, service

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def workload(replicas: int = 0, **annotations: str) -> Object:
    found = deployment(replicas=replicas)
    found["metadata"]["annotations"] = annotations
    return found


def scaler(least: int, most: int, **metadata: t.Any) -> Object:
    target = {"kind": "Deployment", "name": "records"}
    spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most}
    return {"metadata": {"name": "records", **metadata}, "spec": spec}


@pytest.mark.parametrize(
    ("annotations", "scalers", "proven", "stated", "count"),
    [
        ({}, [], [], None, None),
        ({ANNOTATION: "3"}, [], ["5", "4"], 2, 5),
        ({ANNOTATION: "3"}, [], ["none"], 2, 3),
        ({ANNOTATION: "three"}, [], [], 2, 2),
        ({APPLIED: json.dumps({"spec": {"replicas": 4}})}, [], [], None, 4),
        ({APPLIED: json.dumps({"spec": {"replicas": 0}})}, [], [], None, None),
        ({APPLIED: "no json"}, [], [], None, None),
        ({}, [scaler(2, 6)], [], None, 2),
        ({ANNOTATION: "9"}, [scaler(2, 6)], [], None, 6),
    ],
)
def test_the_number_is_one_that_somebody_wrote_down(
    annotations: dict[str, str], scalers: list[Object], proven: list[str], stated: int | None, count: int | None
) -> None:
    found = replica_sources(workload(**annotations), scalers).known(proven, stated)
    assert (found.count if found is not None else None) == count


def test_an_autoscaler_rests_while_there_are_no_pods_and_who_made_it_does_not() -> None:
    assert replica_sources(workload(), [scaler(2, 6)]).owner == ""
    assert replica_sources(workload(1), [scaler(2, 6)]).owner == "HorizontalPodAutoscaler records"
    made = scaler(1, 6, ownerReferences=owner("ScaledObject", "records", "s"))
    assert replica_sources(workload(), [made]).owner == "ScaledObject records"
    other = {**scaler(2, 6), "spec": {**scaler(2, 6)["spec"], "scaleTargetRef": {"kind": "Deployment", "name": "x"}}}
    assert replica_sources(workload(1), [other]).owner == ""


def test_a_selector_has_one_text() -> None:
    assert selector_text({"b": "2", "a": ""}) == "a=,b=2"
    assert (
        selector_of_text("a=,b=2") == {"a": "", "b": "2"} and selector_of_text("") == {} and selector_text(None) == ""
    )


def test_a_route_fits_the_pods_of_now() -> None:
    wanted = workload()
    own = last_good_route(wanted, ["app=records,version=stable"])
    assert own is not None and own.selector == {"app": "records"}
    seen = last_good_route(wanted, ["app=records,version=stable", "tier=api"])
    assert seen is not None and seen.selector == {"tier": "api"}
    wanted["spec"]["selector"]["matchExpressions"] = [{"key": "tier", "operator": "Exists"}]
    narrow = last_good_route(wanted, [])
    assert narrow is not None and narrow.selector == LABELS


def test_what_is_cut_off_on_purpose_is_seen() -> None:
    assert cut_off(workload(), service()) == "" == cut_off(None)
    assert cut_off(workload(**{"codeblue.recovery/quarantine-run": "r"})) == "codeblue.recovery/quarantine-run"
    led = {"metadata": {}, "spec": {"selector": {"codeblue.recovery/quarantine": "x"}}}
    assert cut_off(None, led) == "codeblue.recovery/quarantine"
