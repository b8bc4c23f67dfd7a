# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Services of ECS: which version they go back to, when they are steady, and how many questions that takes."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_ecs_waiter
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_definitions import digest_of, shown
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook, Scaler, read_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_needs import lacking
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import read_closer, read_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_releases import Choice, Releases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_scaling import set_suspended
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_waiter import EcsWaiter, complaint
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import BadCredentials
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from aws_model import Answer, Answers, ModelAccount, refusal
from ecs_objects import ACCOUNT, REGION, ago, definition, deployment, event, service, stopped_task

ECS = EcsService("clinic", "records")
STEADY = "(service records) has reached a steady state."


def described(registered: dict[str, float] | None = None, images: dict[str, str] | None = None) -> Answers:
    """Task definitions that are registered, and how many seconds ago; each of an image of its own."""
    known = registered or {}

    def answer(asked: Answer) -> Answer:
        name = asked["taskDefinition"]
        if registered is not None and name not in known:
            raise refusal("ecs:DescribeTaskDefinition", "ClientException")
        body = {
            "taskDefinitionArn": definition(name),
            "family": "records",
            "status": "ACTIVE",
            "containerDefinitions": [{"name": "app", "image": (images or {}).get(name, f"records:{name[-1]}")}],
        }
        if name in known:
            body["registeredAt"] = ago(known[name])
        return {"taskDefinition": body}

    return answer


def releases(look: EcsLook, **answers: t.Any) -> tuple[Releases, ModelAccount]:
    account = ModelAccount(
        {
            "ecs.describe_task_definition": answers.get("described", described()),
            "ecs.list_service_deployments": answers.get("history", {"serviceDeployments": []}),
            "ecs.describe_service_revisions": answers.get("revisions", {"serviceRevisions": []}),
            "ecs.list_task_definitions": {
                "taskDefinitionArns": [definition(each) for each in answers.get("registered", ())]
            },
        },
        read_only=True,
    )
    return Releases(account, look), account


def broken(**changed: t.Any) -> EcsLook:
    """records:8 was deployed an hour ago."""
    return read_service(service("records:8", **changed))


# -- which version ---------------------------------------------------------------------------------------------


def test_the_version_whose_tasks_serve_now_goes_first() -> None:
    new = deployment("records:8", runningCount=0, rolloutState="IN_PROGRESS")
    older = deployment("records:6", status="ACTIVE", runningCount=1)
    never = deployment("records:7", status="ACTIVE", runningCount=2, rolloutState="IN_PROGRESS")
    found, account = releases(broken(deployments=[new, never, older]))
    assert found.choose(["records:5"], set()) == Choice("records:8", "records:6", "1 tasks of it serve now")
    assert not account.named("list_service_deployments")


def test_what_an_earlier_run_saw_working_comes_next_and_a_bad_one_never() -> None:
    found, _account = releases(broken())
    assert found.choose(["records:8", "records:7", "records:5"], {"records:7"}).good == "records:5"


def test_a_bad_version_under_a_new_number_is_the_same_version() -> None:
    found, _account = releases(broken(), described=described(images={"records:7": "x", "records:9": "x"}))
    assert found.choose(["records:9", "records:4"], {"records:7"}).good == "records:4"


def test_a_version_that_is_deregistered_cannot_be_deployed() -> None:
    found, _account = releases(broken(), described=described({"records:8": 1, "records:3": 1}))
    assert found.choose(["records:7", "records:3"], set()).good == "records:3"


def test_the_history_of_deployments_is_asked_where_nobody_knows_better() -> None:
    arns = [f"arn:aws:ecs:{REGION}:{ACCOUNT}:service-revision/clinic/records/{number}" for number in (2, 1)]
    found, account = releases(
        broken(),
        history={"serviceDeployments": [{"targetServiceRevisionArn": each} for each in arns]},
        revisions={
            "serviceRevisions": [
                {"serviceRevisionArn": arns[1], "taskDefinition": definition("records:4")},
                {"serviceRevisionArn": arns[0], "taskDefinition": definition("records:8")},
            ]
        },
    )
    assert found.choose([], set()).good == "records:4"
    assert account.named("list_service_deployments")[0]["status"] == ["SUCCESSFUL"]


def test_events_tell_when_all_was_steady_and_registrations_which_was_the_newest_then() -> None:
    look = broken(events=[event(STEADY, 60), event(STEADY, 7200)])
    registered = {"records:8": 3700.0, "records:7": 3900.0, "records:6": 9000.0, "records:5": 20000.0}
    found, _account = releases(
        look,
        history=refusal("ecs:ListServiceDeployments", "AccessDeniedException"),
        registered=["records:8", "records:7", "records:6", "records:5", "records-extra:9"],
        described=described(registered),
    )
    # 7 is the one before, and was never steady: it was registered after the last steady moment.
    assert found.choose([], set()).good == "records:6"


def test_without_a_witness_nothing_is_chosen() -> None:
    found, _account = releases(broken(), registered=["records:8", "records:7"])
    with pytest.raises(CodeblueError, match="nothing tells which task definition was steady before records:8") as error:
        found.choose([], {"records:5"})
    assert "records:5" in error.value.message and "as records:6" in str(error.value.hint)


def test_credentials_that_ended_are_no_missing_history() -> None:
    found, _account = releases(broken(), history=refusal("ecs:ListServiceDeployments", "ExpiredTokenException"))
    with pytest.raises(BadCredentials):
        found.choose([], set())


def test_what_the_circuit_breaker_does_is_left_to_it() -> None:
    reason = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
    back = deployment("records:7", rolloutState="IN_PROGRESS", rolloutStateReason=reason)
    failed = deployment("records:8", status="ACTIVE", rolloutState="FAILED")
    found, _account = releases(read_service(service("records:7", deployments=[back, failed])))
    chosen = found.choose([], set())
    assert (chosen.bad, chosen.good, chosen.delegated) == ("records:8", "records:7", True)


def test_a_diff_gives_no_value_away() -> None:
    def body(word: str) -> dict[str, t.Any]:
        variables = [{"name": "PASSWORD", "value": word}]
        return {"containerDefinitions": [{"image": "records:1", "environment": variables, "command": [word]}]}

    before, after = shown(body("hunter2"), body("hunter3"))
    assert "hunter" not in f"{before}{after}" and before != after
    assert before["containerDefinitions"][0]["environment"][0]["name"] == "PASSWORD"
    assert digest_of({**body("a"), "revision": 3}) == digest_of({**body("a"), "revision": 4})


# -- waiting ---------------------------------------------------------------------------------------------------


class Turns:
    """Gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)

    def __call__(self, _asked: Answer) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def seen(*services: dict[str, t.Any]) -> Turns:
    return Turns(*({"services": [each]} for each in services))


def healths(*counts: int) -> Turns:
    def states(healthy: int) -> Answer:
        well = [{"TargetHealth": {"State": "healthy"}}] * healthy
        ill = [{"TargetHealth": {"State": "initial", "Reason": "Elb.RegistrationInProgress"}}] * (2 - healthy)
        return {"TargetHealthDescriptions": [*well, *ill]}

    return Turns(*map(states, counts))


def waiter(described_services: Turns, targets: Turns | None = None, *stopped: dict[str, t.Any]) -> EcsWaiter:
    answers: dict[str, Answers] = {
        "ecs.describe_services": described_services,
        "elbv2.describe_target_health": targets or healths(2),
        "ecs.list_tasks": {"taskArns": [each["taskArn"] for each in stopped]},
        "ecs.describe_tasks": {"tasks": list(stopped)},
    }
    return EcsWaiter(ModelAccount(answers, read_only=True), ECS, sleep=lambda _seconds: time.sleep(0.001))


def test_tasks_of_the_old_version_are_not_those_that_are_waited_for() -> None:
    # One deployment, as many tasks as wanted: so botocore's services_stable would be content.
    stale = service("records:6", deployments=[deployment("records:7")])
    rolling = service(
        "records:6",
        deployments=[
            deployment("records:6", rolloutState="IN_PROGRESS", runningCount=0),
            deployment("records:7", status="ACTIVE"),
        ],
    )
    waited = waiter(seen(stale, rolling, service("records:6"))).wait("records:6", Budget(5))
    assert waited.problem == ""
    assert complaint(read_service(stale), "records:6") == "records:7 is deployed, not records:6"


def test_targets_have_to_be_healthy_too() -> None:
    waited = waiter(seen(service("records:6")), healths(0, 1, 2)).wait("records:6", Budget(5))
    assert waited.problem == ""
    late = waiter(seen(service("records:6")), healths(1)).wait("records:6", Budget(0.05))
    assert late.problem.startswith("1 of 2 targets of records are healthy (1 initial: Elb.RegistrationInProgress)")


def test_a_deployment_that_failed_is_not_waited_for_and_the_tasks_say_why() -> None:
    failed = deployment("records:6", rolloutState="FAILED", rolloutStateReason="tasks failed to start.", runningCount=0)
    ends = stopped_task("records:6", "CannotPullContainerError: not found")
    began = time.monotonic()
    waited = waiter(seen(service("records:6", runningCount=0, deployments=[failed])), None, ends).wait(
        "records:6", Budget(30)
    )
    assert time.monotonic() - began < 5
    assert "tasks failed to start" in waited.problem and "CannotPullContainerError" in waited.problem


def test_tasks_that_end_again_and_again_are_given_up_while_the_old_ones_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_aws_ecs_waiter, "_STILL_SECONDS", 0.01)
    new = deployment("records:8", rolloutState="IN_PROGRESS", runningCount=0, createdAt=ago(90))
    rolling = service("records:8", deployments=[new, deployment("records:7", status="ACTIVE")])
    ends = [
        stopped_task("records:8", "Essential container in task exited", each, containers=[{"exitCode": 1}])
        for each in (10, 20, 30)
    ]
    waited = waiter(seen(rolling), None, *ends).wait("records:8", Budget(30))
    assert waited.problem.startswith("3 of its tasks ended; task") and waited.seconds < 5
    # Those that ended before somebody began to wait say nothing.
    before = waiter(seen(rolling), None, *ends).wait("records:8", Budget(0.2), since=ago(5).timestamp())
    assert before.problem.startswith("0 of 2 tasks of records:8 run, 2 of others")


def test_a_wait_ends_with_its_budget_and_says_what_lacks() -> None:
    rolling = service("records:6", deployments=[deployment("records:6", rolloutState="IN_PROGRESS", runningCount=1)])
    assert "1 of 2 tasks of records:6 run" in waiter(seen(rolling)).wait("records:6", Budget(0.05)).problem


# -- asking ----------------------------------------------------------------------------------------------------


def test_many_services_are_asked_about_in_tens_and_only_troubled_ones_closer() -> None:
    services = {f"s{number}": EcsService("clinic", f"s{number}") for number in range(35)}

    def answer(asked: Answer) -> Answer:
        found = [service(name=each, loadBalancers=[]) for each in asked["services"] if each != "s34"]
        for each in found:
            if each["serviceName"] == "s7":
                each["runningCount"] = 0
        return {"services": found, "failures": [{"arn": "s34", "reason": "MISSING"}]}

    account = ModelAccount(
        {
            "ecs.describe_services": answer,
            "ecs.describe_task_definition": described(),
            "ecs.list_tasks": {"taskArns": []},
            "application-autoscaling.describe_scalable_targets": {"ScalableTargets": []},
        },
        read_only=True,
    )
    # Pages are asked for as botocore has them; the model's account has no client for that.
    account.ask_all = lambda service, operation, key, **values: account.ask(  # type: ignore[method-assign,assignment]
        service, operation, **values
    )[key]
    looks = read_closer(account, read_services(account, services))
    assert len(account.named("describe_services")) == 4
    assert len(account.named("list_tasks")) == 1 and len(account.named("describe_task_definition")) == 1
    assert looks["s34"] is None and looks["s7"] is not None and not looks["s7"].steady


def test_a_cluster_that_is_gone_has_no_services() -> None:
    account = ModelAccount({"ecs.describe_services": refusal("ecs:DescribeServices", "ClusterNotFoundException")})
    assert read_services(account, {"records": ECS}) == {"records": None}


def test_what_a_task_definition_wants_is_looked_for_without_reading_it() -> None:
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:clinic/db-AbCdEf"
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/records:8"
    body = {
        "status": "ACTIVE",
        "containerDefinitions": [
            {
                "name": "app",
                "image": image,
                "secrets": [
                    {"name": "A", "valueFrom": f"{secret}:password::"},
                    {"name": "B", "valueFrom": "/clinic/gone"},
                    {"name": "C", "valueFrom": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/clinic/there"},
                ],
            }
        ],
    }
    account = ModelAccount(
        {
            "ecs.describe_task_definition": {"taskDefinition": body},
            "secretsmanager.describe_secret": refusal("secretsmanager:DescribeSecret", "ResourceNotFoundException"),
            "ssm.describe_parameters": lambda asked: {"Parameters": [{"Name": "x"}] if "there" in str(asked) else []},
            "ecr.describe_images": refusal("ecr:DescribeImages", "ImageNotFoundException"),
        },
        read_only=True,
    )
    missing, gone = lacking(account, "records:8")
    assert missing == ("secret clinic/db-AbCdEf does not exist", "parameter /clinic/gone does not exist")
    assert gone == "image records:8 is not in its registry"
    assert account.named("describe_secret")[0]["SecretId"] == secret
    denied = refusal("secretsmanager:DescribeSecret", "AccessDeniedException")
    account.answers |= dict.fromkeys(
        ("secretsmanager.describe_secret", "ssm.describe_parameters", "ecr.describe_images"), denied
    )
    assert lacking(account, "records:8") == ((), "")


def test_suspending_leaves_the_bounds_and_what_was_suspended_before() -> None:
    account = ModelAccount({"application-autoscaling.register_scalable_target": {}})
    look = read_service(service())
    object.__setattr__(look, "scaler", Scaler(2, 6, False, ("in", "out")))
    set_suspended(account, look, ("in", "out"), True)
    said = account.named("register_scalable_target")[0]
    assert "MinCapacity" not in said and said["ResourceId"] == "service/clinic/records"
    assert said["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": True,
        "ScheduledScalingSuspended": True,
    }
