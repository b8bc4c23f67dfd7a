"""A bad version is left for the last good one, on each kind of workload, and never comes back; by real controllers.

Pods are simulated: what a kubelet would say of them follows from the tag of their image.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from account import Account
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import WORKLOAD_RESOURCES
from cluster import Cluster, Namespace

pytestmark = pytest.mark.kubernetes
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def account(namespace: Namespace, root: Path, kind: str = "Deployment", kubeconfig: Path | None = None) -> Account:
    return Account(root, {"records": namespace.variables(kind, "records", kubeconfig)})


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_bad_image_is_left(namespace: Namespace, tmp_path: Path, kind: str) -> None:
    namespace.workload(kind, "records", "3.8")
    namespace.serves(kind, "records", "3.8")
    namespace.set_image(kind, "records", "bad")
    stuck = {"Deployment": {"3.8": [True, True], "bad": [False]}, "StatefulSet": {"3.8": [True], "bad": [False]}}
    namespace.until_pods("records", stuck.get(kind, {"bad": [False]}))
    site = account(namespace, tmp_path, kind)
    played = site.roll_back(reason="its image cannot be pulled")
    assert played.code == 0, played.out
    namespace.serves(kind, "records", "3.8")
    (rolled,) = played.result["rolled_back"]
    assert rolled["from"].startswith("pause:bad+") and rolled["to"].startswith("pause:3.8+")
    assert played.result["changed"] and played.said["accepted_at"]
    assert site.bad_versions("records") == [rolled["from"]]
    print(f"{kind}: {played.said['seconds']} s, {played.result['calls']} calls")


def test_rolling_back_again_never_lands_on_a_bad_version(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    for tag in ("3.9", "3.10"):
        namespace.serves("Deployment", "records", "3.8" if tag == "3.9" else "3.9")
        namespace.set_image("Deployment", "records", tag)
    namespace.serves("Deployment", "records", "3.10")
    site = account(namespace, tmp_path)
    first = site.roll_back(reason="wrong answers")
    assert first.code == 0 and namespace.image("Deployment", "records") == "3.9", first.out
    again = site.roll_back(reason="wrong answers")
    assert again.code == 0 and not again.result["changed"], again.out
    assert "an earlier run went back to it, and works" in again.summary or "nothing to roll back" in again.summary
    assert namespace.image("Deployment", "records") == "3.9"
    left = site.roll_back(leave=first.result["rolled_back"][0]["to"], reason="this one too")
    assert left.code == 0 and namespace.image("Deployment", "records") == "3.8", left.out
    last = site.roll_back(leave=left.result["rolled_back"][0]["to"], reason="and this one")
    assert last.code != 0 and "no revision to go back to" in last.said["error"]
    namespace.serves("Deployment", "records", "3.8")


def test_a_version_that_does_not_come_up_either_is_left_for_the_one_before(
    namespace: Namespace, tmp_path: Path
) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    # Without this strategy, pods of the first version would serve on and be chosen at once.
    change = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
    namespace.client.merge(WORKLOAD_RESOURCES["Deployment"], "records", namespace.name, change)
    for tag in ("crash", "bad"):
        namespace.set_image("Deployment", "records", tag)
        namespace.until_pods("records", {tag: [False, False]})
    played = account(namespace, tmp_path).roll_back(reason="down")
    assert played.code == 0, played.out
    assert [each["to"].partition("+")[0] for each in played.result["rolled_back"]] == ["pause:crash", "pause:3.8"]
    namespace.serves("Deployment", "records", "3.8")
    assert len(account(namespace, tmp_path).bad_versions("records")) == 2


def test_check_mode_sends_no_write_and_shows_the_change_without_secrets(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    namespace.set_image("Deployment", "records", "bad")
    namespace.until_pods("records", {"3.8": [True, True], "bad": [False]})
    user = f"checker-{namespace.name}"
    site = account(namespace, tmp_path, kubeconfig=cluster.audited(user))
    played = site.roll_back("--check", "--diff", reason="bad")
    assert played.code == 0 and played.result["changed"], played.out
    assert "would roll Deployment records" in played.summary and "roll_back_1 to pause:3.8+" in played.summary
    removed = [line for line in played.out.splitlines() if line.startswith("-") and "pause:bad" in line]
    added = [line for line in played.out.splitlines() if line.startswith("+") and "pause:3.8" in line]
    assert removed and added and "hidden " in played.out
    assert "s3cret-of-old" not in played.out + str(played.result)
    asked = [each for each in cluster.own.audited() if each["user"] == user]
    assert asked and not [each for each in asked if each["verb"] in _WRITES], asked
    assert namespace.image("Deployment", "records") == "bad"
    done = site.roll_back(reason="bad")
    assert done.code == 0, done.out
    writes = [each for each in cluster.own.audited() if each["user"] == user and each["verb"] in _WRITES]
    assert [each["verb"] for each in writes] == ["patch"]


def test_the_roles_of_a_runbook_roll_back_too(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.serves("Deployment", "records", "3.8")
    namespace.set_image("Deployment", "records", "crash")
    namespace.until_pods("records", {"3.8": [True, True], "crash": [False]})
    played = account(namespace, tmp_path).roll_back(shape="roles")
    assert played.code == 0, played.out
    namespace.serves("Deployment", "records", "3.8")
    site = account(namespace, tmp_path)
    (run,) = site.store().runs()
    steps = [(each.action, each.outcome) for each in site.store().steps(run.run_id)]
    assert steps == [("choose_1", "ok"), ("roll_back_1", "ok"), ("prove_1", "ok")]


def test_without_a_run_nothing_is_changed(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("Deployment", "records", "3.8")
    namespace.set_image("Deployment", "records", "bad")
    played = account(namespace, tmp_path).roll_back(shape="foreign", reason="x")
    assert played.code != 0 and "no run is open for records in this process" in played.said["error"]
    assert played.said["exit_code"] == 3 and namespace.image("Deployment", "records") == "bad"
