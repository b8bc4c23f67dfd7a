"""Runbooks with the rights that `codeblue rights` prints for them, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Resource
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict
from cluster import AUDITED, Cluster, Namespace
from runbook_site import RunbookSite, Site, login

pytestmark = pytest.mark.kubernetes

_GROUP = "rbac.authorization.k8s.io"
_RESOURCES = {
    "ClusterRole": Resource(_GROUP, "v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(_GROUP, "v1", "clusterrolebindings", namespaced=False),
    "RoleBinding": Resource(_GROUP, "v1", "rolebindings"),
}


def _printed(runbook: str, namespace: str, user: str) -> list[dict[str, t.Any]]:
    command = [sys.executable, "-m", "codeblue", "rights", runbook, "-n", namespace, "--to", user, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, t.Any]] = json.loads(done.stdout.splitlines()[0])["objects"]
    return found


def _account(cluster: Cluster, namespace: Namespace, runbook: str) -> Path:
    """A kubeconfig of somebody who may do what is printed, and nothing else."""
    user = f"{runbook}-{namespace.name}".replace("_", "-")
    for each in _printed(runbook, namespace.name, user):
        # Roles and bindings of the whole cluster are there from another test, and its user is another one.
        if each["kind"] == "ClusterRoleBinding":
            each["metadata"]["name"] = user
        try:
            cluster.client().create(_RESOURCES[each["kind"]], each["metadata"].get("namespace", ""), each)
        except Conflict:
            assert each["kind"] == "ClusterRole", each
    return cluster.own.kubeconfig(user, user, f"{AUDITED}-only")


def _recovered(site: RunbookSite) -> None:
    code, lines = site.codeblue("run")
    assert (code, lines[-1]["outcome"]) == (0, "recovered"), lines[-1]
    said = json.dumps(lines)
    assert "forbidden" not in said.lower() and "is not allowed" not in said, said


def test_a_bad_version(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    site = Site(tmp_path, namespace, _account(cluster, namespace, "authentication_system_down"))
    namespace.set_image("Deployment", "login", "crash")
    namespace.until_pods("login", {"crash": [False, False]})
    _recovered(site)
    namespace.serves("Deployment", "login", "3.8")


def test_a_service_that_leads_nowhere(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import SERVICES

    login(namespace)
    site = Site(tmp_path, namespace, _account(cluster, namespace, "authentication_system_down"))
    change = [{"op": "add", "path": "/spec/selector/version", "value": "stable"}]
    namespace.client.patch(SERVICES, "login", namespace.name, change)
    _recovered(site)


def test_patients_in_a_log(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    import test_kubernetes_exposure as exposure

    exposure.records(namespace, "phi")
    exposure.ingress(namespace, "demo", {"/records": "records"})
    _recovered(exposure.Site(tmp_path, namespace, _account(cluster, namespace, "hipaa_compliance_violation")))


def test_what_is_not_granted_is_named(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    kubeconfig = cluster.own.kubeconfig(f"nobody-{namespace.name}", f"nobody-{namespace.name}", f"{AUDITED}-only")
    code, lines = Site(tmp_path, namespace, kubeconfig).codeblue("run")
    assert code != 0 and "list" in json.dumps(lines[-1]) and namespace.name in json.dumps(lines[-1]), lines[-1]
