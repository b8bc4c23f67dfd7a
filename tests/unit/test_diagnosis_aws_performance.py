# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a service of ECS answers late."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook, Scaler, read_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_metrics import Load, ecs_load
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_performance import judge_late_on_aws
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from aws_model import Answer, ModelAccount
from ecs_objects import NOW, ago, deployment, service

OLD = [deployment("records:7", createdAt=ago(30 * 24 * 3600))]


def slow(target: str = "records") -> CheckResult:
    return CheckResult(target, "home", "deep", "http", False, 2.4, "slow", "", NOW.timestamp())


def judge(
    look: EcsLook, *late: CheckResult, load: Load | None = None, last_well: str | None = None, **ecs: t.Any
) -> dict[str, t.Any]:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_depends_on": ["patient_db"],
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": "us-east-1", "ecs": {"cluster": "clinic", "service": "records", **ecs}},
    }
    known = load_service("records", variables, ["records", "patient_db"])
    usual = {"cause": "healthy", "treatment": "none", "part": "ecs"}
    return judge_late_on_aws(known, usual, look, load, late, last_well, NOW.timestamp())


def test_a_release_that_came_since_it_was_last_well_is_left() -> None:
    said = judge(read_service(service()), slow(), last_well=ago(7200).isoformat())
    assert (said["cause"], said["treatment"], said["release"]) == ("slow_release", "rollback", "records:7")
    said = judge(read_service(service()), slow(), last_well=ago(60).isoformat())
    assert said["cause"] == "overloaded"


def test_tasks_that_are_busy_get_others_beside_them() -> None:
    said = judge(read_service(service(deployments=OLD)), slow(), load=Load(cpu=0.97, memory=0.4))
    assert (said["cause"], said["treatment"], said["replicas"]) == ("overloaded", "scale_out", 3)
    assert said["evidence"][0] == "its tasks use 97% of their CPU, the limit is 80%"


def test_what_scales_by_itself_is_left_to_it() -> None:
    look = dataclasses.replace(read_service(service(deployments=OLD)), scaler=Scaler(2, 6, False))
    said = judge(look, slow())
    assert said["treatment"] == "person" and "Application Auto Scaling" in said["next_step"]


def test_fewer_tasks_than_it_is_to_have_come_back_first() -> None:
    said = judge(read_service(service(deployments=OLD)), slow(), desired=4)
    assert (said["cause"], said["treatment"]) == ("scaled_down", "scale")


def test_one_that_waits_or_does_not_work_is_not_treated_here() -> None:
    look = read_service(service(deployments=OLD))
    assert judge(look, slow(), slow("patient_db"))["cause"] == "waits_for_dependency"
    assert judge(look, slow("patient_db"))["cause"] == "healthy"
    broken = judge(read_service(service(runningCount=1)), slow())
    assert broken["treatment"] == "person" and "does not work" in broken["next_step"]


def test_metrics_of_many_services_are_one_question() -> None:
    def answer(asked: Answer) -> Answer:
        assert asked["StartTime"] < asked["EndTime"]
        first = asked["MetricDataQueries"][0]["Id"]
        return {"MetricDataResults": [{"Id": first, "Values": [31.0, 88.5]}]}

    account = ModelAccount({"cloudwatch.get_metric_data": answer})
    account.ask_all = lambda service, operation, key, **values: account.ask(  # type: ignore[method-assign,assignment]
        service, operation, **values
    )[key]
    services = {f"s{number}": EcsService("clinic", f"s{number}") for number in range(40)}
    found = ecs_load(account, services, NOW.timestamp())
    assert account.calls == 1 and found["s0"] == Load(cpu=0.885) and found["s39"] == Load()
