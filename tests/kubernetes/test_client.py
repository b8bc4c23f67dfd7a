"""The client against a real API server: pages, conflicts, rights, restarts, and servers that do not answer."""

from __future__ import annotations

import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    NAMESPACES,
    WORKLOAD_RESOURCES,
    Budget,
    KubernetesClient,
    Resource,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    ApiUnavailable,
    Conflict,
    Forbidden,
    NotFound,
)
from cluster import Cluster, Namespace

pytestmark = pytest.mark.kubernetes
CONFIG_MAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = WORKLOAD_RESOURCES["Deployment"]


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_lists_are_read_page_by_page_and_calls_are_counted(namespace: Namespace) -> None:
    for number in range(7):
        namespace.client.create(CONFIG_MAPS, namespace.name, config_map(f"c{number}"))
    client = namespace.cluster.client()
    found = client.list_all(CONFIG_MAPS, namespace.name, page=3)
    names = {each["metadata"]["name"] for each in found}
    assert names >= {f"c{number}" for number in range(7)}
    assert (client.calls, client.writes) == (-(-len(found) // 3), 0)


def test_a_write_for_another_version_is_a_conflict(namespace: Namespace) -> None:
    seen = namespace.client.create(CONFIG_MAPS, namespace.name, config_map("flags", ai="on"))
    version = seen["metadata"]["resourceVersion"]
    namespace.client.merge(CONFIG_MAPS, "flags", namespace.name, {"data": {"other": "1"}})
    late = {"metadata": {"resourceVersion": version}, "data": {"ai": "off"}}
    with pytest.raises(Conflict, match=r"configmaps flags in namespace .* was changed by somebody else"):
        namespace.client.merge(CONFIG_MAPS, "flags", namespace.name, late)
    operations = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/data", "value": {}},
    ]
    with pytest.raises(Conflict):
        namespace.client.patch(CONFIG_MAPS, "flags", namespace.name, operations)
    assert namespace.client.get(CONFIG_MAPS, "flags", namespace.name)["data"] == {"ai": "on", "other": "1"}


def test_a_deletion_meets_only_the_object_that_was_meant(namespace: Namespace) -> None:
    uid = namespace.client.create(CONFIG_MAPS, namespace.name, config_map("one"))["metadata"]["uid"]
    with pytest.raises(Conflict):
        namespace.client.delete(CONFIG_MAPS, "one", namespace.name, "0b0c0d0e-0000-0000-0000-000000000000")
    namespace.client.delete(CONFIG_MAPS, "one", namespace.name, uid)
    with pytest.raises(NotFound, match="there is no configmaps one in namespace"):
        namespace.client.delete(CONFIG_MAPS, "one", namespace.name, uid)


def test_a_missing_right_is_named(namespace: Namespace) -> None:
    stranger = namespace.cluster.own.kubeconfig("stranger", "stranger")
    client = namespace.cluster.client(stranger)
    with pytest.raises(Forbidden) as caught:
        client.merge(DEPLOYMENTS, "records", namespace.name, {})
    assert caught.value.message == (f"the account may not patch deployments.apps records in namespace {namespace.name}")
    assert caught.value.hint is not None and "grant the verb patch on deployments.apps" in caught.value.hint
    with pytest.raises(Forbidden, match="the account may not list namespaces"):
        client.list_all(NAMESPACES)
    assert client.calls == 2


def test_a_server_that_takes_connections_and_never_answers_ends_in_the_budget(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "silent"
        config.write_text(
            '{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],'
            f' "clusters": [{{"name": "k", "cluster": {{"server": "http://127.0.0.1:{silent.getsockname()[1]}"}}}}],'
            ' "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}',
            encoding="utf-8",
        )
        client = KubernetesClient(ClusterAccess(str(config)), Budget(1.0))
        started = time.monotonic()
        with pytest.raises(ApiUnavailable, match="gave no answer to get namespaces clinic in time: ReadTimeout"):
            client.get(NAMESPACES, "clinic")
        print(f"budget 1 s, ended after {time.monotonic() - started:.2f} s with {client.calls} calls")


def test_a_restart_of_the_server_is_survived(namespace: Namespace) -> None:
    own = namespace.cluster.own
    client = namespace.cluster.client()
    before = client.get(NAMESPACES, namespace.name)["metadata"]["uid"]
    own.stop_server()
    with pytest.raises(ApiUnavailable):
        namespace.cluster.client(seconds=0.5).get(NAMESPACES, namespace.name)
    own.start_server()
    assert client.get(NAMESPACES, namespace.name)["metadata"]["uid"] == before


def test_no_key_of_the_account_is_left_in_a_file(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = namespace.cluster.client()
    assert client.get(NAMESPACES, namespace.name)["metadata"]["name"] == namespace.name
    assert list(tmp_path.iterdir()) == []


def test_accounts_are_loaded_in_many_threads_as_checks_do(namespace: Namespace) -> None:
    access = ClusterAccess(str(namespace.cluster.kubeconfig))
    with ThreadPoolExecutor(16) as pool:
        for connected in pool.map(lambda _number: access.connect(), range(200)):
            assert connected.configuration.host.startswith("https://")


def test_what_is_wrong_with_a_kubeconfig_is_one_line(tmp_path: Path) -> None:
    nothing = ClusterAccess(str(tmp_path / "absent"))
    with pytest.raises(BadInput, match="absent: Invalid kube-config file"):
        nothing.connect()
    (tmp_path / "broken").write_text("a: [", encoding="utf-8")
    with pytest.raises(BadInput, match="broken: cannot be used") as caught:
        ClusterAccess(str(tmp_path / "broken")).connect()
    assert "\n" not in str(caught.value)


def test_many_checks_load_the_credentials_at_once(cluster: Cluster) -> None:
    access = ClusterAccess(str(cluster.kubeconfig))
    with ThreadPoolExecutor(16) as threads:
        for each in [threads.submit(access.connect) for _number in range(64)]:
            assert each.result().configuration.host
