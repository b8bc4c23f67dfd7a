"""Who uses a Secret is found in every way in which Kubernetes lets it be used; pure."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_consumers import consumers_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import read_kubernetes
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

NAME = "keys"
PODS: dict[str, dict[str, t.Any]] = {
    "env": {"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": NAME, "key": "a"}}}]}]},
    "envFrom": {"containers": [], "initContainers": [{"envFrom": [{"secretRef": {"name": NAME}}]}]},
    "volume": {"containers": [], "volumes": [{"secret": {"secretName": NAME}}]},
    "projected": {"containers": [], "volumes": [{"projected": {"sources": [{"secret": {"name": NAME}}]}}]},
    "csi": {"containers": [], "volumes": [{"csi": {"nodePublishSecretRef": {"name": NAME}}}]},
    "imagePullSecrets": {"containers": [], "imagePullSecrets": [{"name": NAME}]},
}


def workload(pod: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"metadata": {"name": "one"}, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize("way", PODS)
def test_each_way_is_found(way: str) -> None:
    (found,) = consumers_of([NAME], {"StatefulSet": [workload(PODS[way])]})
    assert (found.name, found.by, found.rolled) == ("one", (way,), way != "imagePullSecrets")
    assert consumers_of(["others"], {"StatefulSet": [workload(PODS[way])]}) == []
    cron_job = {"metadata": {"name": "one"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": PODS[way]}}}}}
    (told,) = consumers_of([NAME], {"CronJob": [cron_job]})
    assert not told.rolled and told.advice
    (alone,) = consumers_of([NAME], {"Pod": [{"metadata": {"name": "one"}, "spec": PODS[way]}]})
    assert not alone.rolled and "by hand" in alone.advice


def test_a_configuration_map_of_the_same_name_is_no_secret() -> None:
    pod = {"containers": [{"envFrom": [{"configMapRef": {"name": NAME}}]}], "volumes": [{"configMap": {"name": NAME}}]}
    assert consumers_of([NAME], {"Deployment": [workload(pod)]}) == []


def test_what_is_wrong_with_the_secrets_of_an_inventory_is_named_and_never_shown() -> None:
    problems = Problems("clinic")
    given = {
        "namespace": "clinic",
        "deployment": "ai",
        "secrets": {
            "keys": {"A": "generated", "B": "/etc/value", "C": "hunter2-itself", "d/e": "generated"},
            "none": {},
        },
    }
    platform = read_kubernetes(TypedMapping(given, "codeblue_kubernetes", problems), ())
    text = " ".join(problems.lines)
    assert "secrets.keys.C" in text and "secrets.keys.d/e" in text and "secrets.none" in text
    assert "hunter2" not in text and len(problems.lines) == 3
    assert platform.secrets[0].keys["B"] == "/etc/value"
