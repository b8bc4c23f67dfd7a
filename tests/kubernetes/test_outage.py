"""Several workloads are away, each for a reason of its own, and come back in the order of their dependencies."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    PODS,
    SERVICES,
    WORKLOAD_RESOURCES,
)
from cluster import Cluster, Namespace
from runbook_site import RunbookSite, service

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
STATEFUL, STATELESS = "StatefulSet", "Deployment"


def describe(namespace: Namespace, kind: str, name: str, what: str, **more: t.Any) -> dict[str, t.Any]:
    settings = {"service": name, **more.pop("settings", {})}
    found = namespace.variables(kind, name, more.pop("kubeconfig", None))
    return {
        **found,
        "codeblue_kind": what,
        "codeblue_kubernetes": {**found["codeblue_kubernetes"], **settings},
        **more,
    }


def make(namespace: Namespace, kind: str, name: str, tag: str = "3.8") -> None:
    # All at once: no pod of the version before is left to serve.
    spec: dict[str, t.Any] = {"strategy": {"type": "Recreate"}} if kind == STATELESS else {}
    namespace.workload(kind, name, tag, **spec)
    service(namespace, name)
    namespace.serves(kind, name, tag)


def scale(namespace: Namespace, kind: str, name: str, replicas: int) -> None:
    namespace.client.merge(WORKLOAD_RESOURCES[kind], name, namespace.name, {"spec": {"replicas": replicas}})
    if not replicas:
        namespace.until_pods(name, {})


def note_replicas(namespace: Namespace, kind: str, name: str) -> None:
    change = {"metadata": {"annotations": {"codeblue.recovery/replicas": "2"}}}
    namespace.client.merge(WORKLOAD_RESOURCES[kind], name, namespace.name, change)


def test_everything_comes_back_in_the_order_of_dependencies(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    make(namespace, STATEFUL, "db")
    for name, tag in (("api", "behind-db"), ("login", "3.8"), ("web", "3.8")):
        make(namespace, STATELESS, name, tag)
    note_replicas(namespace, STATEFUL, "db")
    # The database is scaled away; a restart of the API meets that; the login gets a release that nobody pushed; the
    # front end is scaled away and its Service led to a release that is not there.
    scale(namespace, STATEFUL, "db", 0)
    for pod in namespace.client.list_all(PODS, namespace.name, labels="app=api"):
        namespace.client.delete(PODS, pod["metadata"]["name"], namespace.name, pod["metadata"]["uid"])
    namespace.until_pods("api", {"behind-db": [False, False]})
    namespace.set_image(STATELESS, "login", "bad")
    namespace.until_pods("login", {"bad": [False, False]})
    scale(namespace, STATELESS, "web", 0)
    wrong = {"spec": {"selector": {"app": "web", "version": "next"}}}
    namespace.client.merge(SERVICES, "web", namespace.name, wrong)
    user = f"outage-{namespace.name}"
    config = cluster.audited(user)
    site = RunbookSite(
        tmp_path,
        {
            "web": describe(
                namespace,
                STATELESS,
                "web",
                "service",
                kubeconfig=config,
                settings={"replicas": 2},
                codeblue_depends_on=["api"],
            ),
            "api": describe(namespace, STATELESS, "api", "service", kubeconfig=config, codeblue_depends_on=["db"]),
            "login": describe(namespace, STATELESS, "login", "auth", kubeconfig=config, codeblue_depends_on=["db"]),
            "db": describe(namespace, STATEFUL, "db", "database", kubeconfig=config),
        },
        "complete_system_outage",
    )
    code, planned = site.codeblue("plan")
    assert code == 0, planned[-1]
    said = " ".join(str(each.get("summary")) for each in planned)
    assert "scale from 0 to 2" in said and "again when" in said, said
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-4:])
    namespace.until_pods("db", {"3.8": [True, True]})
    namespace.until_pods("api", {"behind-db": [True, True]})
    namespace.until_pods("login", {"3.8": [True, True]})
    namespace.until_pods("web", {"3.8": [True, True]})
    assert namespace.client.get(SERVICES, "web", namespace.name)["spec"]["selector"] == {"app": "web"}
    assert [action for action, _outcome in site.steps("api")] == ["decide_1", "restart"]
    assert [action for action, outcome in site.steps("login") if outcome == "ok"][-1] == "prove_1"
    assert ("select", "ok") in site.steps("web") and site.steps("web")[-1] == ("prove_scale", "ok")
    run = max(site.store().runs(), key=lambda each: each.run_id)
    order = [
        each.target for each in site.store().steps(run.run_id) if each.action == "decide_1" and each.stage == "workload"
    ]
    assert order[0] == "db" and order[-1] == "web" and sorted(order[1:3]) == ["api", "login"]
    print(f"four workloads: first change after {lines[-1]['first_action_seconds']} s of {lines[-1]['seconds']} s")


def test_a_database_comes_back_where_that_is_safe(namespace: Namespace, tmp_path: Path) -> None:
    make(namespace, STATEFUL, "db")
    note_replicas(namespace, STATEFUL, "db")
    scale(namespace, STATEFUL, "db", 0)
    site = RunbookSite(tmp_path, {"db": describe(namespace, STATEFUL, "db", "database")}, "database_connection_failure")
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-4:])
    namespace.serves(STATEFUL, "db", "3.8")
    # An image that cannot be pulled has written nothing; a process that ran may have changed files.
    namespace.set_image(STATEFUL, "db", "bad")
    namespace.until_pods("db", {"3.8": [True], "bad": [False]})
    scale(namespace, STATEFUL, "db", 0)
    scale(namespace, STATEFUL, "db", 2)
    namespace.until_pods("db", {"bad": [False]})
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", json.dumps(lines[-4:])
    namespace.serves(STATEFUL, "db", "3.8")
    scale(namespace, STATEFUL, "db", 0)
    namespace.set_image(STATEFUL, "db", "crash")
    scale(namespace, STATEFUL, "db", 2)
    namespace.until_pods("db", {"crash": [False]})
    code, lines = site.codeblue("run")
    assert code == 1 and "release_crashing" in lines[-1]["error"], lines[-1]
    assert "may have written its files" in lines[-1]["error"] and namespace.image(STATEFUL, "db") == "crash"
