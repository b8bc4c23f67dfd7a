"""Policies that select pods are narrowed to all others, and given back; pure."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_policies as policies
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform, Workload

PODS: dict[str, t.Any] = {
    "matchLabels": {"app": "ai", "tier": "api"},
    "matchExpressions": [{"key": "canary", "operator": "DoesNotExist"}],
}
HERE = KubernetesPlatform("clinic", Workload("Deployment", "ai"))
THERE = KubernetesPlatform("clinic", Workload("Deployment", "records"))
# Every set of labels that could matter.
LABELS = [
    {key: value for key, value in zip(("app", "tier", "canary"), values, strict=True) if value}
    for values in itertools.product(("ai", "records", ""), ("api", "web", ""), ("yes", ""))
]


def policy(selector: dict[str, t.Any], **metadata: t.Any) -> dict[str, t.Any]:
    return {
        "kind": "NetworkPolicy",
        "metadata": {"name": "allow", "namespace": "clinic", "resourceVersion": "1", **metadata},
        "spec": {"podSelector": selector, "ingress": [{}], "policyTypes": ["Ingress"]},
    }


def patched(before: dict[str, t.Any], operations: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    metadata, spec = {**before["metadata"]}, {**before["spec"]}
    for each in operations:
        if each["path"] == "/spec/podSelector":
            spec["podSelector"] = each["value"]
        else:
            metadata["annotations"] = each["value"]
    return {**before, "metadata": metadata, "spec": spec}


def test_what_is_left_is_every_other_pod_once() -> None:
    for labels in LABELS:
        hits = [part for part in policies.everything_but(PODS) if policies.selects({"matchExpressions": part}, labels)]
        assert len(hits) == (0 if policies.selects(PODS, labels) else 1), labels


@pytest.mark.parametrize("selector", [{}, {"matchLabels": {"tier": "api"}}, PODS], ids=["all", "some", "these"])
def test_a_narrowed_policy_selects_what_it_did_but_for_the_pods(selector: dict[str, t.Any]) -> None:
    for labels in LABELS:
        wanted = policies.selects(selector, labels) and not policies.selects(PODS, labels)
        found = [part for part in policies.narrowed(policy(selector), PODS) if policies.selects(part, labels)]
        assert len(found) == int(wanted), labels


def test_a_policy_comes_back_as_it_was_in_any_order() -> None:
    before = policy({}, annotations={"owner": "us"})
    other = {"matchLabels": {"app": "records"}}
    first = patched(before, policies.set_aside(before, PODS, HERE))
    both = patched(first, policies.set_aside(first, other, THERE))
    assert policies.set_aside(both, PODS, HERE) == []
    left = patched(both, policies.given_back(both, HERE))
    assert policies.selects(left["spec"]["podSelector"], {"app": "ai", "tier": "api"})
    assert not policies.selects(left["spec"]["podSelector"], {"app": "records"})
    last = patched(left, policies.given_back(left, THERE))
    assert last == before and policies.is_as_before(last, policies.noted(left))
    assert policies.given_back(last, HERE) == []


def test_a_selector_that_somebody_changed_is_not_overwritten() -> None:
    before = policy({"matchLabels": {"app": "ai"}})
    aside = patched(before, policies.set_aside(before, PODS, HERE))
    aside["spec"]["podSelector"] = {"matchLabels": {"app": "other"}}
    with pytest.raises(Refused, match="somebody has changed its podSelector"):
        policies.given_back(aside, HERE)


def test_the_policy_that_denies_is_left_out_of_those_that_allow() -> None:
    deny = policies.deny_all(PODS, ["10.1.0.0/16"], HERE, "a test")
    assert deny["spec"]["egress"] == [] and deny["spec"]["ingress"] == [
        {"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}
    ]
    labels = {"app": "ai", "tier": "api"}
    assert policies.selects(deny["spec"]["podSelector"], labels)
    allowing = policy({})
    assert policies.policies_that_select([deny, allowing], labels) == [allowing]
    assert policies.deny_all(PODS, [], HERE, "a test")["spec"]["ingress"] == []
