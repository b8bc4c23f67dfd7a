# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an API server whether a workload exposes patients: in the ends of its logs, or by a way in that nobody meant.

It says how many lines and which objects. That it finds nothing proves nothing: only the ends of logs are read, and a
node that does not answer for them is named in the detail.
"""

from __future__ import annotations

import secrets
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import ExposureCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    INGRESSES,
    SERVICES,
    WORKLOAD_RESOURCES,
    Budget,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_pod_logs import LogScan, PodLogs
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_ways_in import WayIn, unasked, ways_in
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform

_LAST_LINES = 500
_LAST_BYTES = 256 * 1024
_MOST_PODS = 10
# A node that does not answer for its logs does not use up the deadline of the check.
_PATIENCE = 1.0


def look_at(check: ExposureCheck) -> Finding:
    """The finding; a question for each log and four others."""
    try:
        client = KubernetesClient(
            ClusterAccess(check.place.kubeconfig, check.place.context), Budget(check.timeout), patience=_PATIENCE
        )
        found = [each.text for each in ways_nobody_meant(client, check.place)]
        logs = PodLogs(client, check.place)
        # Nobody compares the digests of this look with others.
        scan = LogScan(check.policy, secrets.token_bytes(32))
        for log in logs.read(logs.pods(), _LAST_BYTES, _LAST_LINES, _MOST_PODS):
            scan.add(log)
    except NotFound:
        return Finding(None, "there is no workload that could expose anything")
    except CodeblueError as error:
        return Finding("api_unavailable", error.message)
    found += scan.evidence()
    if found:
        return Finding("exposed", "; ".join(found)[:300])
    unseen = f"; not seen: {'; '.join(logs.left_out[:2])}" if logs.left_out else ""
    return Finding(None, f"nothing in the last lines of {scan.logs} logs{unseen}"[:300])


def ways_nobody_meant(client: KubernetesClient, place: KubernetesPlatform) -> list[WayIn]:
    """Ways in that the inventory does not name.

    :raises KubernetesError: they cannot be listed.
    """
    if place.ways_in is None:
        return []
    workload = client.get(WORKLOAD_RESOURCES[place.workload.kind], place.workload.name, place.namespace)
    labels: t.Mapping[str, str] = (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}
    services, ingresses = (client.list_all(each, place.namespace) for each in (SERVICES, INGRESSES))
    return unasked(ways_in(services, ingresses, labels), place.ways_in)
