"""`codeblue_kubernetes` becomes a typed place of a workload, and every mistake in it is one line with its key."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform, Workload

AWS = {"region": "eu-central-1"}
VARIABLES: dict[str, t.Any] = {
    "codeblue_environment": "lab",
    "codeblue_platform": "kubernetes",
    "codeblue_kind": "service",
    "codeblue_objectives": {"rto": "5m", "rpo": "0s"},
}


def load(**settings: t.Any) -> Service:
    return load_service("records", {**VARIABLES, "codeblue_kubernetes": settings}, {"records"})


def problems(**settings: t.Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load(**settings)
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("key", "kind"), [("deployment", "Deployment"), ("statefulset", "StatefulSet"), ("daemonset", "DaemonSet")]
)
def test_a_workload_of_each_kind_is_read(key: str, kind: str) -> None:
    service = load(namespace="clinic", **{key: "records.api"})
    assert service.require_kubernetes() == KubernetesPlatform("clinic", Workload(kind, "records.api"))
    assert str(service.require_kubernetes()) == f"{kind} records.api in namespace clinic"


def test_all_keys_are_read() -> None:
    found = load(
        namespace="clinic",
        deployment="records",
        service="records-api",
        kubeconfig="/etc/kube/c",
        context="south",
        replicas=3,
    ).require_kubernetes()
    assert (found.service, found.kubeconfig, found.context) == ("records-api", "/etc/kube/c", "south")
    assert found.replicas == 3 and load(namespace="clinic", deployment="a").require_kubernetes().replicas is None
    assert "codeblue_kubernetes.replicas: must be" in problems(namespace="clinic", deployment="a", replicas=0)[0]


def test_another_platform_is_told_apart() -> None:
    with pytest.raises(BadInput, match="records: is on platform kubernetes"):
        load(namespace="clinic", deployment="records").require_host()
    elsewhere = load_service("records", {**VARIABLES, "codeblue_platform": "aws", "codeblue_aws": AWS}, {"records"})
    with pytest.raises(BadInput, match=r"records: is on platform aws .*kubernetes only"):
        elsewhere.require_kubernetes()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"deployment": "a"}, "codeblue_kubernetes.namespace: is missing"),
        ({"namespace": "clinic"}, "codeblue_kubernetes.deployment: is missing, name one of deployment, "),
        (
            {"namespace": "clinic", "deployment": "a", "daemonset": "b"},
            "codeblue_kubernetes.daemonset: stands beside deployment, name exactly one of",
        ),
        ({"namespace": "Clinic", "deployment": "a"}, "codeblue_kubernetes.namespace: 'Clinic' is no name in"),
        ({"namespace": "clinic", "deployment": "a/b"}, "codeblue_kubernetes.deployment: 'a/b' is no name in"),
        ({"namespace": "clinic", "deployment": "a", "service": "a.b"}, "codeblue_kubernetes.service: 'a.b' is no"),
        ({"namespace": "clinic", "deployment": ["a"]}, "codeblue_kubernetes.deployment: must be a text"),
        ({"namespace": "clinic", "deployment": "a", "kubeconfig": "c"}, "codeblue_kubernetes.kubeconfig: 'c' is no"),
        ({"namespace": "clinic", "deployment": "a", "contxt": "c"}, "codeblue_kubernetes.contxt: is not a known key"),
    ],
)
def test_each_mistake_is_one_line(settings: dict[str, t.Any], line: str) -> None:
    found = problems(**settings)
    assert len(found) == 1 and found[0].startswith(f"records: {line}"), found


def test_without_the_mapping_one_line_says_so() -> None:
    with pytest.raises(BadInput) as caught:
        load_service("records", VARIABLES, {"records"})
    assert caught.value.message.splitlines() == ["records: codeblue_kubernetes: is missing, must be a mapping"]


def test_several_mistakes_are_told_together() -> None:
    found = problems(namespace="Clinic", context="", wrong=1)
    assert len(found) == 4
