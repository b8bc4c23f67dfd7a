"""A workload that was scaled away, and a Service that leads nowhere, come back; by the command, on real controllers."""

from __future__ import annotations

import json
import os
import signal
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_change import Field, change_field
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    AUTOSCALERS,
    SERVICES,
    WORKLOAD_RESOURCES,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import selector_text
from cluster import Cluster, Namespace
from faulty_proxy import Fault, FaultyProxy
from runbook_site import Site, login

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]


def scale(namespace: Namespace, replicas: int) -> None:
    namespace.client.merge(DEPLOYMENTS, "login", namespace.name, {"spec": {"replicas": replicas}})
    namespace.until_pods("login", {"3.8": [True] * replicas} if replicas else {})


def selector(namespace: Namespace) -> dict[str, str]:
    return dict(namespace.client.get(SERVICES, "login", namespace.name)["spec"]["selector"])


def test_a_login_that_was_scaled_away_comes_back(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    user = f"scaler-{namespace.name}"
    config = cluster.audited(user)
    scale(namespace, 0)
    code, lines = Site(tmp_path, namespace, config).codeblue("run")
    assert code == 1 and "scaled_to_zero" in lines[-1]["error"], lines[-1]
    assert "Nobody wrote down how many pods it had" in lines[-1]["error"]
    site = Site(tmp_path, namespace, config, replicas=2)
    code, planned = site.codeblue("plan")
    assert code == 0 and any("scale from 0 to 2" in str(each.get("summary")) for each in planned), planned
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", lines[-1]
    namespace.until_pods("login", {"3.8": [True, True]})
    assert site.steps("login") == [("decide_1", "ok"), ("choose", "ok"), ("scale", "ok"), ("prove_scale", "ok")]
    print(f"first change after {lines[-1]['first_action_seconds']} s of {lines[-1]['seconds']} s")
    # The next time the number is known by what this run proved, to the plan as well.
    scale(namespace, 0)
    again = Site(tmp_path, namespace, config)
    code, planned = again.codeblue("plan")
    assert code == 0 and any("scale from 0 to 2" in str(each.get("summary")) for each in planned), planned
    code, lines = again.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", lines[-1]
    namespace.until_pods("login", {"3.8": [True, True]})


def test_the_bounds_of_an_autoscaler_are_kept(namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "login"}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3}
    manifest = {"apiVersion": "autoscaling/v2", "metadata": {"name": "login"}, "spec": spec}
    namespace.client.create(AUTOSCALERS, namespace.name, manifest)
    scale(namespace, 0)
    code, lines = Site(tmp_path, namespace, replicas=9).codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", lines[-1]
    namespace.until_pods("login", {"3.8": [True] * 3})


def test_a_selector_that_something_was_merged_into_is_replaced(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    login(namespace)
    user = f"router-{namespace.name}"
    wrong = {"app": "login", "version": "stable"}
    namespace.client.merge(SERVICES, "login", namespace.name, {"spec": {"selector": wrong}})
    # What was done by hand on that day: it changes nothing.
    namespace.client.merge(SERVICES, "login", namespace.name, {"spec": {"selector": {"app": "login"}}})
    assert selector(namespace) == wrong
    site = Site(tmp_path, namespace, cluster.audited(user))
    code, planned = site.codeblue("plan")
    assert code == 0 and any("traffic_misrouted" in str(each.get("summary")) for each in planned), planned
    assert not [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    code, lines = site.codeblue("run")
    assert code == 0 and lines[-1]["outcome"] == "recovered", lines[-1]
    assert selector(namespace) == {"app": "login"}
    assert site.steps("login") == [("decide_1", "ok"), ("choose", "ok"), ("select", "ok"), ("prove_select", "ok")]
    undo = site.decision("select")["undo"]
    patch = json.loads(undo.split("-p ")[1].strip("'"))
    namespace.client.patch(SERVICES, "login", namespace.name, patch)
    assert selector(namespace) == wrong


def test_a_killed_run_is_resumed_and_scales_once(cluster: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    login(namespace)
    scale(namespace, 0)

    def kill() -> None:
        """The patch has reached the server; neither its answer nor the result in the journal will be seen."""
        (run,) = site.store().runs()
        (step,) = site.store().open_intents(run.run_id)
        playbook = int(Path(f"/proc/{step.worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        for pid in (playbook, step.worker.pid):
            os.kill(pid, signal.SIGKILL)

    with FaultyProxy(cluster.own.url, str(cluster.own.authority)) as proxy:
        config = cluster.own.token_kubeconfig(f"killed-{namespace.name}", cluster.token(), proxy.url)
        site = Site(tmp_path, namespace, config, replicas=2)
        proxy.next("PATCH", Fault(passes=True, then=kill))
        code, lines = site.codeblue("run")
        assert code != 0, lines[-1]
        (run,) = site.store().runs()
        (step,) = site.store().open_intents(run.run_id)
        assert (step.stage, step.action) == ("scale", "scale")
        code, lines = site.resume(run.run_id)
    assert code == 0 and lines[-1]["outcome"] == "recovered", lines[-1]
    assert proxy.seen.count("PATCH") == 1
    wanted = ["decide_1", "choose", "scale", "prove_scale"]
    assert site.steps("login") == [(action, "ok") for action in wanted]
    namespace.until_pods("login", {"3.8": [True, True]})


def test_what_somebody_else_made_of_it_meanwhile_is_left(namespace: Namespace) -> None:
    login(namespace)

    def text(manifest: t.Mapping[str, t.Any]) -> str:
        return selector_text(manifest["spec"]["selector"])

    field = Field(SERVICES, namespace.name, "login", "/spec/selector", text)
    good = {"app": "login"}
    with pytest.raises(Refused, match="somebody has made selector app=login meanwhile"):
        change_field(namespace.client, field, "app=gone", "app=other", {"app": "other"})
    assert change_field(namespace.client, field, "app=gone", "app=login", good) is None
    assert change_field(namespace.client, field, "app=login", "app=other", {"app": "other"}) is not None
    assert selector(namespace) == {"app": "other"}
