"""Pods that find no place, and pods that are lost: for a person, or for nobody."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

from codeblue.lab.injection import Injection
from codeblue.lab.kubernetes.cluster import NODES, cordoned
from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.manifests import MADE_BY, RESOURCE_QUOTAS
from codeblue.lab.kubernetes.parts import ClusterParts

_QUOTA = "used-up"


@dataclass(frozen=True)
class QuotaHit(ClusterFault):
    """The quota of the namespace lets no further pod be made, and the pods of a service are lost."""

    def damage(self, parts: ClusterParts) -> None:
        body = {"metadata": {"name": _QUOTA, "labels": {MADE_BY[0]: MADE_BY[1]}}, "spec": {"hard": {"pods": "1"}}}
        parts.client.create(RESOURCE_QUOTAS, parts.namespace, body)
        for service in self.hits:
            parts.delete_pods(parts.workload_of(service).name)


@dataclass(frozen=True)
class NodesDrained(ClusterFault):
    """Every node is cordoned, and the pods of a service are evicted: no node takes the next ones."""

    def inject(self, parts: ClusterParts) -> Injection:
        known = cordoned(parts.client)
        nodes = [str(each["metadata"]["name"]) for each in parts.client.list_all(NODES)]
        injection = self.strike(nodes=[name for name in nodes if name not in known])
        self.damage(parts)
        parts.wait_away(*self.hits)
        return injection

    def damage(self, parts: ClusterParts) -> None:
        for node in parts.client.list_all(NODES):
            if not node["spec"].get("unschedulable"):
                parts.client.merge(NODES, node["metadata"]["name"], "", {"spec": {"unschedulable": True}})
        for service in self.hits:
            parts.delete_pods(parts.workload_of(service).name)

    def heal(self, parts: ClusterParts, facts: dict[str, t.Any]) -> None:
        # An injection that was interrupted wrote no facts down: what was not cordoned before the lab is uncordoned.
        for name in facts.get("nodes") or [n for n in cordoned(parts.client) if n not in parts.state.unschedulable]:
            try:
                parts.client.merge(NODES, name, "", {"spec": {"unschedulable": None}})
            except NotFound:
                # The node itself is gone meanwhile.
                continue


@dataclass(frozen=True)
class PodsLost(ClusterFault):
    """All pods of a service are deleted. Their controller makes others: nothing is to be mended."""

    def inject(self, parts: ClusterParts) -> Injection:
        injection = self.strike()
        self.damage(parts)
        return injection

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            parts.delete_pods(parts.workload_of(service).name)


PLACE_FAULTS: tuple[ClusterFault, ...] = (
    QuotaHit("auth_quota_hit", "the quota of the namespace is used up, and the pods of auth are lost", ("auth",)),
    NodesDrained("auth_nodes_drained", "all nodes are cordoned, and the pods of auth are evicted", ("auth",)),
    PodsLost("auth_pods_lost", "all pods of auth are deleted; they come back by themselves", ("auth",)),
)
