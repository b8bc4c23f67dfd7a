"""How workloads, Services and what they need are read from the lists of a namespace."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    Missing,
    NamespaceObjects,
    look_at_service,
    look_at_workload,
    missing_references,
)
from kubernetes_objects import deployment, endpoint_slice, owner, pod, pod_spec, replica_set, service


def listed(**by_kind: t.Any) -> NamespaceObjects:
    return NamespaceObjects(by_kind)


def test_a_workload_that_does_not_exist_is_none() -> None:
    assert look_at_workload(listed(Deployment=[]), "Deployment", "records") is None
    assert look_at_service(listed(), "records", "records", "Deployment") is None
    assert missing_references(listed(), "Deployment", "records") == ()


def test_a_deployment_is_seen_with_the_pods_of_both_revisions() -> None:
    broken = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "records:bad"'}}
    objects = listed(
        Deployment=[deployment(ready=2, updated=1)],
        # Rolled back once before: the newest revision is told by its number, not by its age or place.
        ReplicaSet=[replica_set(7, "bbb"), replica_set(6, "aaa")],
        Pod=[
            pod("b1", "bbb", ready=False, state=broken),
            pod("a1", "aaa"),
            pod("a2", "aaa"),
            {**pod("x", "bbb"), "metadata": {"name": "x", "uid": "x", "labels": {"app": "records"}}},
        ],
    )
    look = look_at_workload(objects, "Deployment", "records")
    assert look is not None
    assert (look.revision, look.desired, look.ready, look.updated, look.complete) == ("bbb", 2, 2, 1, False)
    assert [each.name for each in look.pods] == ["a1", "a2", "b1"]  # a foreign pod with the same labels is not its own
    assert [(each.name, each.waiting) for each in look.current] == [("b1", "ImagePullBackOff")]
    assert "records:bad" in look.current[0].message


def test_what_every_container_waits_for_at_first_is_no_trouble() -> None:
    starting = {"waiting": {"reason": "ContainerCreating"}}
    objects = listed(
        Deployment=[deployment()],
        ReplicaSet=[replica_set(1, "aaa")],
        Pod=[pod("a1", "aaa", ready=False, state=starting)],
    )
    look = look_at_workload(objects, "Deployment", "records")
    assert look is not None and look.pods[0].waiting is None and not look.pods[0].crashes


@pytest.mark.parametrize(
    ("ready", "state", "restarts", "crashes"),
    [
        (False, {"waiting": {"reason": "CrashLoopBackOff"}}, 1, True),
        (False, {"terminated": {"exitCode": 1}}, 2, True),
        (False, {"running": {}}, 1, False),
        # It has ended before, and works now.
        (True, {"running": {}}, 9, False),
    ],
)
def test_a_crash_is_one_that_goes_on(ready: bool, state: dict[str, t.Any], restarts: int, crashes: bool) -> None:
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    objects = listed(
        Deployment=[deployment()],
        ReplicaSet=[replica_set(1, "aaa")],
        Pod=[pod("a1", "aaa", ready, state, restarts=restarts, last=last)],
    )
    look = look_at_workload(objects, "Deployment", "records")
    assert look is not None
    assert (look.pods[0].crashes, look.pods[0].ended) == (crashes, "OOMKilled")


def test_a_stateful_set_names_its_revision_in_its_pods() -> None:
    workload, owned = deployment(replicas=3, ready=2, updated=1), owner("StatefulSet", "records", "d")
    revisions = [
        {"metadata": {"name": f"records-{tail}", "ownerReferences": owned}, "revision": n}
        for n, tail in ((1, "old"), (2, "new"))
    ]
    pods = []
    for name, revision in (("records-0", "records-old"), ("records-2", "records-new")):
        each = pod(name, "")
        each["metadata"]["labels"] = {"controller-revision-hash": revision}
        each["metadata"]["ownerReferences"] = owner("StatefulSet", "records", "d")
        pods.append(each)
    look = look_at_workload(
        listed(StatefulSet=[workload], ControllerRevision=revisions, Pod=pods), "StatefulSet", "records"
    )
    assert look is not None
    assert look.revision == "records-new"
    assert [each.name for each in look.current] == ["records-2"]


def test_a_service_says_which_keys_of_its_selector_miss_the_pods() -> None:
    objects = listed(
        Deployment=[deployment()],
        Pod=[pod("a1", "aaa")],
        Service=[service(app="records", version="stable")],
        EndpointSlice=[endpoint_slice(0)],
    )
    look = look_at_service(objects, "records", "records", "Deployment")
    assert look is not None
    assert (look.missed, look.selects, look.endpoints) == (("version",), 0, 0)
    objects = listed(
        Deployment=[deployment()], Pod=[pod("a1", "aaa")], Service=[service()], EndpointSlice=[endpoint_slice(1)]
    )
    look = look_at_service(objects, "records", "records", "Deployment")
    assert look is not None
    assert (look.missed, look.selects, look.endpoints) == ((), 1, 1)


def test_missing_references_are_found_in_every_place_and_optional_ones_are_not() -> None:
    spec = pod_spec(
        envFrom=[{"secretRef": {"name": "database"}}, {"configMapRef": {"name": "extra", "optional": True}}],
        env=[
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "signing"}}},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
        ],
    )
    spec["initContainers"] = [{"name": "first", "image": "x", "envFrom": [{"configMapRef": {"name": "first"}}]}]
    spec["volumes"] = [
        {"name": "tls", "secret": {"secretName": "certificate", "items": [{"key": "tls.crt", "path": "c"}]}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "flags"}}]}},
        {"name": "none", "emptyDir": {}},
    ]
    objects = listed(
        Deployment=[deployment(pod=spec)],
        Secret=[{"metadata": {"name": "keys"}, "data": {"other": "eA=="}}, {"metadata": {"name": "certificate"}}],
        ConfigMap=[{"metadata": {"name": "settings"}, "data": {"mode": "x"}}],
    )
    assert set(missing_references(objects, "Deployment", "records")) == {
        Missing("ConfigMap", "first", None),
        Missing("Secret", "database", None),
        Missing("Secret", "keys", "signing"),
        Missing("Secret", "certificate", "tls.crt"),
        Missing("ConfigMap", "flags", None),
    }
