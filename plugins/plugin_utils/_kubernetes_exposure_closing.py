# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes ways to the pods of a workload on Kubernetes, each safe to repeat: a Service leads nowhere or is no more
reached from outside, an Ingress leads to it no more."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_change import Field, change_field
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    INGRESSES,
    SERVICES,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    Conflict,
    KubernetesError,
    NotFound,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import (
    CUT_OFF,
    selector_of_text,
    selector_text,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_ways_in import is_public, without_backends
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

#: The selector of a Service that leads nowhere while patients are exposed behind it.
CLOSED = selector_text({f"{CUT_OFF}-exposure": "closed"})
_MOST_CONFLICTS = 8

Object = Mapping[str, t.Any]


class ClosingWays:
    """The ways to the pods of one workload."""

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform) -> None:
        self._client = client
        self._place = place

    def lead_nowhere(self, service: str, before: str) -> float | None:
        """Have a Service select no pod.

        :param before: its selector as it was decided on.
        :returns: the Unix time at which that was accepted; None when it was so already.
        :raises Refused: somebody has changed its selector meanwhile.
        """
        return change_field(self._client, self._selector(service), before, CLOSED, selector_of_text(CLOSED))

    def lead_back(self, service: str, before: str) -> float | None:
        """Have it select again what it selected; see `lead_nowhere`."""
        return change_field(self._client, self._selector(service), CLOSED, before, selector_of_text(before))

    def keep_inside(self, service: str) -> float | None:
        """Have a Service be reached from inside of the cluster only."""

        def operations(live: Object) -> list[dict[str, t.Any]]:
            if not is_public(live):
                return []
            bounds = [
                {"op": "remove", "path": f"/spec/{key}"} for key in ("loadBalancerSourceRanges",) if key in live["spec"]
            ]
            kind = {"op": "add", "path": "/spec/type", "value": "ClusterIP"}
            return [kind, {"op": "add", "path": "/spec/externalIPs", "value": []}, *bounds]

        return self._change(SERVICES, service, operations)

    def leave_out(self, ingress: str, services: Sequence[str]) -> float | None:
        """Have an Ingress lead to these Services no more; it is deleted when nothing else is in it."""
        try:
            live = self._client.get(INGRESSES, ingress, self._place.namespace)
            if without_backends(live, services) is None:
                self._client.delete(INGRESSES, ingress, self._place.namespace, live["metadata"]["uid"])
                return time.time()
        except NotFound:
            return None

        def operations(seen: Object) -> list[dict[str, t.Any]]:
            spec = without_backends(seen, services)
            return [] if spec is None or spec == dict(seen["spec"]) else [{"op": "add", "path": "/spec", "value": spec}]

        return self._change(INGRESSES, ingress, operations)

    def _selector(self, service: str) -> Field:
        def text(manifest: Object) -> str:
            return selector_text(manifest["spec"].get("selector"))

        return Field(SERVICES, self._place.namespace, service, "/spec/selector", text)

    def _change(
        self, resource: Resource, name: str, operations: Callable[[Object], list[dict[str, t.Any]]]
    ) -> float | None:
        sent = False
        for _conflict in range(_MOST_CONFLICTS):
            live = self._client.get(resource, name, self._place.namespace)
            wanted = operations(live)
            if not wanted:
                # With an answer that was lost on the way, it was this very call that did it.
                return time.time() if sent else None
            version = live["metadata"]["resourceVersion"]
            only = {"op": "replace", "path": "/metadata/resourceVersion", "value": version}
            try:
                self._client.patch(resource, name, self._place.namespace, [only, *wanted])
                return time.time()
            except Conflict:
                sent = True
        raise KubernetesError(f"{resource.plural} {name}: is changed over and over by others", "find out who keeps it")


def way_back(place: KubernetesPlatform, service: str, before: str) -> str:
    """The command that gives a Service its selector from before, whole."""
    patch = json.dumps([{"op": "replace", "path": "/spec/selector", "value": selector_of_text(before)}], sort_keys=True)
    return f"kubectl -n {place.namespace} patch service {service} --type json -p '{patch}'"
