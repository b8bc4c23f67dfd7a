"""Rights in a cluster, made from what actions declare."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rights import (
    CLUSTER,
    NAMESPACE,
    RIGHTS,
    bindings,
    rights_of,
    roles,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._playbook_actions import actions_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import collection_root

ROOT = collection_root()
RUNBOOKS = sorted(path.parent.name for path in (ROOT / "runbooks").glob("*/runbook.yml"))


def _reaches_a_cluster(path: Path, seen: set[Path]) -> bool:
    """Whether a file imports the client, by whatever it imports."""
    if path in seen or not path.is_file():
        return False
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    if re.search(r"plugin_utils\._kubernetes_client import", text):
        return True
    names = re.findall(r"plugins\.plugin_utils\.(\w+) import", text)
    return any(_reaches_a_cluster(ROOT / "plugins" / "plugin_utils" / f"{name}.py", seen) for name in names)


def test_every_action_that_is_about_kubernetes_declares_its_rights() -> None:
    actions = {path.stem for path in (ROOT / "plugins" / "action").glob("kubernetes_*.py")}
    assert actions <= set(RIGHTS)
    assert all(_reaches_a_cluster(ROOT / "plugins" / "action" / f"{name}.py", set()) for name in RIGHTS)


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_runbook_looks_and_checks(runbook: str) -> None:
    actions = actions_of(runbook)
    assert {"diagnose", "validate_services", "run_close"} <= set(actions)
    made = roles(runbook.replace("_", "-"), rights_of(actions))
    assert made[0]["metadata"]["name"] == f"codeblue-{runbook.replace('_', '-')}"
    wanted = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    assert wanted in made[0]["rules"]
    assert not any("*" in str(rule) for each in made for rule in each["rules"])


def test_a_right_is_optional_when_no_action_insists_on_it() -> None:
    together = {(each.resource, each.optional): each.verbs for each in rights_of(["diagnose", "kubernetes_restore"])}
    assert together["secrets", False] == ("create", "get", "patch"), "the restore needs what the look can do without"
    (only,) = [each for each in rights_of(["diagnose"]) if each.resource == "secrets"]
    assert only.optional
    least = roles("look", rights_of(["diagnose"]), optional=False)
    assert not [rule for each in least for rule in each["rules"] if "secrets" in rule["resources"]]


def test_bindings_are_in_the_namespaces_and_one_is_in_the_cluster() -> None:
    made = roles("x", rights_of(["kubernetes_rollback"]))
    assert [each["metadata"]["name"] for each in made] == ["codeblue-x", "codeblue-x-cluster"]
    assert {each.scope for each in rights_of(["kubernetes_rollback"])} == {NAMESPACE, CLUSTER}
    found = bindings(made, ["b", "a", "b"], "ops:codeblue")
    assert [(each["kind"], each["metadata"].get("namespace")) for each in found] == [
        ("RoleBinding", "a"),
        ("RoleBinding", "b"),
        ("ClusterRoleBinding", None),
    ]
    assert found[0]["subjects"] == [{"kind": "ServiceAccount", "namespace": "ops", "name": "codeblue"}]
    assert bindings(made, ["a"], "alice")[0]["subjects"][0]["kind"] == "User"


def test_a_playbook_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match="nowhere"):
        actions_of("nowhere")
