# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The policies of a namespace while a workload of it is in quarantine: set aside, put, given back.

What has to be undone stands on the objects themselves, so that any later run, or a person, can give it back. Each
method is safe to repeat, and says whether it changed anything.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_policies as policies
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    WORKLOAD_RESOURCES,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    Conflict,
    KubernetesError,
    NotFound,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import kind_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import CUT_OFF
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import resource_of

_POLICIES = resource_of(kind_of(policies.POLICY))
_MOST_CONFLICTS = 8

Object = Mapping[str, t.Any]


class NamespaceQuarantine:
    """The quarantine of the workload of one service."""

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform) -> None:
        self._client = client
        self._place = place

    def policies(self) -> list[dict[str, t.Any]]:
        """All NetworkPolicies of the namespace."""
        return self._client.list_all(_POLICIES, self._place.namespace)

    def set_aside(self, name: str, pods: Object) -> bool:
        """Narrow a policy to all pods but these; what it would do for some of the others, copies of it do."""
        live = self._client.get(_POLICIES, name, self._place.namespace)
        # First the copies: in between a pod of another workload must not lose what lets it speak.
        made = False
        if not policies.is_set_aside(live, self._place):
            for number, selector in enumerate(policies.narrowed(live, pods)[1:], start=2):
                made |= self.put(policies.copy_of(live, selector, number, self._place))
        return self._change(name, lambda policy: policies.set_aside(policy, pods, self._place)) or made

    def give_back(self, name: str) -> bool:
        """Have a policy select again what it selected.

        :raises Refused: somebody has changed its selector meanwhile.
        """
        return self._change(name, lambda policy: policies.given_back(policy, self._place))

    def put(self, policy: Object) -> bool:
        """Make a policy, or have the one of its name be like it."""
        name, tried = str(policy["metadata"]["name"]), self._client.writes
        try:
            self._client.create(_POLICIES, self._place.namespace, policy)
            return True
        except Conflict:
            pass
        live = self._client.get(_POLICIES, name, self._place.namespace)
        if policies.OF not in (live["metadata"].get("labels") or {}):
            raise Refused(f"NetworkPolicy {name} is somebody else's, nothing was changed", "give it another name")
        if policies.same_rules(live["spec"], policy["spec"]):
            # With an answer that was lost on the way, it was this very call that made it.
            return self._client.writes - tried > 1
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec", "value": policy["spec"]},
        ]
        self._client.patch(_POLICIES, name, self._place.namespace, operations)
        return True

    def denied_since(self) -> str:
        """When the policy that denies was made."""
        found = self._client.get(_POLICIES, policies.deny_name(self._place), self._place.namespace)
        return str(found["metadata"]["creationTimestamp"])

    def remove(self, policy: Object) -> bool:
        """Remove this very policy; one that is gone is no error."""
        metadata = policy["metadata"]
        try:
            self._client.delete(_POLICIES, str(metadata["name"]), self._place.namespace, str(metadata["uid"]))
        except NotFound:
            return False
        return True

    # -- the mark on the workload ------------------------------------------------------------------------------

    def is_marked(self) -> bool:
        return CUT_OFF in (self._workload()["metadata"].get("annotations") or {})

    def mark(self, run_id: str) -> bool:
        """Say on the workload that it is cut off on purpose."""
        if self.is_marked():
            return False
        self._annotate(run_id)
        return True

    def unmark(self) -> bool:
        if not self.is_marked():
            return False
        self._annotate(None)
        return True

    def _annotate(self, value: str | None) -> None:
        change = {"metadata": {"annotations": {CUT_OFF: value}}}
        workload = self._place.workload
        self._client.merge(WORKLOAD_RESOURCES[workload.kind], workload.name, self._place.namespace, change)

    def _workload(self) -> dict[str, t.Any]:
        workload = self._place.workload
        return self._client.get(WORKLOAD_RESOURCES[workload.kind], workload.name, self._place.namespace)

    def _change(self, name: str, decide: Callable[[Object], Sequence[Mapping[str, t.Any]]]) -> bool:
        """Patch a policy by what is decided on it as it is; again when somebody else was quicker."""
        sent = False
        for _conflict in range(_MOST_CONFLICTS):
            live = self._client.get(_POLICIES, name, self._place.namespace)
            operations = decide(live)
            if not operations:
                return sent
            version = live["metadata"]["resourceVersion"]
            guard = {"op": "replace", "path": "/metadata/resourceVersion", "value": version}
            try:
                self._client.patch(_POLICIES, name, self._place.namespace, [guard, *operations])
                return True
            except Conflict:
                sent = True
        raise KubernetesError(f"NetworkPolicy {name}: is changed over and over by others", "find out who keeps it")
