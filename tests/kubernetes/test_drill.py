"""A drill on the lab of a cluster from end to end. Pods are simulated, so some figures are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import NAMESPACES
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound
from cluster import Cluster, mark_as_lab
from lab_command import LabCommand

pytestmark = [pytest.mark.kubernetes, pytest.mark.drill]


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[LabCommand]:
    mark_as_lab(cluster)
    command = LabCommand(tmp_path, cluster)
    yield command
    command("lab", "down")


def test_a_bad_release_is_detected_rolled_back_and_undone(cluster: Cluster, lab: LabCommand) -> None:
    arguments = ("drill", "authentication_system_down", "--fault", "auth_image_missing", "--namespace", lab.namespace)
    code, lines = lab(*arguments)
    (drill,) = [each for each in lines if each["message_type"] == "drill"]
    assert code == 0, (drill, lines[-1]["problems"])
    assert drill["platform"] == "kubernetes" and drill["control_silent"] and drill["detected"] and drill["undone"]
    assert drill["recovered"] and drill["first_action_seconds"] > 0
    (matrix,) = [each for each in lines if each["message_type"] == "detection_matrix"]
    assert matrix["passed"] and matrix["faults"][0]["fired"] == ["authentication_system_down"]
    assert lines[-1]["outcome"] == "recovered"
    if cluster.programs is not None:
        # What nobody could have used is not measured, and that is said.
        assert drill["rto_seconds"] is None and drill["writes_lost"] is None
        assert {"kubelets", "traffic", "database contents"} <= set(drill["simulated"])
        assert 0 < drill["workload_back_seconds"] <= drill["rto_target_seconds"]
    # It was started for the drill, so it is gone.
    with pytest.raises(NotFound):
        cluster.client().get(NAMESPACES, lab.namespace)
    assert not lab.directory.exists()


def test_a_slow_release_is_seen_by_the_monitoring_and_left(lab: LabCommand) -> None:
    arguments = ("drill", "performance_degradation", "--fault", "records_release_slow", "--namespace", lab.namespace)
    code, lines = lab(*arguments)
    (drill,) = [each for each in lines if each["message_type"] == "drill"]
    assert code == 0, (drill, lines[-1]["problems"])
    assert drill["control_silent"] and drill["detected"] and drill["recovered"] and drill["undone"]
    said = [str(each.get("text")) for each in lines]
    assert any("records: slow_release" in each for each in said), said
    (matrix,) = [each for each in lines if each["message_type"] == "detection_matrix"]
    assert matrix["faults"][0]["criteria"] == {"performance_degradation": ["answers_late"]}


def test_a_breach_is_contained_and_given_back_as_by_a_person(cluster: Cluster, lab: LabCommand) -> None:
    arguments = ("drill", "security_breach_response", "--fault", "records_stray_pod", "--namespace", lab.namespace)
    code, lines = lab(*arguments)
    (drill,) = [each for each in lines if each["message_type"] == "drill"]
    assert code == 0, (drill, lines[-1]["problems"])
    assert drill["control_silent"] and drill["detected"] and drill["recovered"] and drill["undone"]
    # The run ends in quarantine; who went on from there is said.
    assert drill["given_back_by"] == "codeblue run release_service --limit records"
    phases = [each["phase"] for each in lines if each["message_type"] == "drill_phase"]
    assert phases.index("run") < phases.index("contained") < phases.index("given back") < phases.index("undone")
    if cluster.programs is not None:
        assert drill["rto_seconds"] is None and "isolation" in drill["simulated"]


def test_a_lab_that_is_broken_already_is_not_drilled(lab: LabCommand) -> None:
    lab("lab", "up", "--namespace", lab.namespace)
    lab("lab", "break", "auth_image_missing")
    code, lines = lab("drill", "authentication_system_down")
    assert code == 3 and "is broken already: auth_image_missing" in lines[-1]["error"], lines[-1]
    _code, said = lab("lab", "status")
    assert said[0]["active_faults"] == ["auth_image_missing"], "it stays as it was found"
