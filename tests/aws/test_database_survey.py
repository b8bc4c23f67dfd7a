# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is seen of databases in RDS, and what is made of it, asked as a diagnosis asks."""

from __future__ import annotations

import socket
import time
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import look_at_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import judge_on_aws
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_database import PART
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service
from clinic_database import DATABASE, REPLICA, described, make_instance, make_replica, security_group, service, status
from regions import PRIMARY, STANDBY, Regions, running_regions

HOST = "/clinic/database/host"
FAILING = CheckResult("patient_db", "login", "shallow", "http", False, 1.0, "unavailable", "", at=1000.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions, monkeypatch: pytest.MonkeyPatch) -> Regions:
    server.reset()
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def database(urls: dict[str, str] | None = None, **settings: t.Any) -> Service:
    variables = service(**settings)
    if urls:
        variables["codeblue_aws"]["endpoints"] = urls
    return load_service("patient_db", variables, ["patient_db"])


def open_group(regions: Regions) -> list[str]:
    """A security group that lets somebody in."""
    group = security_group(regions)
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    regions.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    return [group]


def judged(service: Service, *failing: CheckResult) -> dict[str, t.Any]:
    seen = look_at_services({"patient_db": service})["patient_db"]
    return judge_on_aws(service, seen, failing, lambda _kind: (), lambda _kind: (), time.time())


def test_a_database_that_serves_is_well_and_nothing_is_changed_to_see_that(regions: Regions) -> None:
    make_instance(regions, VpcSecurityGroupIds=open_group(regions), Port=5432)
    make_replica(regions)
    regions.forget()
    found = judged(database(replica={"instance": REPLICA}))
    assert (found["cause"], regions.changes) == ("healthy", [])
    assert len(regions.asked) <= 8


@pytest.mark.parametrize(
    ("state", "cause", "treatment"),
    [("stopped", "database_stopped", "failover"), ("failed", "database_failed", "failover")],
)
def test_its_status_is_the_cause(regions: Regions, state: str, cause: str, treatment: str) -> None:
    make_instance(regions)
    status(regions, state)
    found = judged(database(), FAILING)
    assert (found["cause"], found["treatment"], found["part"]) == (cause, treatment, "database")


def test_consumers_that_are_led_elsewhere_are_seen(regions: Regions) -> None:
    make_instance(regions, VpcSecurityGroupIds=open_group(regions), Port=5432)
    regions.client("ssm").put_parameter(Name=HOST, Value="old.example", Type="String")
    service = database(endpoints=[{"parameter": HOST}])
    found = judged(service)
    assert (found["cause"], found["treatment"]) == ("endpoint_wrong", "failover")
    assert f"parameter {HOST} in {PRIMARY} leads to old.example" in found["evidence"]
    address = described(regions, DATABASE)["Endpoint"]["Address"]
    regions.client("ssm").put_parameter(Name=HOST, Value=address, Type="String", Overwrite=True)
    assert judged(service)["cause"] == "healthy"


def test_a_way_that_is_closed_is_seen(regions: Regions) -> None:
    group = security_group(regions)
    make_instance(regions, VpcSecurityGroupIds=[group], Port=5432)
    assert judged(database(), FAILING)["cause"] == "network_closed"
    permission = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    regions.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert judged(database(), FAILING)["cause"] == "inconclusive"


def test_a_region_that_is_gone_takes_nothing_from_what_the_other_says(regions: Regions) -> None:
    make_instance(regions)
    make_replica(regions)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        found = judged(database({PRIMARY: url}, replica={"instance": REPLICA}), FAILING)
    assert (found["cause"], found["treatment"]) == ("region_silent", "failover")
    assert f"its replica instance {REPLICA} in {STANDBY} is available" in found["evidence"]


def test_a_check_of_a_promoted_replica_does_not_wait_for_the_region_that_is_gone(regions: Regions) -> None:
    make_instance(regions)
    make_replica(regions)
    client = regions.client("rds", STANDBY)
    client.promote_read_replica(DBInstanceIdentifier=REPLICA)
    arn = described(regions, REPLICA, STANDBY)["DBInstanceArn"]
    client.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "codeblue:promoted", "Value": "run"}])
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        platform = database({PRIMARY: url}, replica={"instance": REPLICA}).require_aws()
        account = AwsAccount(AwsAccess(endpoints=platform.endpoints), PRIMARY, Budget(15.0), read_only=True)
        found = PART.check(account, {"patient_db": platform})["patient_db"]
    assert found.error_class is None and REPLICA in found.detail


def test_many_databases_are_listed_and_not_asked_for_one_by_one(regions: Regions) -> None:
    names = [f"clinic-{number}" for number in range(30)]
    for name in names:
        make_instance(regions, name)
    services = {name: load_service(name, service(instance=name), [name]) for name in names}
    regions.forget()
    looked = look_at_services(services)
    assert all(looked[name].looks["database"].primary.status == "available" for name in names)
    described_instances = [each for each in regions.asked if each.operation == "describe_db_instances"]
    assert len(described_instances) == 1
