"""Objects as the API server lists them, cut down to what is looked at."""

from __future__ import annotations

import typing as t

Object = dict[str, t.Any]

LABELS = {"app": "records", "tier": "api"}


def owner(kind: str, name: str, uid: str) -> list[Object]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}]


def pod_spec(image: str = "records:1.1.0", **more: t.Any) -> Object:
    return {"containers": [{"name": "records", "image": image, **more}]}


def deployment(replicas: int = 2, ready: int = 2, updated: int = 2, **more: t.Any) -> Object:
    template = {"metadata": {"labels": dict(LABELS)}, "spec": more.pop("pod", pod_spec())}
    return {
        "kind": "Deployment",
        "metadata": {"name": "records", "uid": "d", "generation": 3},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "records"}}, "template": template, **more},
        "status": {"observedGeneration": 3, "readyReplicas": ready, "updatedReplicas": updated, "conditions": []},
    }


def replica_set(revision: int, template_hash: str) -> Object:
    return {
        "metadata": {
            "name": f"records-{template_hash}",
            "uid": f"rs-{template_hash}",
            "labels": {**LABELS, "pod-template-hash": template_hash},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": owner("Deployment", "records", "d"),
        }
    }


def pod(name: str, template_hash: str, ready: bool = True, state: Object | None = None, **more: t.Any) -> Object:
    """:param state: of its container, as in its status; None for one that runs."""
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {
                "name": "records",
                "ready": ready,
                "restartCount": more.pop("restarts", 0),
                "state": state or {"running": {}},
                "lastState": more.pop("last", {}),
            }
        ],
    }
    return {
        "metadata": {
            "name": name,
            "uid": f"pod-{name}",
            "labels": {**LABELS, "pod-template-hash": template_hash},
            "ownerReferences": owner("ReplicaSet", f"records-{template_hash}", f"rs-{template_hash}"),
        },
        "spec": {**pod_spec(), "nodeName": "node-1"},
        "status": {**status, **more},
    }


def service(**selector: str) -> Object:
    return {"metadata": {"name": "records"}, "spec": {"selector": selector or dict(LABELS)}}


def endpoint_slice(ready: int) -> Object:
    return {
        "metadata": {"name": "records-x", "labels": {"kubernetes.io/service-name": "records"}},
        "endpoints": [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": True}} for n in range(ready)],
    }
