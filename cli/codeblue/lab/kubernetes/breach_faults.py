"""Somebody is inside of a service on a cluster, or holds what opens it. The service works on.

A run contains these and leaves the rest to a person, whose part is here too: `give_back` takes away what the run
leaves, and `not_contained` says, from the objects alone, what the run has not done.
"""

from __future__ import annotations

import base64
import typing as t
from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.manifests import MADE_BY, NETWORK_POLICIES
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.signals import FOREIGN_PODS, LEAKED_SECRETS, secrets_of

_RUNBOOK = "security_breach_response"
# Two commands, and what a person looks at between them is not among it.
_SECONDS = 90.0


@dataclass(frozen=True)
class Breach(ClusterFault):
    """What its kinds have in common: how far a run has to come."""

    left_to_person: t.ClassVar[bool] = True

    def not_contained(self, parts: ClusterParts) -> list[str]:
        policies = parts.client.list_all(NETWORK_POLICIES, parts.namespace)
        found = []
        for service in self.hits:
            workload = parts.workload_of(service)
            labels = workload.body["spec"]["template"]["metadata"]["labels"]
            if not any(_denies(each["spec"], labels) for each in policies):
                found.append(f"no policy cuts off {workload.key}")
            for name in secrets_of(workload.body):
                if parts.get("Secret", name)["data"] == parts.manifest("Secret", name).body["data"]:
                    found.append(f"Secret {name} has its old values")
        return found


@dataclass(frozen=True)
class StrayPod(Breach):
    """A pod with the labels of a service that no controller made: its Service leads to it.

    :param pod: its name.
    """

    pod: str = ""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            template = parts.workload_of(service).body["spec"]["template"]
            container = template["spec"]["containers"][0]
            body = {
                "metadata": {"name": self.pod, "labels": {**template["metadata"]["labels"], MADE_BY[0]: MADE_BY[1]}},
                # It has an image of the clinic, so that it comes up wherever the clinic does, and none of its secrets.
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{key: container[key] for key in ("name", "image", "ports")}],
                },
            }
            parts.create_pod(body)

    def give_back(self, parts: ClusterParts) -> None:
        parts.delete_pod(self.pod)

    def heal(self, parts: ClusterParts, facts: dict[str, object]) -> None:
        parts.delete_pod(self.pod)


@dataclass(frozen=True)
class LeakedSecret(Breach):
    """Somebody wrote down the value of a service's Secret in a ConfigMap, which more people may read.

    :param config_map: its name.
    """

    config_map: str = ""

    def damage(self, parts: ClusterParts) -> None:
        lines = []
        for service in self.hits:
            for name in secrets_of(parts.workload_of(service).body):
                for key, encoded in parts.get("Secret", name)["data"].items():
                    lines.append(f"{name} {key}={base64.b64decode(encoded).decode()}")
        parts.create("ConfigMap", {"metadata": {"name": self.config_map}, "data": {"notes.txt": "\n".join(lines)}})


BREACH_FAULTS: tuple[ClusterFault, ...] = (
    StrayPod(
        "records_stray_pod",
        "a pod that no controller made has the labels of records and takes its traffic",
        ("records",),
        _RUNBOOK,
        _SECONDS,
        signals=(FOREIGN_PODS,),
        pod="records-helper",
    ),
    LeakedSecret(
        "ai_secret_leaked",
        "the API key of ai stands in a ConfigMap that everybody may read",
        ("ai",),
        _RUNBOOK,
        _SECONDS,
        signals=(LEAKED_SECRETS,),
        config_map="ai-debugging",
    ),
)


def _denies(spec: dict[str, object], labels: dict[str, str]) -> bool:
    """Whether a policy selects the pods and lets nothing in or out."""
    selector = spec.get("podSelector")
    wanted = selector.get("matchLabels") or {} if isinstance(selector, dict) else {}
    kinds = spec.get("policyTypes")
    both = isinstance(kinds, list) and {"Ingress", "Egress"} <= set(kinds)
    return both and wanted.items() <= labels.items() and not spec.get("ingress") and not spec.get("egress")
