"""How a lab on a cluster is right now, for people and for programs."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import NAMESPACES
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

from codeblue.lab.injection import active_faults
from codeblue.lab.kubernetes.cluster import look_for_kubelets
from codeblue.lab.kubernetes.manifests import SERVICE_NAMES
from codeblue.lab.kubernetes.objects import differences, digests, read_objects
from codeblue.lab.kubernetes.parts import ClusterParts


@dataclass(frozen=True)
class KubernetesLabStatus:
    """What `codeblue lab status --platform kubernetes` shows.

    :param running: its namespace is there.
    :param kubelets: what runs on the nodes is real.
    :param services: how many pods of each are ready, in words.
    :param changed: objects that are not as after `up`.
    """

    directory: str
    running: bool
    phase: str
    inventory: str
    context: str | None
    namespace: str
    image: str
    kubelets: bool
    services: dict[str, str]
    changed: list[str]
    active_faults: list[str]

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def look(parts: ClusterParts) -> KubernetesLabStatus:
    """Ask everything."""
    state = parts.state
    try:
        found = parts.client.get(NAMESPACES, state.namespace)
        running = found["metadata"]["uid"] == state.namespace_uid and state.phase == "ready"
    except NotFound:
        running = False
    services: dict[str, str] = {}
    changed: list[str] = []
    if running:
        objects = read_objects(parts.client, state.namespace)
        changed = differences(digests(objects), state.digests)
        services = {name: _pods(objects.get(parts.workload_of(name).key)) for name in SERVICE_NAMES}
    return KubernetesLabStatus(
        directory=str(parts.layout.root),
        running=running,
        phase=state.phase,
        inventory=str(parts.layout.inventory),
        context=state.context,
        namespace=state.namespace,
        image=state.image,
        kubelets=look_for_kubelets(parts.client),
        services=services,
        changed=changed,
        active_faults=active_faults(parts.layout),
    )


def _pods(workload: t.Mapping[str, t.Any] | None) -> str:
    if workload is None:
        return "missing"
    ready = int((workload.get("status") or {}).get("readyReplicas") or 0)
    image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return f"{ready} of {workload['spec'].get('replicas', 1)} pods ready, {image}"
