"""Others who keep a workload: Flux and Argo CD are suspended, an operator is refused, an autoscaler is told.

Their objects are real ones of the API server; their controllers are not there.
"""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from account import Account
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    AUTOSCALERS,
    WORKLOAD_RESOURCES,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import TELL
from cluster import Namespace

pytestmark = pytest.mark.kubernetes
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]
KUSTOMIZATIONS = Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations")
APPLICATIONS = Resource("argoproj.io", "v1alpha1", "applications")


def define(namespace: Namespace, resource: Resource, kind: str) -> None:
    """Let the API server know a kind of objects, with any fields."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": resource.plural, "singular": kind.lower()}
    spec = {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]}
    manifest = {"apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": f"{resource.plural}.{resource.group}"}}
    try:
        namespace.client.create(DEFINITIONS, "", {**manifest, "spec": spec})
    except Conflict:
        return
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            namespace.client.list_all(resource, namespace.name)
            return
        except NotFound:
            time.sleep(0.1)
    raise AssertionError(f"{resource.full_name} is not served")


def broken(namespace: Namespace, root: Path, **metadata: t.Any) -> Account:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    namespace.client.merge(DEPLOYMENTS, "records", namespace.name, {"metadata": metadata})
    namespace.set_image("Deployment", "records", "bad")
    namespace.until_pods("records", {"3.8": [True, True], "bad": [False]})
    return Account(root, {"records": namespace.variables("Deployment", "records")})


def test_flux_is_suspended_and_what_gives_it_back_is_due(namespace: Namespace, tmp_path: Path) -> None:
    define(namespace, KUSTOMIZATIONS, "Kustomization")
    api = "kustomize.toolkit.fluxcd.io"
    manifest = {"apiVersion": f"{api}/v1", "kind": "Kustomization", "metadata": {"name": "clinic"}, "spec": {}}
    namespace.client.create(KUSTOMIZATIONS, namespace.name, manifest)
    site = broken(namespace, tmp_path, labels={f"{api}/name": "clinic", f"{api}/namespace": namespace.name})
    planned = site.roll_back("--check", reason="bad")
    assert f"suspend_kustomizations_{namespace.name}_clinic" in planned.summary
    played = site.roll_back(reason="bad")
    assert played.code == 0, played.out
    assert namespace.client.get(KUSTOMIZATIONS, "clinic", namespace.name)["spec"]["suspend"] is True
    undo = f"flux resume kustomization clinic -n {namespace.name}"
    assert played.result["due"][0].startswith(undo) and undo in played.summary
    (run,) = site.store().runs()
    notes = [str(each) for each in site.store().ledger_records(run.run_id)]
    assert any("due afterwards" in each and undo in each for each in notes)
    namespace.serves("Deployment", "records", "3.8")


def test_argo_cd_stops_syncing_and_its_policy_is_kept_in_the_undo(namespace: Namespace, tmp_path: Path) -> None:
    define(namespace, APPLICATIONS, "Application")
    automated = {"prune": True, "selfHeal": True}
    for name, tracked in (("apps", {}), ("clinic", {"argocd.argoproj.io/tracking-id": f"{namespace.name}_apps:a"})):
        manifest = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
        body = {
            "metadata": {"name": name, "annotations": tracked},
            "spec": {"syncPolicy": {"automated": automated}},
        }
        namespace.client.create(APPLICATIONS, namespace.name, {**manifest, **body})
    tracking = f"{namespace.name}_clinic:apps/Deployment:{namespace.name}/records"
    site = broken(namespace, tmp_path, annotations={"argocd.argoproj.io/tracking-id": tracking})
    played = site.roll_back(reason="bad")
    assert played.code == 0, played.out
    # The one that keeps the workload, and the one that keeps that one.
    for name in ("clinic", "apps"):
        policy = namespace.client.get(APPLICATIONS, name, namespace.name)["spec"]["syncPolicy"]
        assert "automated" not in policy
    assert len(played.result["due"]) == 2 and '"selfHeal": true' in played.result["due"][0]


def test_an_operator_is_refused_before_anything_is_changed(namespace: Namespace, tmp_path: Path) -> None:
    owner = namespace.client.create(
        Resource("", "v1", "configmaps"), namespace.name, {"apiVersion": "v1", "metadata": {"name": "clinic"}}
    )
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "clinic", "uid": owner["metadata"]["uid"]}
    site = broken(namespace, tmp_path, ownerReferences=[{**reference, "controller": True}])
    for options in (("--check",), ()):
        played = site.roll_back(*options, reason="bad")
        assert played.said["exit_code"] == 3, played.out
        assert "ConfigMap clinic keeps it" in played.said["error"] and "kubectl edit configmap" in played.said["hint"]
    assert namespace.image("Deployment", "records") == "bad"
    assert site.bad_versions("records") == []


def test_an_autoscaler_is_told_and_left_alone(namespace: Namespace) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "records"}
    scaler = {
        "metadata": {"name": "records"},
        "spec": {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4},
    }
    namespace.client.create(AUTOSCALERS, namespace.name, {"apiVersion": "autoscaling/v2", **scaler})
    namespace.workload("Deployment", "records", "3.8")
    workload = namespace.reader("Deployment", "records")
    (told,) = workload.reconcilers(workload.read())
    assert told.treatment == TELL
    assert told.told == (
        "HorizontalPodAutoscaler records (it names the workload in scaleTargetRef):"
        " it keeps the number of pods and leaves their version alone"
    )
