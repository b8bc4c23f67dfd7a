# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which NetworkPolicies let traffic to and from some pods, and how they are kept from doing so. Pure.

Policies only allow: one that denies wins against none that allows. So the ones that select the pods are narrowed until
they select all others, and not removed: pods that lose their last policy are open to everybody.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import (
    as_bytes,
    digest_of,
    kept,
    kind_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import CUT_OFF
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

#: On a policy that was narrowed: its selector of before and the digest of all of it, as JSON.
BEFORE = f"{CUT_OFF}-before"
#: On what was made for a quarantine: the service.
OF = f"{CUT_OFF}-of"
POLICY = "NetworkPolicy"
_OPPOSITE = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}

Object = Mapping[str, t.Any]
Expression = dict[str, t.Any]


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector fits these labels. An empty one fits all."""
    return all(_holds(each, labels) for each in expressions_of(selector))


def expressions_of(selector: Object | None) -> list[Expression]:
    """A selector as expressions alone, all of which have to hold."""
    found = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())
    ]
    return [*found, *(dict(each) for each in (selector or {}).get("matchExpressions") or ())]


def everything_but(selector: Object) -> list[list[Expression]]:
    """The pods that a selector does not fit, as selectors of which each pod fits exactly one.

    "Not (a and b)" cannot be said in one selector; "not a" and "a, but not b" can.
    """
    expressions = expressions_of(selector)
    return [[*expressions[:count], _not(each)] for count, each in enumerate(expressions)]


def narrowed(policy: Object, pods: Object) -> list[dict[str, t.Any]]:
    """The selectors with which a policy goes on for all pods but those of a workload.

    :param pods: the selector of the workload.
    :returns: the first is for the policy itself, more are for copies of it.
    """
    own = policy["spec"].get("podSelector") or {}
    kept_labels = {"matchLabels": own["matchLabels"]} if own.get("matchLabels") else {}
    already = [dict(each) for each in own.get("matchExpressions") or ()]
    return [{**kept_labels, "matchExpressions": [*already, *part]} for part in everything_but(pods)]


def policies_that_select(policies: Sequence[Object], labels: Mapping[str, str]) -> list[Object]:
    """Those that allow something to or from pods with these labels, by name; those of a quarantine are left out."""
    return [
        each
        for each in sorted(policies, key=lambda one: str(one["metadata"]["name"]))
        # One that denies selects them too.
        if CUT_OFF not in (each["metadata"].get("annotations") or {})
        and selects(each["spec"].get("podSelector"), labels)
    ]


def noted(policy: Object) -> dict[str, t.Any]:
    """What stands on a policy that was set aside: its selector and digest of before, and for whom; else nothing."""
    text = (policy["metadata"].get("annotations") or {}).get(BEFORE)
    return dict(json.loads(text)) if text else {}


def is_set_aside(policy: Object, place: KubernetesPlatform) -> bool:
    """Whether it was set aside for this workload."""
    return any(each["of"] == label_of(place) for each in noted(policy).get("for") or ())


def set_aside(policy: Object, pods: Object, place: KubernetesPlatform) -> list[dict[str, t.Any]]:
    """The patch that narrows a policy; nothing where that was done.

    :param pods: the selector of the workload.
    """
    if is_set_aside(policy, place):
        return []
    selector = policy["spec"].get("podSelector") or {}
    note = noted(policy) or {"podSelector": selector, "sha256": digest_of(kept(policy, kind_of(POLICY))), "for": []}
    note["for"].append({"of": label_of(place), "pods": {"matchExpressions": expressions_of(pods)}})
    return _operations(policy, narrowed(policy, pods)[0], note)


def given_back(policy: Object, place: KubernetesPlatform) -> list[dict[str, t.Any]]:
    """The patch that undoes it, and leaves what was done for other workloads; nothing where nothing was done.

    :raises Refused: somebody has changed the selector since.
    """
    if not is_set_aside(policy, place):
        return []
    note = noted(policy)
    if not same_rules(policy["spec"].get("podSelector"), _narrowed_by(note)):
        name = policy["metadata"]["name"]
        raise Refused(
            f"NetworkPolicy {name}: somebody has changed its podSelector since, nothing was overwritten",
            f"its podSelector of before stands in its annotation {BEFORE}; mend it by hand, then remove the annotation",
        )
    note["for"] = [each for each in note["for"] if each["of"] != label_of(place)]
    return _operations(policy, _narrowed_by(note), note if note["for"] else None)


def is_as_before(policy: Object, before: Mapping[str, t.Any]) -> bool:
    """Whether a policy that was given back is what it was in every field.

    :param before: what was noted on it.
    """
    return digest_of(kept(policy, kind_of(POLICY))) == before.get("sha256")


def same_rules(one: t.Any, other: t.Any) -> bool:
    """Whether two parts of policies mean the same: the server leaves out what is empty."""
    return bool(_filled(one) == _filled(other))


def copy_of(policy: Object, selector: Object, number: int, place: KubernetesPlatform) -> dict[str, t.Any]:
    """A policy that does for some pods what the narrowed one does for others."""
    return {
        "apiVersion": kind_of(POLICY).api_version,
        "kind": POLICY,
        "metadata": {
            "name": f"{policy['metadata']['name']}"[:200] + f"-codeblue-{number}",
            "labels": {OF: label_of(place)},
        },
        "spec": {**policy["spec"], "podSelector": selector},
    }


def deny_all(pods: Object, management: Sequence[str], place: KubernetesPlatform, reason: str) -> dict[str, t.Any]:
    """The policy that lets nothing to or from the pods of a workload but operators.

    :param pods: the selector of the workload.
    :param management: networks of operators, which may still come in.
    """
    way_in = [{"from": [{"ipBlock": {"cidr": each}} for each in management]}] if management else []
    return {
        "apiVersion": kind_of(POLICY).api_version,
        "kind": POLICY,
        "metadata": {
            "name": deny_name(place),
            "labels": {OF: label_of(place)},
            "annotations": {CUT_OFF: reason[:200]},
        },
        "spec": {
            "podSelector": {"matchExpressions": expressions_of(pods)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": way_in,
            "egress": [],
        },
    }


def deny_name(place: KubernetesPlatform) -> str:
    """The name of that policy."""
    return f"codeblue-quarantine-{place.workload.kind.lower()}-{place.workload.name}"[:253]


def label_of(place: KubernetesPlatform) -> str:
    """The workload as the value of a label."""
    return f"{place.workload.kind}.{place.workload.name}"[:63].rstrip("-._")


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _not(expression: Object) -> Expression:
    return {**expression, "operator": _OPPOSITE[expression["operator"]]}


def _narrowed_by(note: Mapping[str, t.Any]) -> Object:
    selector: Object = note["podSelector"]
    for each in note["for"]:
        selector = narrowed({"spec": {"podSelector": selector}}, each["pods"])[0]
    return selector


def _operations(policy: Object, selector: Object, note: Object | None) -> list[dict[str, t.Any]]:
    notes = {key: value for key, value in (policy["metadata"].get("annotations") or {}).items() if key != BEFORE}
    if note is not None:
        notes[BEFORE] = as_bytes(note).decode()
    # Never `remove`: repeated after an answer that was lost it finds nothing there, which is no conflict but an error.
    return [
        {"op": "add", "path": "/spec/podSelector", "value": dict(selector)},
        {"op": "add", "path": "/metadata/annotations", "value": notes},
    ]


def _filled(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        kept_values = {key: _filled(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept_values.items() if inner not in (None, {}, [])}
    return [_filled(each) for each in value] if isinstance(value, list) else value
