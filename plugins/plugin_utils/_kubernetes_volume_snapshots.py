# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CSI snapshots of the volumes of a workload, where its cluster knows them."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    WORKLOAD_RESOURCES,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, Forbidden, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import selector_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

VOLUME_SNAPSHOTS = Resource("snapshot.storage.k8s.io", "v1", "volumesnapshots")


def take_volume_snapshots(
    client: KubernetesClient, place: KubernetesPlatform, snapshot_class: str, run_id: str
) -> tuple[list[str], str]:
    """Ask for a snapshot of each claim of its pods; safe to repeat within a run.

    The driver takes them in the background; a database that is cut off from its writers is still meanwhile.

    :returns: their names, and what became of it in words.
    """
    try:
        client.list_all(VOLUME_SNAPSHOTS, place.namespace, page=1)
    except NotFound:
        return [], "no volume snapshots: the cluster has no VolumeSnapshots"
    except Forbidden as error:
        return [], f"no volume snapshots: {error.message}"
    made = []
    for claim in _claims(client, place):
        name = f"codeblue-{run_id.lower()}-{claim}"[:253]
        manifest = {
            "apiVersion": f"{VOLUME_SNAPSHOTS.group}/{VOLUME_SNAPSHOTS.version}",
            "kind": "VolumeSnapshot",
            "metadata": {"name": name, "labels": {"codeblue.recovery/run": run_id.lower()}},
            "spec": {"volumeSnapshotClassName": snapshot_class, "source": {"persistentVolumeClaimName": claim}},
        }
        # With one of this name an attempt that was cut off has asked for it.
        with contextlib.suppress(Conflict):
            client.create(VOLUME_SNAPSHOTS, place.namespace, manifest)
        made.append(name)
    if not made:
        return [], "no volume snapshots: its pods have no claims"
    return made, f"snapshots of {len(made)} volumes were asked for: {', '.join(made[:5])}"


def _claims(client: KubernetesClient, place: KubernetesPlatform) -> list[str]:
    workload = client.get(WORKLOAD_RESOURCES[place.workload.kind], place.workload.name, place.namespace)
    pods: list[Mapping[str, t.Any]] = client.list_all(PODS, place.namespace, labels=selector_of(workload))
    found = {
        str(volume["persistentVolumeClaim"]["claimName"])
        for pod in pods
        for volume in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
    return sorted(found)
