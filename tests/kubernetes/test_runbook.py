"""A whole runbook on Kubernetes, by the command: called for, planned, run, validated, recorded. Pods are simulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import WORKLOAD_RESOURCES
from cluster import Cluster, Namespace
from runbook_site import RunbookSite, Site, login

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.mark.parametrize(("tag", "cause"), [("bad", "image_unavailable"), ("crash", "release_crashing")])
def test_a_bad_version_is_rolled_back(
    cluster: Cluster, namespace: Namespace, tmp_path: Path, tag: str, cause: str
) -> None:
    login(namespace)
    user = f"operator-{namespace.name}"
    site = Site(tmp_path, namespace, cluster.audited(user))
    namespace.set_image("Deployment", "login", tag)
    namespace.until_pods("login", {tag: [False, False]})
    code, planned = site.codeblue("plan")
    assert code == 0, planned[-1]
    assert any(f"login: {cause}" in str(each.get("summary")) for each in planned), planned
    asked = [each for each in cluster.own.audited() if each["user"] == user]
    assert asked and not [each for each in asked if each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert code == 0, lines[-1]
    assert lines[-1]["outcome"] == "recovered" and lines[-1]["first_action_seconds"] > 0
    namespace.serves("Deployment", "login", "3.8")
    (bad,) = site.bad_versions("login")
    assert bad.startswith(f"pause:{tag}+")
    print(f"{cause}: first change after {lines[-1]['first_action_seconds']} s of {lines[-1]['seconds']} s")
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "nothing_to_do"


def test_a_healthy_login_is_left_alone(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    user = f"healthy-{namespace.name}"
    code, lines = Site(tmp_path, namespace, cluster.audited(user)).codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "nothing_to_do", lines[-1]
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]


def test_a_secret_that_is_missing_is_named(namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    wanted = [{"secretRef": {"name": "database"}}, {"configMapRef": {"name": "extras", "optional": True}}]
    change = [{"op": "add", "path": "/spec/template/spec/containers/0/envFrom", "value": wanted}]
    namespace.client.patch(WORKLOAD_RESOURCES["Deployment"], "login", namespace.name, change)
    # The node is simulated: it would start a pod whose Secret is missing.
    namespace.set_image("Deployment", "login", "crash")
    namespace.until_pods("login", {"crash": [False, False]})
    code, lines = Site(tmp_path, namespace).codeblue("run")
    assert code == 1 and lines[-1]["outcome"] == "failed_safe", lines[-1]
    assert "configuration_missing: Secret database, which its template wants" in lines[-1]["error"]
    assert namespace.image("Deployment", "login") == "crash"


def test_a_database_that_says_nothing_of_itself_is_left_to_a_person(namespace: Namespace, tmp_path: Path) -> None:
    variables = {**namespace.variables("Deployment", "records"), "codeblue_kind": "database"}
    site = RunbookSite(tmp_path, {"records": variables}, "data_corruption_detected")
    code, lines = site.codeblue("run", "--because", "somebody says so")
    assert code == 1 and "write codeblue_kubernetes.database" in lines[-1]["error"], lines[-1]
