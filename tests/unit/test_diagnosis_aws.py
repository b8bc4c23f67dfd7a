# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service of ECS does not work, judged from what ECS answers."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_desired import DESIRED_KIND, known_desired
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import (
    EcsLook,
    Scaler,
    read_service,
    read_stopped,
    read_targets,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import judge_on_aws, refuse_on_aws
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from ecs_objects import GROUP, NOW, ago, deployment, event, service, stopped_task

NEW = "records:8"


def inventory(**aws: t.Any) -> Service:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_depends_on": ["patient_db"],
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": "us-east-1", "ecs": {"cluster": "clinic", "service": "records"}, **aws},
    }
    return load_service("records", variables, ["records", "patient_db"])


def failure(target: str = "records", error_class: str = "unavailable") -> CheckResult:
    return CheckResult(target, "health", "shallow", "http", False, 0.1, error_class, "", NOW.timestamp())


def look(*stopped: dict[str, t.Any], healthy: int = 2, **changed: t.Any) -> EcsLook:
    states = [{"TargetHealth": {"State": "healthy"}}] * healthy
    states += [{"TargetHealth": {"State": "unhealthy", "Reason": "Target.ResponseCodeMismatch"}}] * (2 - healthy)
    found = dataclasses.replace(read_service(service(**changed)), targets=(read_targets(GROUP, states),))
    return dataclasses.replace(found, stopped=read_stopped(stopped))


def judge(
    found: EcsLook | None,
    *failing: CheckResult,
    silent: str = "",
    proven: t.Mapping[str, t.Sequence[str]] | None = None,
    **aws: t.Any,
) -> dict[str, t.Any]:
    known = proven or {}
    seen = AwsSeen({} if silent else {"ecs": found}, {"ecs": silent} if silent else {})
    return judge_on_aws(
        inventory(**aws), seen, failing, lambda _kind: (), lambda kind: list(known.get(kind, ())), NOW.timestamp()
    )


def rolling_out(**changed: t.Any) -> dict[str, t.Any]:
    """Of a service that is on its way from records:7 to records:8."""
    new = deployment(NEW, runningCount=0, rolloutState="IN_PROGRESS", createdAt=ago(300), **changed)
    old = deployment("records:7", status="ACTIVE")
    return {"task_definition": NEW, "deployments": [new, old]}


def test_a_service_whose_tasks_all_run_is_healthy() -> None:
    said = judge(look())
    assert (said["cause"], said["treatment"], said["part"]) == ("healthy", "none", "ecs")


@pytest.mark.parametrize(
    ("reason", "changed", "cause", "treatment"),
    [
        ("CannotPullContainerError: pull image manifest has been retried", {}, "image_unavailable", "rollback"),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: ResourceNotFoundException",
            {},
            "configuration_missing",
            "person",
        ),
        ("RESOURCE:ENI", {}, "no_capacity", "person"),
    ],
)
def test_what_ecs_gives_as_the_reason_is_the_cause(
    reason: str, changed: dict[str, t.Any], cause: str, treatment: str
) -> None:
    found = look(stopped_task(NEW, reason), runningCount=1, **rolling_out(**changed))
    said = judge(found, failure())
    assert (said["cause"], said["treatment"]) == (cause, treatment)
    assert reason[:20] in " ".join(said["evidence"])


def test_reasons_of_the_older_release_are_not_those_of_this_one() -> None:
    found = look(stopped_task("records:7", "CannotPullContainerError: gone"), runningCount=1, **rolling_out())
    assert judge(found)["cause"] != "image_unavailable"


def test_an_event_about_capacity_tells_it_too() -> None:
    said = "(service records) was unable to place a task because no container instance met all of its requirements."
    found = look(runningCount=0, events=[event(said, 30)], **rolling_out())
    assert judge(found)["cause"] == "no_capacity"


def test_tasks_that_end_again_and_again_are_a_bad_release() -> None:
    ends = [
        stopped_task(NEW, "Essential container in task exited", 10 * n, containers=[{"exitCode": 1}]) for n in (1, 2)
    ]
    said = judge(look(*ends, runningCount=0, **rolling_out()), failure())
    assert (said["cause"], said["treatment"]) == ("release_crashing", "rollback")
    assert "exit code 1" in said["evidence"][0]


def test_a_failed_deployment_is_one_even_while_the_old_tasks_serve() -> None:
    new = deployment(NEW, rolloutState="FAILED", rolloutStateReason="tasks failed to start.", failedTasks=3)
    found = look(task_definition=NEW, deployments=[new, deployment("records:7", status="ACTIVE")])
    assert judge(found)["cause"] == "release_crashing"


def test_a_circuit_breaker_on_its_way_back_is_left_to_it() -> None:
    reason = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
    back = deployment("records:7", rolloutState="IN_PROGRESS", rolloutStateReason=reason, runningCount=1)
    said = judge(look(deployments=[back], runningCount=1), failure())
    assert (said["cause"], said["treatment"]) == ("rolling_back", "rollback")


def test_zero_tasks_come_back_when_their_number_is_known() -> None:
    none = look(desiredCount=0, runningCount=0, deployments=[deployment("records:7", desiredCount=0, runningCount=0)])
    unknown = judge(none)
    assert (unknown["cause"], unknown["treatment"]) == ("scaled_to_zero", "person")
    assert "codeblue_aws.ecs.desired" in unknown["next_step"]
    known = judge(none, proven={DESIRED_KIND: ["3"]})
    assert (known["treatment"], known["evidence"][1]) == ("scale", "it had 3")
    stated = judge(none, ecs={"cluster": "clinic", "service": "records", "desired": 2})
    assert stated["treatment"] == "scale"


def test_unhealthy_targets_are_the_release_when_it_is_new_and_else_the_tasks() -> None:
    assert judge(look(healthy=0), failure())["cause"] == "release_failing"
    old = deployment("records:7", createdAt=ago(30 * 24 * 3600))
    said = judge(look(healthy=0, deployments=[old]), failure())
    assert (said["cause"], said["treatment"]) == ("targets_unhealthy", "renew")
    assert "2 unhealthy: Target.ResponseCodeMismatch" in said["evidence"]


def test_a_dependency_that_is_down_is_not_blamed_on_the_release() -> None:
    said = judge(look(healthy=0), failure(), failure("patient_db", "refused"))
    assert (said["cause"], said["treatment"]) == ("dependency_down", "person")


def test_all_is_well_on_ecs_and_nobody_gets_there() -> None:
    assert judge(look(), failure(error_class="timeout"))["cause"] == "way_lost"


def test_a_region_that_gives_no_answer_is_said_with_the_one_it_can_run_in() -> None:
    said = judge(None, failure(), silent="AWS gave no answer", standby_region="us-west-2")
    assert (said["cause"], said["treatment"]) == ("region_silent", "person")
    assert "us-west-2" in said["next_step"]


def test_another_controller_is_not_overruled() -> None:
    ends = [stopped_task("records:7", "exited", n, containers=[{"exitCode": 1}]) for n in (1, 2)]
    found = look(*ends, runningCount=0, deploymentController={"type": "CODE_DEPLOY"}, deployments=[])
    said = judge(found)
    assert (said["cause"], said["treatment"]) == ("release_crashing", "person")
    assert "CODE_DEPLOY" in said["next_step"]


def test_a_service_that_is_gone() -> None:
    assert judge(None)["cause"] == "service_missing"
    assert judge(look(status="INACTIVE"))["cause"] == "service_missing"


def test_running_tasks_of_an_older_definition_are_not_steady() -> None:
    # botocore's waiter services_stable would have it so: one deployment, and as many tasks as wanted.
    stale = read_service(service(NEW, deployments=[deployment("records:7")]))
    assert not stale.steady
    assert read_service(service()).steady


def test_a_number_is_kept_within_the_bounds_of_what_scales_it() -> None:
    found = known_desired(["9"], 3, Scaler(2, 6, False))
    assert found is not None and found.count == 6
    assert known_desired([], None, Scaler(2, 6, False)) is not None
    assert known_desired(["0", "no"], None, None) is None


def test_a_runbook_that_cannot_work_there_says_so_before_anything_is_done() -> None:
    with pytest.raises(
        BadInput, match=r"records: database_connection_failure does not work on platform aws with ecs yet"
    ):
        refuse_on_aws("database_connection_failure", {"records": inventory()})
    refuse_on_aws("complete_system_outage", {"records": inventory()})
