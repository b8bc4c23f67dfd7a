"""What a snapshot keeps of objects, in which order they are made again, and how they are named; pure."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import (
    ObjectName,
    as_bytes,
    kept,
    kept_by_controller,
    kind_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import (
    shown_object,
    without_values,
)


def live(kind: str, **fields: t.Any) -> dict[str, t.Any]:
    """An object as a server returns it."""
    metadata = {
        "name": "one",
        "namespace": "clinic",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl"}],
        "finalizers": ["x/y"],
        "annotations": {"deployment.kubernetes.io/revision": "3", "team": "ours"},
    }
    return {"kind": kind, "metadata": metadata, "status": {"ready": 1}, **fields}


def test_what_the_server_manages_is_left_out() -> None:
    found = kept(live("ConfigMap", data={"a": "1"}), kind_of("ConfigMap"))
    assert found == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "namespace": "clinic", "annotations": {"team": "ours"}},
        "data": {"a": "1"},
    }
    assert as_bytes(found) == as_bytes(dict(reversed(found.items())))


@pytest.mark.parametrize(("address", "stays"), [("10.0.0.1", False), ("None", True)])
def test_a_headless_service_stays_one(address: str, stays: bool) -> None:
    spec = {"clusterIP": address, "clusterIPs": [address], "healthCheckNodePort": 1, "ports": [{"nodePort": 30000}]}
    found = kept(live("Service", spec=spec), kind_of("Service"))["spec"]
    assert ("clusterIP" in found) == stays and found["ports"] == [{"nodePort": 30000}]
    assert "healthCheckNodePort" not in found and spec["clusterIP"] == address


def test_a_job_gets_another_selector_and_a_claim_another_volume() -> None:
    labels = {"batch.kubernetes.io/controller-uid": "u", "job-name": "one", "app": "ai"}
    template = {"metadata": {"labels": labels}, "spec": {}}
    job = kept(live("Job", spec={"selector": {"matchLabels": labels}, "template": template}), kind_of("Job"))
    assert job["spec"] == {"template": {"metadata": {"labels": {"app": "ai"}}, "spec": {}}}
    claim = kept(live("PersistentVolumeClaim", spec={"volumeName": "v"}), kind_of("PersistentVolumeClaim"))
    assert claim["spec"] == {}


def test_who_keeps_an_object() -> None:
    owned = live("Secret")
    owned["metadata"]["ownerReferences"] = [{"kind": "Certificate", "name": "web", "controller": True}]
    assert kept_by_controller(owned) == "Certificate web"
    owned["metadata"]["ownerReferences"][0].pop("controller")
    assert kept_by_controller(owned) == ""
    assert kept_by_controller(live("Secret", type="kubernetes.io/service-account-token"))


def test_what_others_refer_to_is_made_first() -> None:
    names = ["Deployment/ai", "Ingress/web", "Secret/keys", "ServiceAccount/ai", "ConfigMap/a"]
    kinds = [each.kind for each in sorted(ObjectName.parse(text) for text in names)]
    assert kinds == ["ServiceAccount", "Secret", "ConfigMap", "Deployment", "Ingress"]


@pytest.mark.parametrize("text", ["Secret", "Secret/", "Pod/x", "Secret/../x"])
def test_a_wrong_name_is_said(text: str) -> None:
    with pytest.raises(BadInput):
        ObjectName.parse(text)


def test_no_value_of_a_secret_is_shown() -> None:
    secret = live("Secret", data={"key": "b3BlbiBzZXNhbWU="})
    secret["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "b3BlbiBzZXNhbWU="
    template = {"spec": {"containers": [{"env": [{"name": "A", "value": "b3BlbiBzZXNhbWU="}], "args": ["-v"]}]}}
    deployment = live("Deployment", spec={"template": template})
    for found in (secret, deployment):
        assert "b3BlbiBzZXNhbWU=" not in str(shown_object(found, b"salt"))
        examined = without_values(found, b"salt")
        assert "b3BlbiBzZXNhbWU=" not in str(examined) and examined["metadata"]["managedFields"]
    assert without_values(deployment, b"salt")["spec"]["template"]["spec"]["containers"][0]["args"] == ["-v"]
