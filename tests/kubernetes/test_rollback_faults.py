"""What goes wrong on the way: a server that refuses, restarts or loses answers, a killed action, a vanishing place."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from account import Account
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    NAMESPACES,
    WORKLOAD_RESOURCES,
    Budget,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import ApiUnavailable
from cluster import Cluster, Namespace
from faulty_proxy import Fault, FaultyProxy

pytestmark = pytest.mark.kubernetes
CONFIG_MAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]


@pytest.fixture
def broken(namespace: Namespace) -> Namespace:
    """A Deployment whose new version does not come up."""
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    namespace.set_image("Deployment", "records", "bad")
    namespace.until_pods("records", {"3.8": [True, True], "bad": [False]})
    return namespace


def through(proxy: FaultyProxy, cluster: Cluster, name: str) -> Path:
    return cluster.own.token_kubeconfig(name, cluster.token(), proxy.url)


def account(namespace: Namespace, root: Path, kubeconfig: Path | None = None) -> Account:
    return Account(root, {"records": namespace.variables("Deployment", "records", kubeconfig)})


def test_a_rollback_goes_through_429_5xx_and_lost_answers(cluster: Cluster, broken: Namespace, tmp_path: Path) -> None:
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        proxy.next("GET", Fault(429, {"Retry-After": "0"}), Fault(503), Fault(0), Fault(500))
        proxy.next("PATCH", Fault(503), Fault(passes=True))
        played = account(broken, tmp_path, through(proxy, cluster, f"faulty-{broken.name}")).roll_back(reason="bad")
    assert played.code == 0, played.out
    assert played.result["changed"] and played.said["accepted_at"]
    # One was refused, the answer of the second was lost; the object itself said that it had been done.
    assert proxy.seen.count("PATCH") == 3
    broken.serves("Deployment", "records", "3.8")


def test_retry_after_is_kept(cluster: Cluster, namespace: Namespace) -> None:
    waited: list[float] = []
    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        access = ClusterAccess(str(through(proxy, cluster, f"waits-{namespace.name}")))
        client = KubernetesClient(access, Budget(30.0), sleep=waited.append)
        proxy.next("GET", Fault(429, {"Retry-After": "3"}), Fault(429))
        assert client.get(NAMESPACES, namespace.name)["metadata"]["name"] == namespace.name
    assert waited[0] == 3.0 and 0 < waited[1] < 1.0 and client.calls == 3


def test_an_expired_token_is_loaded_anew_once(cluster: Cluster, namespace: Namespace) -> None:
    own, name = cluster.own, f"token-{namespace.name}"
    with FaultyProxy(own.url, str(own.authority)) as proxy:
        config = own.token_kubeconfig(name, "expired", proxy.url)
        client = KubernetesClient(ClusterAccess(str(config)), Budget(10.0))
        good = cluster.token()

        def renew() -> None:
            own.token_kubeconfig(name, good, proxy.url)

        proxy.next("GET", Fault(401, then=renew))
        assert client.get(NAMESPACES, namespace.name)["metadata"]["name"] == namespace.name
        own.token_kubeconfig(name, "expired again", proxy.url)
        stale = KubernetesClient(ClusterAccess(str(config)), Budget(10.0))
        with pytest.raises(ApiUnavailable, match="does not accept the credentials") as caught:
            stale.get(NAMESPACES, namespace.name)
        assert stale.calls == 2 and "expired again" not in str(caught.value)


def with_program(cluster: Cluster, directory: Path, script: str) -> Path:
    """A kubeconfig whose credentials a shell script gives."""
    program = directory / "give-token"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    config = yaml.safe_load(cluster.own.token_kubeconfig(f"program-{directory.name}", "none").read_text())
    version = "client.authentication.k8s.io/v1"
    config["users"][0]["user"] = {"exec": {"apiVersion": version, "command": str(program)}}
    file = directory / "program.kubeconfig"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def credential(token: str) -> str:
    """What such a program writes; good for an hour, as it says."""
    ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"token": token, "expirationTimestamp": ends}
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def test_a_credential_program_that_hangs_ends_the_step_in_one_line(
    cluster: Cluster, broken: Namespace, tmp_path: Path
) -> None:
    began = time.monotonic()
    played = account(broken, tmp_path, with_program(cluster, tmp_path, "sleep 600")).roll_back(reason="bad")
    assert played.code != 0 and time.monotonic() - began < 80
    assert "the credential program give-token gave nothing within 10 s" in played.said["error"], played.said
    assert broken.image("Deployment", "records") == "bad"


def test_a_token_of_a_program_that_is_refused_is_asked_for_anew(
    cluster: Cluster, broken: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "first").write_text(credential("revoked"), encoding="utf-8")
    (tmp_path / "later").write_text(credential(cluster.token()), encoding="utf-8")
    script = f"cd {tmp_path}; echo x >> asked; if [ -e first ]; then cat first; rm first; else cat later; fi"
    played = account(broken, tmp_path, with_program(cluster, tmp_path, script)).roll_back(reason="bad")
    assert played.code == 0, played.out
    broken.serves("Deployment", "records", "3.8")
    assert len((tmp_path / "asked").read_text().split()) >= 2


def test_somebody_elses_new_version_is_not_overwritten(broken: Namespace) -> None:
    workload = broken.reader("Deployment", "records")
    seen = workload.read()
    broken.set_image("Deployment", "records", "3.9")
    with pytest.raises(Refused, match=r"somebody has rolled pause:3\.9\+\w+ out meanwhile, nothing was overwritten"):
        workload.switch(seen, seen.rollout.current.version, seen.rollout.earlier[0])
    assert broken.image("Deployment", "records") == "3.9"


def test_a_change_of_something_else_meanwhile_is_no_obstacle(broken: Namespace) -> None:
    workload = broken.reader("Deployment", "records")
    seen = workload.read()
    broken.client.merge(DEPLOYMENTS, "records", broken.name, {"spec": {"replicas": 3}})
    assert workload.switch(seen, seen.rollout.current.version, seen.rollout.earlier[0]).accepted_at
    broken.until_pods("records", {"3.8": [True, True, True]})
    # Done again it is seen to be done.
    assert workload.switch(seen, seen.rollout.current.version, seen.rollout.earlier[0]).accepted_at is not None
    assert workload.switch(workload.read(), "left", seen.rollout.earlier[0]).accepted_at is None


def test_the_api_server_restarts_in_between(cluster: Cluster, broken: Namespace, tmp_path: Path) -> None:
    own = cluster.own
    process = account(broken, tmp_path).start(reason="bad")
    own.stop_server()
    time.sleep(0.5)
    own.start_server()
    out, _nothing = process.communicate(timeout=60)
    assert process.returncode == 0, out
    broken.serves("Deployment", "records", "3.8")


def test_a_missing_right_is_one_line_and_nothing_is_changed(
    cluster: Cluster, broken: Namespace, tmp_path: Path
) -> None:
    reader = f"reader-{broken.name}"
    for kind, body in (
        ("roles", {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]}),
        (
            "rolebindings",
            {
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": reader},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": reader}],
            },
        ),
    ):
        manifest = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": reader}, **body}
        broken.client.create(Resource("rbac.authorization.k8s.io", "v1", kind), broken.name, manifest)
    played = account(broken, tmp_path, cluster.own.kubeconfig(reader, reader)).roll_back(reason="bad")
    assert played.code != 0
    line = f"the account may not patch deployments.apps records in namespace {broken.name}"
    assert played.said["error"] == line and "grant the verb patch" in played.said["hint"]
    assert broken.image("Deployment", "records") == "bad"


def test_a_namespace_that_is_being_deleted_is_named(broken: Namespace, tmp_path: Path) -> None:
    keep = {"apiVersion": "v1", "metadata": {"name": "keep", "finalizers": ["codeblue.recovery/test"]}}
    broken.client.create(CONFIG_MAPS, broken.name, keep)
    try:
        broken.remove()
        deadline = time.monotonic() + 20
        while broken.client.list_all(DEPLOYMENTS, broken.name):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        played = account(broken, tmp_path).roll_back(reason="bad")
        assert played.code != 0
        assert played.said["error"] == f"namespace {broken.name} is being deleted, nothing new can be made in it"
    finally:
        broken.client.merge(CONFIG_MAPS, "keep", broken.name, {"metadata": {"finalizers": None}})


def test_a_killed_action_is_resumed_with_the_same_choice(cluster: Cluster, broken: Namespace, tmp_path: Path) -> None:
    processes: list[int] = []

    def kill() -> None:
        """The patch has reached the server; neither its answer nor the result in the journal will be seen."""
        (run,) = site.store().runs()
        (step,) = site.store().open_intents(run.run_id)
        for pid in (*processes, step.worker.pid):
            os.kill(pid, signal.SIGKILL)

    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        site = account(broken, tmp_path, through(proxy, cluster, f"killed-{broken.name}"))
        proxy.next("PATCH", Fault(passes=True, then=kill))
        process = site.start(reason="bad")
        processes.append(process.pid)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        (run,) = site.store().runs()
        (step,) = site.store().open_intents(run.run_id)
        assert step.action == "roll_back_1" and broken.image("Deployment", "records") == "3.8"
        played = site.roll_back(run_id=run.run_id, reason="bad")
        assert played.code == 0, played.out
    assert proxy.seen.count("PATCH") == 1
    assert played.result["changed"] and len(played.result["rolled_back"]) == 1
    broken.serves("Deployment", "records", "3.8")
    assert len(site.bad_versions("records")) == 1


def test_a_quota_that_is_hit_ends_the_wait_with_its_reason(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    change = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
    namespace.client.merge(DEPLOYMENTS, "records", namespace.name, change)
    namespace.set_image("Deployment", "records", "bad")
    namespace.until_pods("records", {"bad": [False, False]})
    quota = {"apiVersion": "v1", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    namespace.client.create(Resource("", "v1", "resourcequotas"), namespace.name, quota)
    played = account(namespace, tmp_path).roll_back(reason="bad", most=1)
    assert played.code != 0
    assert "its pods cannot be made" in played.said["error"] and "exceeded quota" in played.said["error"]
    print(f"ended after {played.said['seconds']} s")
