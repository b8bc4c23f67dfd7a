"""What the site's monitoring can tell of a service on a cluster, from its objects.

A signal tells in a few words what is not clear, never a value of a Secret.
"""

from __future__ import annotations

import base64
import binascii
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready

from codeblue.lab.kubernetes.manifests import SERVICE_NAMES, Manifest, Object

#: Signals of an intruder, asked of every service.
FOREIGN_PODS = "foreign_pods"
LEAKED_SECRETS = "leaked_secrets"
INTRUSION = (FOREIGN_PODS, LEAKED_SECRETS)
#: Signal of damaged data, asked of the database.
DATA_INTEGRITY = "data_integrity"
#: At the end of the name of the ConfigMap that says, where pods are simulated, what state the data are in.
CONTENTS = "-contents"
CLEAN = "clean"
#: How long people wait, asked of every service that speaks HTTP.
ANSWER_TIME = "answer_time"
#: An image of this tag answers late where pods are simulated.
SLOW_TAG = "slow"
# Shorter texts, such as "true", stand in places that have nothing to do with a Secret.
_LEAST_SECRET = 16
# What is too few pods for a moment has not filled any queue yet.
QUEUE_SECONDS = 2.0
#: Half as much again as is allowed.
LATE_SECONDS = 1.5


def foreign_pods(service: str, pods: Sequence[Object], services: Sequence[Object]) -> str:
    """Pods that take the traffic of a service and that no controller made."""
    selector = next(
        (each["spec"].get("selector") or {} for each in services if each["metadata"]["name"] == SERVICE_NAMES[service]),
        {},
    )
    foreign = [
        str(pod["metadata"]["name"])
        for pod in pods
        if selector and _fits(selector, pod) and not _is_made(pod) and not pod["metadata"].get("deletionTimestamp")
    ]
    return f"pod {', '.join(sorted(foreign)[:3])} takes its traffic and was made by no controller" if foreign else ""


def leaked_secrets(
    workload: Manifest, secrets: Sequence[Object], config_maps: Sequence[Object], references: Sequence[str]
) -> str:
    """ConfigMaps in which everybody who may read them finds a value that a Secret of the service holds now.

    :param references: names of the Secrets that its workload uses.
    """
    found = set()
    for secret in secrets:
        if secret["metadata"]["name"] not in references:
            continue
        for key, encoded in (secret.get("data") or {}).items():
            value = _decoded(encoded)
            if len(value) < _LEAST_SECRET:
                continue
            found |= {
                f"{key} of Secret {secret['metadata']['name']} stands in ConfigMap {each['metadata']['name']}"
                for each in config_maps
                if any(value in text for text in (each.get("data") or {}).values())
            }
    return "; ".join(sorted(found)[:3]) + (f", used by {workload.key}" if found else "")


def damaged_data(service: str, config_maps: Sequence[Object]) -> str:
    """What of the simulated data of a service is not clean."""
    name = f"{SERVICE_NAMES[service]}{CONTENTS}"
    states = [(each.get("data") or {}).get("state", CLEAN) for each in config_maps if each["metadata"]["name"] == name]
    return next((f"its data are {state}" for state in states if state != CLEAN), "")


class SimulatedAnswers:
    """How late a service would answer whose pods are simulated: by their images, and by how many there are."""

    def __init__(self) -> None:
        self._too_few_since: dict[str, float] = {}

    def wait_seconds(self, service: str, wanted: int, pods: Sequence[Object], now: float) -> float:
        """How long an answer takes.

        :param wanted: pods that carry the load of every day.
        :param pods: all that are in the namespace.
        :param now: of a clock that never goes back, seconds.
        """
        own = [each for each in pods if (each["metadata"].get("labels") or {}).get("app") == SERVICE_NAMES[service]]
        ready = [each for each in own if is_ready(each) and not each["metadata"].get("deletionTimestamp")]
        if any(str(pod["spec"]["containers"][0]["image"]).rpartition(":")[2] == SLOW_TAG for pod in ready):
            return LATE_SECONDS
        if len(ready) >= wanted:
            self._too_few_since.pop(service, None)
            return 0.0
        since = self._too_few_since.setdefault(service, now)
        return LATE_SECONDS if now - since >= QUEUE_SECONDS else 0.0


def secrets_of(workload: Mapping[str, t.Any]) -> list[str]:
    """Names of the Secrets that a workload of the lab uses."""
    containers = workload["spec"]["template"]["spec"]["containers"]
    return [
        str(reference["secretKeyRef"]["name"])
        for container in containers
        for variable in container.get("env") or ()
        if "secretKeyRef" in (reference := variable.get("valueFrom") or {})
    ]


def _fits(selector: Mapping[str, str], pod: Object) -> bool:
    return selector.items() <= (pod["metadata"].get("labels") or {}).items()


def _is_made(pod: Object) -> bool:
    return any(owner.get("controller") for owner in pod["metadata"].get("ownerReferences") or ())


def _decoded(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode()
    except (binascii.Error, UnicodeDecodeError):
        # Bytes that are no text cannot stand in the texts of a ConfigMap.
        return ""
