"""The objects of a lab's namespace: what is there, how it differs from what was there after `lab up`, and the way back.

Compared are digests of what their authors wrote, so without what the API and its controllers add.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, KubernetesClient
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_jobs import RUN_LABEL

from codeblue.lab.kubernetes.manifests import RESOURCES, Manifest, Object

# Every namespace gets it.
_OF_THE_CLUSTER = frozenset(("ConfigMap/kube-root-ca.crt",))
_OF_CONTROLLERS = ("deployment.kubernetes.io/",)
# Given by the API; a Service that is made anew gets others.
_ASSIGNED = {"Service": ("clusterIP", "clusterIPs", "healthCheckNodePort")}
_BODIES = ("spec", "data", "binaryData", "type", "immutable")
_MOST_CONFLICTS = 5


def read_objects(client: KubernetesClient, namespace: str) -> dict[str, Object]:
    """By `Kind/name`, those of every kind that a lab, a fault or a recovery makes."""
    found = {}
    for kind, resource in RESOURCES.items():
        for each in client.list_all(resource, namespace):
            key = f"{kind}/{each['metadata']['name']}"
            if key not in _OF_THE_CLUSTER and not each["metadata"].get("ownerReferences"):
                found[key] = {**each, "kind": kind}
    return found


def digests(objects: Mapping[str, Object]) -> dict[str, str]:
    """One for each object."""
    return {key: digest(each) for key, each in sorted(objects.items())}


def digest(each: Object) -> str:
    """Of an object as its author wrote it."""
    body = {key: each[key] for key in _BODIES if each.get(key) is not None}
    if isinstance(body.get("spec"), dict):
        assigned = _ASSIGNED.get(each["kind"], ())
        body["spec"] = {key: value for key, value in body["spec"].items() if key not in assigned}
    metadata = {"labels": each["metadata"].get("labels") or {}, "annotations": _annotations(each)}
    text = json.dumps({**body, **metadata}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(now: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """One line for each object that is not as it was; names only."""
    return [
        *(f"{key} is missing" for key in wanted if key not in now),
        *(f"{key} is not as it was" for key in wanted if key in now and now[key] != wanted[key]),
        *(f"{key} was not there" for key in now if key not in wanted),
    ]


def put_back(
    client: KubernetesClient, namespace: str, manifests: Sequence[Manifest], wanted: Mapping[str, str]
) -> list[str]:
    """Bring all objects to what they were, and take away what was not there.

    :param wanted: their digests.
    :returns: the objects that were touched.
    """
    objects = read_objects(client, namespace)
    touched = []
    # First what may be in the way of the others: quotas, policies.
    for key, each in objects.items():
        if key not in wanted:
            _remove(client, namespace, each)
            touched.append(key)
    for pod in client.list_all(PODS, namespace, labels=RUN_LABEL):
        # What Jobs leave behind.
        _remove(client, namespace, {**pod, "kind": "Pod"})
    for manifest in manifests:
        there = objects.get(manifest.key)
        if there is None:
            client.create(manifest.resource, namespace, manifest.body)
        elif digest(there) != wanted.get(manifest.key):
            _replace(client, namespace, manifest, there)
        else:
            continue
        touched.append(manifest.key)
    return touched


def _replace(client: KubernetesClient, namespace: str, manifest: Manifest, there: Object) -> None:
    """Make it what the manifest says, or make it anew where the API does not let that be changed."""
    for _conflict in range(_MOST_CONFLICTS):
        operations: list[dict[str, t.Any]] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": there["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/metadata/labels", "value": manifest.body["metadata"]["labels"]},
            {"op": "add", "path": "/metadata/annotations", "value": _kept_annotations(there)},
        ]
        for key in _BODIES:
            if key in manifest.body:
                operations.append({"op": "add", "path": f"/{key}", "value": manifest.body[key]})
            elif there.get(key) is not None and key != "type":
                operations.append({"op": "remove", "path": f"/{key}"})
        try:
            client.patch(manifest.resource, manifest.name, namespace, operations)
            return
        except Conflict:
            # Its controller wrote the status meanwhile.
            there = client.get(manifest.resource, manifest.name, namespace)
        except NotFound:
            client.create(manifest.resource, namespace, manifest.body)
            return
    raise Conflict(f"{manifest.key} is changed over and over by others", "find out who keeps it")


def _remove(client: KubernetesClient, namespace: str, each: Object) -> None:
    try:
        client.delete(
            {**RESOURCES, "Pod": PODS}[each["kind"]], each["metadata"]["name"], namespace, each["metadata"]["uid"]
        )
    except (NotFound, Conflict):
        # It is gone, or another one has its name: that one is found by the proof.
        return


def _annotations(each: Object) -> dict[str, str]:
    found = each["metadata"].get("annotations") or {}
    return {key: value for key, value in found.items() if not key.startswith(_OF_CONTROLLERS)}


def _kept_annotations(each: Object) -> dict[str, str]:
    found = each["metadata"].get("annotations") or {}
    return {key: value for key, value in found.items() if key.startswith(_OF_CONTROLLERS)}
