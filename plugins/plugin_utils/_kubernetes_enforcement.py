# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who in a cluster enforces NetworkPolicies, and which policies of other kinds may let traffic through beside them.

An API server takes policies whether or not anybody enforces them. What runs on the nodes is known by name only, so that
the answer is a hint: it can say that nobody does, it proves nothing.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    WORKLOAD_RESOURCES,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import KubernetesError, NotFound

# By the beginning of the name of their DaemonSet.
_ENFORCING = {
    "calico-node": "Calico",
    "canal": "Calico",
    "cilium": "Cilium",
    "antrea-agent": "Antrea",
    "weave-net": "Weave Net",
    "kube-router": "kube-router",
    "ovnkube": "OVN-Kubernetes",
    "ovn-kubernetes": "OVN-Kubernetes",
    "kube-ovn": "Kube-OVN",
    "azure-npm": "Azure NPM",
    "kube-network-policies": "kube-network-policies",
}
_NOT_ENFORCING = {"kube-flannel": "Flannel"}
_PLACES = ("kube-system", "calico-system", "kube-flannel", "cilium")
# Their rules allow beside those of NetworkPolicies.
_OTHERS = {
    "CiliumNetworkPolicy": Resource("cilium.io", "v2", "ciliumnetworkpolicies"),
    "Calico NetworkPolicy": Resource("crd.projectcalico.org", "v1", "networkpolicies"),
}


@dataclass(frozen=True)
class Enforcement:
    """What can be told.

    :param by: who enforces policies; empty when nobody is known to.
    :param not_by: a network that is known to be there and does not; empty otherwise.
    :param unknown: why nothing can be told; empty otherwise.
    :param others: kinds of policies of which some are in the namespace.
    """

    by: str = ""
    not_by: str = ""
    unknown: str = ""
    others: tuple[str, ...] = field(default=())

    @property
    def said(self) -> str:
        """For people."""
        if self.by:
            said = f"{self.by} runs in the cluster, which enforces policies"
        elif self.not_by:
            said = f"{self.not_by} runs in the cluster, which does not enforce policies"
        else:
            said = f"whether anything enforces policies is not known ({self.unknown})"
        more = ", ".join(self.others)
        return said + (f"; {more} of the namespace may let traffic through: look at them" if more else "")


def look_for_enforcement(client: KubernetesClient, namespace: str) -> Enforcement:
    """Look who runs on the nodes; what may not be read makes it unknown and fails nothing.

    :param namespace: whose policies of other kinds are looked for.
    """
    others = tuple(name for name, resource in _OTHERS.items() if _any(client, resource, namespace))
    names, unknown = _names(client)
    for known, by in ((_ENFORCING, True), (_NOT_ENFORCING, False)):
        found = _named(known, names)
        if found:
            return Enforcement(by=found, others=others) if by else Enforcement(not_by=found, others=others)
    return Enforcement(unknown=unknown or "no network that is known by name runs there", others=others)


def _names(client: KubernetesClient) -> tuple[list[str], str]:
    found: list[str] = []
    for place in _PLACES:
        try:
            listed = client.list_all(WORKLOAD_RESOURCES["DaemonSet"], place)
        except KubernetesError as error:
            return [], error.message
        found += [str(each["metadata"]["name"]) for each in listed]
    return found, ""


def _named(known: Mapping[str, str], names: list[str]) -> str:
    return next((said for begin, said in known.items() for name in names if name.startswith(begin)), "")


def _any(client: KubernetesClient, resource: Resource, namespace: str) -> bool:
    try:
        found: list[dict[str, t.Any]] = client.list_all(resource, namespace)
    except NotFound:
        return False
    except KubernetesError:
        # Who may not read them has to hear that there may be some.
        return True
    return bool(found)
