# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an API server whether a workload has a ready pod, and whether its Service leads to one."""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import WorkloadCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    ENDPOINT_SLICES,
    WORKLOAD_RESOURCES,
    Budget,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import (
    desired_and_ready,
    ready_endpoints,
    selecting_service,
)


def look_at(check: WorkloadCheck) -> Finding:
    """The finding; two questions to the API server at most."""
    try:
        client = KubernetesClient(ClusterAccess(check.kubeconfig, check.context), Budget(check.timeout))
        try:
            workload = client.get(WORKLOAD_RESOURCES[check.kind], check.name, check.namespace)
        except NotFound as error:
            return Finding("no_pod_ready", error.message)
        desired, ready = desired_and_ready(check.kind, workload)
        if not ready:
            return Finding("no_pod_ready", f"none of {desired} pods of {check.kind.lower()}/{check.name} is ready")
        if check.service is None:
            return Finding(None, f"{ready} of {desired} pods are ready")
        slices = client.list_all(ENDPOINT_SLICES, check.namespace, labels=selecting_service(check.service))
        endpoints = ready_endpoints(slices)
        if not endpoints:
            return Finding("no_endpoint", f"Service {check.service} leads to no pod, {ready} of {desired} are ready")
        return Finding(None, f"{ready} of {desired} pods are ready, {endpoints} get traffic")
    except CodeblueError as error:
        return Finding("api_unavailable", error.message)
