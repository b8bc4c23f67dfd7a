# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the steps of an exposure on Kubernetes share: what was found, and how pods are asked for pages."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

_ASK_SECONDS = 2.0
_MOST_PODS = 20

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class ClusterExposure:
    """What the diagnosis found; see `_diagnosis_kubernetes_exposure`.

    :param pods: name to uid of those whose logs hold patients.
    :param ways: objects that lead to the service from outside and should not, as `Kind/name`.
    :param version: what has to be left; empty when no version is behind it.
    """

    pages: tuple[str, ...]
    pods: Mapping[str, str]
    ways: tuple[str, ...]
    version: str
    began_at: str | None
    detected_at: str | None

    @classmethod
    def of(cls, diagnosis: Mapping[str, t.Any]) -> ClusterExposure:
        """:raises BadInput: the diagnosis is not one of an exposure on Kubernetes."""
        found = diagnosis.get("exposure")
        if not isinstance(found, Mapping) or "ways" not in found:
            raise BadInput("the diagnosis says nothing about an exposure on Kubernetes", "give what diagnose found")
        return cls(
            pages=tuple(found["pages"]),
            pods=dict(found["pods"]),
            ways=tuple(found["ways"]),
            version=str(found["version"]),
            began_at=found.get("began_at"),
            detected_at=found.get("detected_at"),
        )


def ask_pods(
    client: KubernetesClient, place: KubernetesPlatform, pods: Iterable[Object], pages: Sequence[str]
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Page to pod to the status that it answers who says nothing about themselves, and what could not be asked.

    Pods that are not ready get no traffic and are left out.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready

    found: dict[str, dict[str, int]] = {page: {} for page in pages}
    problems: list[str] = []
    serving = [each for each in pods if is_ready(each)] if pages else []
    if len(serving) > _MOST_PODS:
        problems.append(f"the pods after the first {_MOST_PODS} were not asked for pages")
    for pod in serving[:_MOST_PODS]:
        name, port = str(pod["metadata"]["name"]), port_of(pod)
        for page in pages:
            status, why = client.answer_of_pod(name, port, place.namespace, page, _ASK_SECONDS)
            if status is None:
                problems.append(f"pod {name} could not be asked for {page}: {why}")
                break
            found[page][name] = status
    return found, problems


def port_of(pod: Object) -> str:
    """The first port that a pod names; 80 when it names none."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                return str(port["containerPort"])
    return "80"


def has_front(service: Service) -> bool:
    """Whether a check says how clients reach the service from outside of the cluster."""
    return any(isinstance(each, HttpCheck) for each in (*service.checks.shallow, *service.checks.deep))
