"""A service on a simulated AWS account is cut off by a security group and given back exactly as it was."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from security_site import AwsSite
from simulated_account import SimulatedAccount

ECS = {"cluster": "clinic", "service": "records"}
DEPLOYMENT = {
    "maximumPercent": 150,
    "minimumHealthyPercent": 50,
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
}


@dataclass(frozen=True)
class Clinic:
    """A VPC with an ECS service of one task."""

    account: SimulatedAccount
    groups: tuple[str, str]
    task: str

    def service(self) -> dict[str, t.Any]:
        found = self.account.client("ecs").describe_services(cluster="clinic", services=["records"], include=["TAGS"])
        return dict(found["services"][0])

    def network(self) -> list[str]:
        return list(self.service()["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"])

    def own_group(self) -> dict[str, t.Any] | None:
        filters = [{"Name": "group-name", "Values": ["codeblue-quarantine-records"]}]
        found = self.account.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
        return found[0] if found else None

    def tasks(self) -> list[str]:
        return list(self.account.client("ecs").list_tasks(cluster="clinic", desiredStatus="RUNNING")["taskArns"])


@pytest.fixture
def clinic(account: SimulatedAccount) -> Clinic:
    ec2, ecs = account.client("ec2"), account.client("ecs")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    made = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("one", "two")
    ]
    network = {"subnets": [subnet], "securityGroups": made, "assignPublicIp": "DISABLED"}
    ecs.create_cluster(clusterName="clinic")
    containers = [{"name": "main", "image": "records:1", "memory": 512, "cpu": 256}]
    ecs.register_task_definition(
        family="records", networkMode="awsvpc", cpu="256", memory="512", containerDefinitions=containers
    )
    service = ecs.create_service(
        cluster="clinic",
        serviceName="records",
        taskDefinition="records",
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
        deploymentConfiguration=DEPLOYMENT,
    )["service"]
    assert service["deployments"][0]["status"] == "PRIMARY"
    task = ecs.run_task(
        cluster="clinic",
        taskDefinition="records",
        launchType="FARGATE",
        startedBy="ecs-svc/earlier",
        networkConfiguration={"awsvpcConfiguration": network},
    )["tasks"][0]
    # moto keeps nothing of it when a service is made.
    ecs.update_service(cluster="clinic", service="records", deploymentConfiguration=DEPLOYMENT)
    account.asked.clear()
    return Clinic(account, (made[0], made[1]), task["taskArn"])


def test_a_service_is_cut_off_and_given_back_as_it_was(clinic: Clinic, tmp_path: Path) -> None:
    site = AwsSite(
        tmp_path,
        clinic.account,
        ecs=ECS,
        quarantine={"management": ["10.9.0.0/16"]},
    )
    before, asked = clinic.service(), len(clinic.account.asked)
    looked = site.act("aws_quarantine", "--check", "--diff", reason="a test")
    assert looked.code == 0 and "would cut records off" in looked.summary, looked.out
    assert not [each for each in clinic.account.asked[asked:] if each.changes] and clinic.own_group() is None
    played = site.act("aws_quarantine", reason="a test")
    assert played.code == 0 and played.result["changed"] and played.said["accepted_at"], played.out
    assert played.result["proof"] == "configuration" and "tasks were ended" in played.summary
    group = clinic.own_group()
    assert group is not None and group["IpPermissionsEgress"] == []
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], [each["CidrIp"] for each in rule["IpRanges"]]) == ("-1", ["10.9.0.0/16"])
    assert clinic.network() == [group["GroupId"]]
    closed = clinic.service()["deploymentConfiguration"]
    assert closed["deploymentCircuitBreaker"] == {"enable": False, "rollback": False}
    assert closed["minimumHealthyPercent"] == 0, "old tasks end before new ones start"
    assert clinic.task not in clinic.tasks() and played.result["ended"] == [clinic.task.rpartition("/")[2]]
    changes = len(clinic.account.changes)
    again = site.act("aws_quarantine", reason="a test")
    assert again.code == 0 and not again.result["changed"], again.out
    assert len(clinic.account.changes) == changes
    back = site.act("aws_quarantine", state="absent")
    assert back.code == 0 and back.result["changed"], back.out
    after = clinic.service()
    for key in ("networkConfiguration", "deploymentConfiguration"):
        assert after[key] == before[key]
    assert not after.get("tags")
    assert clinic.own_group() is None
    nothing = site.act("aws_quarantine", state="absent")
    assert nothing.code == 0 and not nothing.result["changed"] and "is not in quarantine" in nothing.summary


def test_a_clinical_service_needs_a_word(clinic: Clinic, tmp_path: Path) -> None:
    site = AwsSite(tmp_path, clinic.account, environment="production", ecs=ECS)
    refused = site.act("aws_quarantine", reason="a test")
    assert refused.code != 0 and refused.said["exit_code"] == 3, refused.out
    assert "clinical_isolation" in refused.said["hint"] and not clinic.account.changes


def test_groups_that_somebody_changed_meanwhile_are_not_touched(clinic: Clinic, tmp_path: Path) -> None:
    site = AwsSite(tmp_path, clinic.account, ecs=ECS)
    assert site.act("aws_quarantine").code == 0
    network = clinic.service()["networkConfiguration"]["awsvpcConfiguration"]
    clinic.account.client("ecs").update_service(
        cluster="clinic",
        service="records",
        networkConfiguration={"awsvpcConfiguration": {**network, "securityGroups": [clinic.groups[0]]}},
    )
    refused = site.act("aws_quarantine", state="absent")
    assert refused.code != 0 and refused.said["exit_code"] == 3, refused.out
    assert "somebody has changed its security groups" in refused.said["error"]
    assert clinic.network() == [clinic.groups[0]]


@pytest.mark.parametrize("lost", ["create_security_group", "update_service", "stop_task"])
def test_a_run_that_was_cut_is_taken_up_and_does_nothing_twice(clinic: Clinic, tmp_path: Path, lost: str) -> None:
    """The call is carried out and nobody is left to hear of it; the run is resumed."""
    site = AwsSite(tmp_path, clinic.account, ecs=ECS)
    run = site.killed_after(lost, "aws_quarantine", reason="a test")
    resumed = site.act("aws_quarantine", run_id=run, reason="a test")
    assert resumed.code == 0 and resumed.result["changed"], resumed.out
    assert clinic.account.changes.count(lost) == 1
    group = clinic.own_group()
    assert group is not None and clinic.network() == [group["GroupId"]] and group["IpPermissionsEgress"] == []
    assert clinic.task not in clinic.tasks()


def test_an_answer_that_is_lost_makes_no_second_group(clinic: Clinic, tmp_path: Path) -> None:
    site = AwsSite(tmp_path, clinic.account, ecs=ECS)
    clinic.account.lose_answers_of("create_security_group", 500)
    played = site.act("aws_quarantine", reason="a test")
    assert played.code == 0 and played.result["changed"], played.out
    assert clinic.account.changes.count("create_security_group") == 2, "the second meets the first one's group"
    assert clinic.own_group() is not None
