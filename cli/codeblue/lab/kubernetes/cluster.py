"""Which cluster a lab is on: by which account it is reached, whether it may be broken, and what of it is real."""

from __future__ import annotations

import datetime as dt
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    NAMESPACES,
    Budget,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

LAB_LABEL = "codeblue.recovery/lab"
# What plays the kubelet of a node says so.
SIMULATED_LABEL = "simulated"
NODES = Resource("", "v1", "nodes", namespaced=False)
_LEASES = Resource("coordination.k8s.io", "v1", "leases")
_LEASE_NAMESPACE = "kube-node-lease"
# A kubelet renews its lease every ten seconds.
_HEARTBEAT_SECONDS = 60.0
_SECONDS = 180.0
_HINT = "look at --context, or set KUBECONFIG"


@dataclass(frozen=True)
class LabCluster:
    """One cluster by one account.

    :param kubeconfig: None for the usual one: several files in `KUBECONFIG`, or the account of a pod.
    :param context: None where the account is that of a pod.
    """

    kubeconfig: str | None
    context: str | None

    @classmethod
    def current(cls, context: str | None = None) -> LabCluster:
        """The cluster of a context; the name of the current one is kept, as another one may be current later.

        :raises BadInput: there is no such context.
        """
        from kubernetes import config as official_config

        file = ClusterAccess().file
        if file is None:
            return cls(None, context)
        try:
            contexts, active = official_config.list_kube_config_contexts(file)
        except (official_config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{file}: no cluster is described there", _HINT) from error
        names = [str(each["name"]) for each in contexts or ()]
        chosen = context or (str(active["name"]) if active else None)
        if chosen not in names:
            raise BadInput(f"{file}: there is no context {chosen!r}", f"choose of: {', '.join(names)}")
        single = os.pathsep not in file
        return cls(str(Path(file).expanduser().absolute()) if single else None, chosen)

    def client(self, seconds: float = _SECONDS) -> KubernetesClient:
        """For one task.

        :param seconds: for all its questions together.
        """
        return KubernetesClient(ClusterAccess(self.kubeconfig, self.context), Budget(seconds))

    def require_lab(self, client: KubernetesClient) -> None:
        """:raises Refused: nobody has said that this cluster may be broken."""
        try:
            labels = client.get(NAMESPACES, "kube-system")["metadata"].get("labels") or {}
        except NotFound:
            labels = {}
        if labels.get(LAB_LABEL) != "true":
            raise Refused(
                f"the cluster of context {self.context} is not marked as a lab",
                f"when it may be broken: kubectl label namespace kube-system {LAB_LABEL}=true",
            )


def has_kubelets(nodes: t.Sequence[t.Mapping[str, t.Any]], leases: t.Sequence[t.Mapping[str, t.Any]]) -> bool:
    """Whether what runs on the nodes is real: decided by what is seen.

    A real node says which kubelet it has, renews its lease, and does not carry the label of a simulator. Where some
    are real and some are not, a pod may be on either.
    """
    now = dt.datetime.now(dt.UTC)
    alive = {
        str(lease["metadata"]["name"])
        for lease in leases
        if (at := (lease.get("spec") or {}).get("renewTime"))
        and (now - _moment(at)).total_seconds() < _HEARTBEAT_SECONDS
    }
    real = [
        node["metadata"]["name"] in alive
        and (node["metadata"].get("labels") or {}).get(SIMULATED_LABEL) != "true"
        and bool(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion"))
        for node in nodes
    ]
    return bool(real) and all(real)


def look_for_kubelets(client: KubernetesClient) -> bool:
    """Ask the cluster, see `has_kubelets`."""
    return has_kubelets(client.list_all(NODES), client.list_all(_LEASES, _LEASE_NAMESPACE))


def cordoned(client: KubernetesClient) -> list[str]:
    """The nodes that take no pods."""
    return sorted(each["metadata"]["name"] for each in client.list_all(NODES) if each["spec"].get("unschedulable"))


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
