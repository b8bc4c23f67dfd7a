"""The clinic as objects of Kubernetes: read from the files of this package, with images and secrets put in."""

from __future__ import annotations

import base64
import copy
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    AUTOSCALERS,
    CONFIG_MAPS,
    JOBS,
    SECRETS,
    SERVICES,
    WORKLOAD_RESOURCES,
    Resource,
)

RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses")
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets")
#: Every kind that the lab makes, or that a fault or a recovery may leave in its namespace.
RESOURCES: Mapping[str, Resource] = {
    "Secret": SECRETS,
    "ConfigMap": CONFIG_MAPS,
    "Service": SERVICES,
    **WORKLOAD_RESOURCES,
    "HorizontalPodAutoscaler": AUTOSCALERS,
    "Job": JOBS,
    "ResourceQuota": RESOURCE_QUOTAS,
    "NetworkPolicy": NETWORK_POLICIES,
    "Ingress": INGRESSES,
    "PodDisruptionBudget": DISRUPTION_BUDGETS,
}
MADE_BY = ("codeblue.recovery/made-by", "lab")
#: Services in the inventory to the file, workload and Service of theirs.
SERVICE_NAMES = {"patient_db": "patient-db", "auth": "auth", "records": "records", "ai": "ai", "gateway": "gateway"}
_FILES = Path(__file__).parent / "manifests"

Object = dict[str, t.Any]


@dataclass(frozen=True)
class Manifest:
    """One object as the lab wants it."""

    kind: str
    name: str
    body: Object

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def resource(self) -> Resource:
        return RESOURCES[self.kind]


def read_manifests(image: str, secret: t.Callable[[str, str], str]) -> list[Manifest]:
    """All objects, those that others need first.

    :param image: comes before the name of each image.
    :param secret: gives the value of a key of a Secret.
    """
    found = []
    for path in sorted(_FILES.glob("*.yml")):
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found.append(_filled(body, image, secret))
    order = list(RESOURCES)
    return sorted(found, key=lambda each: order.index(each.kind))


def _filled(body: Object, image: str, secret: t.Callable[[str, str], str]) -> Manifest:
    body = copy.deepcopy(body)
    name = body["metadata"]["name"]
    body["metadata"].setdefault("labels", {})[MADE_BY[0]] = MADE_BY[1]
    if body["kind"] == "Secret":
        # As the API keeps it: so it can be compared, and put back as a whole.
        body["data"] = {key: _encoded(value or secret(name, key)) for key, value in body.pop("stringData").items()}
    for container in _containers(body):
        container["image"] = f"{image}/{container['image']}"
    return Manifest(body["kind"], name, body)


def _containers(body: Object) -> list[Object]:
    return list(body.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()))


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode("ascii")
