# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether another region is fit, what is told when one is silent, and what a way that leads there is judged by."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_standby
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_elsewhere import found_in_standby
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby import destination, look_at_standby
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_way import WayLook, judge_way
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from botocore.stub import Stubber

HERE, THERE = "us-west-2", "us-east-1"
NOW = datetime.datetime(2026, 1, 15, 10, tzinfo=datetime.UTC)
IMAGE = f"111122223333.dkr.ecr.{HERE}.amazonaws.com/records:7"
CERTIFICATE = f"arn:aws:acm:{HERE}:111122223333:certificate/12345678-1234-1234-1234-123456789012"
GROUP = f"arn:aws:elasticloadbalancing:{HERE}:111122223333:targetgroup/records/73e2d6bc24d8a067"
# Nobody listens at the discard port of a machine.
SILENT = "http://127.0.0.1:9"
V1, V2 = (f"a1b2c3d4-5678-90ab-cdef-EXAMPLE{number:05}" for number in (1, 2))


class Stubbed:
    """An account whose services in the standby region answer what was laid down; the other region is silent."""

    def __init__(self) -> None:
        access = AwsAccess(endpoints={THERE: SILENT})
        self.account = AwsAccount(access, THERE, Budget(30), sleep=lambda _s: None)
        self._stubs: dict[tuple[str, str], Stubber] = {}

    def answer(self, service: str, operation: str, answer: dict[str, t.Any], region: str = HERE) -> None:
        self._stub(service, region).add_response(operation, answer)

    def refuse(self, service: str, operation: str, code: str) -> None:
        self._stub(service, HERE).add_client_error(operation, code, "no", 400)

    def _stub(self, service: str, region: str) -> Stubber:
        if (service, region) not in self._stubs:
            self._stubs[service, region] = Stubber(self.account._client(service, region))
            self._stubs[service, region].activate()
        return self._stubs[service, region]


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubbed]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setattr(_aws_standby, "_OTHER_SECONDS", 0.1)
    yield Stubbed()


def service(**aws: t.Any) -> Service:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": THERE, "standby_region": HERE, **aws},
    }
    return load_service("records", variables, ["records"])


def looked(stubbed: Stubbed, **aws: t.Any) -> dict[str, tuple[bool, str]]:
    place = service(**aws).require_aws()
    to = destination(place, "standby")
    assert to is not None and (to.region, to.other) == (HERE, THERE)
    found = look_at_standby(stubbed.account, place, to, 300.0, NOW)
    return {each.what: (each.fit, each.said) for each in found}


def ecs(stubbed: Stubbed, image: str = IMAGE, secret: str = "", running: int = 1) -> None:
    described = {
        "serviceName": "records",
        "status": "ACTIVE",
        "desiredCount": 1,
        "runningCount": running,
        "pendingCount": 0,
        "taskDefinition": f"arn:aws:ecs:{HERE}:111122223333:task-definition/records:7",
        "deployments": [{"id": "d", "status": "PRIMARY", "rolloutState": "COMPLETED"}],
    }
    stubbed.answer("ecs", "describe_services", {"services": [described]})
    container: dict[str, t.Any] = {"name": "app", "image": image}
    if secret:
        container["secrets"] = [{"name": "DB", "valueFrom": secret}]
    definition = {"status": "ACTIVE", "containerDefinitions": [container]}
    stubbed.answer("ecs", "describe_task_definition", {"taskDefinition": definition})


def test_what_tasks_need_has_to_be_in_the_region_itself(stubbed: Stubbed) -> None:
    away = f"arn:aws:secretsmanager:{THERE}:111122223333:secret:clinic/database-AbCdEf"
    ecs(stubbed, IMAGE.replace(HERE, THERE), away)
    found = looked(stubbed, ecs={"cluster": "clinic", "service": "records"})
    assert found["secret DB of container app"] == (False, f"comes from {THERE}")
    assert (False, f"comes from {THERE}") in [said for what, said in found.items() if what.startswith("image")]


def test_an_image_that_was_not_copied_is_missed(stubbed: Stubbed) -> None:
    ecs(stubbed)
    stubbed.refuse("ecr", "describe_images", "ImageNotFoundException")
    found = looked(stubbed, ecs={"cluster": "clinic", "service": "records"})
    assert found[f"image {IMAGE}"] == (False, f"is not there in {HERE}")
    assert found["ECS service records of cluster clinic"] == (True, "has 1 of 1 tasks")


def test_a_region_that_is_silent_stops_no_look_at_the_other(stubbed: Stubbed) -> None:
    stages = {V1: ["AWSCURRENT"]}
    stubbed.answer("secretsmanager", "describe_secret", {"Name": "clinic/database", "VersionIdsToStages": stages})
    parameters = {"Parameters": [{"Name": "/clinic/a", "LastModifiedDate": NOW, "Version": 3}]}
    stubbed.answer("ssm", "describe_parameters", parameters)
    found = looked(stubbed, standby={"secrets": ["clinic/database"], "parameters": ["/clinic/a", "/clinic/b"]})
    assert found["secret clinic/database"] == (True, f"is there; {THERE} was not compared")
    assert found["parameter /clinic/a"] == (True, f"is there; {THERE} was not compared")
    assert found["parameter /clinic/b"] == (False, f"is not there in {HERE}")


@pytest.mark.parametrize(
    ("there", "fit", "words"),
    [
        ({"VersionIdsToStages": {V1: ["AWSCURRENT"]}}, True, f"has the version of {THERE}"),
        ({"VersionIdsToStages": {V2: ["AWSCURRENT"]}}, False, f"has another version than in {THERE}"),
        (
            {
                "VersionIdsToStages": {V1: ["AWSCURRENT"]},
                "ReplicationStatus": [{"Region": HERE, "Status": "Failed", "StatusMessage": "no key"}],
            },
            False,
            "is not replicated: no key",
        ),
    ],
)
def test_a_replica_of_a_secret_has_the_version_of_its_source(
    stubbed: Stubbed, there: dict[str, t.Any], fit: bool, words: str
) -> None:
    here = {"Name": "s", "PrimaryRegion": THERE, "VersionIdsToStages": {V1: ["AWSCURRENT"]}}
    stubbed.answer("secretsmanager", "describe_secret", here)
    stubbed.answer("secretsmanager", "describe_secret", {"Name": "s", **there}, THERE)
    assert looked(stubbed, standby={"secrets": ["s"]}) == {"secret s": (fit, words)}


@pytest.mark.parametrize(
    ("certificate", "fit", "words"),
    [
        ({"Status": "ISSUED", "DomainName": "*.clinic.example", "NotAfter": NOW.replace(year=2027)}, True, "is valid"),
        ({"Status": "ISSUED", "DomainName": "*.clinic.example", "NotAfter": NOW.replace(day=20)}, True, "in 5 days"),
        ({"Status": "ISSUED", "DomainName": "*.clinic.example", "NotAfter": NOW.replace(minute=30)}, False, "ends at"),
        ({"Status": "ISSUED", "DomainName": "clinic.example", "NotAfter": NOW.replace(year=2027)}, False, "is for"),
        ({"Status": "PENDING_VALIDATION", "DomainName": "api.clinic.example"}, False, "is pending validation"),
    ],
)
def test_a_certificate_has_to_be_valid_for_its_name(
    stubbed: Stubbed, certificate: dict[str, t.Any], fit: bool, words: str
) -> None:
    stubbed.answer("acm", "describe_certificate", {"Certificate": certificate})
    found = looked(stubbed, standby={"certificates": {"api.clinic.example": CERTIFICATE}})
    ok, said = found["certificate for api.clinic.example"]
    assert ok is fit and words in said


@pytest.mark.parametrize(("value", "fit"), [(6.0, False), (8.0, True)])
def test_a_quota_that_nobody_raised_is_that_of_aws(stubbed: Stubbed, value: float, fit: bool) -> None:
    stubbed.refuse("service-quotas", "get_service_quota", "NoSuchResourceException")
    quota = {"Quota": {"QuotaName": "Fargate On-Demand vCPU resource count", "Value": value}}
    stubbed.answer("service-quotas", "get_aws_default_service_quota", quota)
    wanted = {"quotas": [{"service": "fargate", "code": "L-3032A538", "least": 8}]}
    ok, said = looked(stubbed, standby=wanted)["quota L-3032A538 of fargate"]
    assert ok is fit and f"is {value:g}" in said


def test_what_may_not_be_looked_at_is_not_taken_for_fit(stubbed: Stubbed) -> None:
    stubbed.refuse("elbv2", "describe_target_health", "AccessDenied")
    ok, said = looked(stubbed, standby={"target_groups": [GROUP]})["target group records"]
    assert (
        not ok
        and "may not elasticloadbalancing:DescribeTargetHealth" in said
        and said.startswith("cannot be looked at")
    )


@pytest.mark.parametrize(("running", "wrong"), [(2, None), (1, "api_unavailable")])
def test_a_service_works_elsewhere_when_all_of_it_runs_there(stubbed: Stubbed, running: int, wrong: str | None) -> None:
    described = {"status": "ACTIVE", "desiredCount": running, "runningCount": running, "deployments": []}
    stubbed.answer("ecs", "describe_services", {"services": [described]})
    place = service(ecs={"cluster": "clinic", "service": "records", "desired": 2}).require_aws()
    finding = found_in_standby(stubbed.account, {"records": place}, "no answer")["records"]
    assert finding.error_class == wrong and f"in {HERE}" in finding.detail


def judged(failing: list[str], **look: t.Any) -> dict[str, t.Any]:
    values = {"what": "DNS record a.example", "at_standby": 0, "said": "", "region_silent": "no answer", **look}
    results = [
        CheckResult("records", "health", "shallow", "http", False, 1.0, error_class, "", 0.0) for error_class in failing
    ]
    return judge_way(AwsFindings(service(), WayLook(**values), failing=tuple(results)))


def test_traffic_is_to_move_only_when_clients_are_not_served_and_the_region_is_silent() -> None:
    assert judged(["unavailable"])["cause"] == "region_silent"
    assert judged([])["cause"] == "healthy"
    # That AWS does not answer about a service says nothing of its clients.
    assert judged(["api_unavailable"])["cause"] == "healthy"
    assert judged(["unavailable"], region_silent="")["cause"] == "inconclusive"
    assert judged(["unavailable"], at_standby=100)["cause"] == "inconclusive"
