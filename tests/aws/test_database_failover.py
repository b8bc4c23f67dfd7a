# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database in RDS is brought back: started, or its replica in the other region promoted and consumers led there."""

from __future__ import annotations

import json
import socket
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_database import (
    DATABASE,
    REPLICA,
    described,
    lag,
    make_instance,
    make_replica,
    security_group,
    site,
    status,
)
from operator_site import OperatorSite
from regions import PRIMARY, STANDBY, Regions, running_regions

PARAMETER, SECRET, RECORD = "/clinic/database/host", "clinic/database", "db.clinic.example"
LOGIN = {"username": "clinic", "password": "not-a-secret-of-anybody", "port": 5432}


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


def clinic(root: Path, regions: Regions, **database: t.Any) -> OperatorSite:
    """The database with its replica, and three places in which consumers look for it."""
    address = make_instance(regions)["Endpoint"]["Address"]
    make_replica(regions)
    regions.client("ssm").put_parameter(Name=PARAMETER, Value=address, Type="String")
    secret = json.dumps({**LOGIN, "host": address})
    regions.client("secretsmanager", STANDBY).create_secret(Name=SECRET, SecretString=secret)
    route53 = regions.client("route53")
    zone = route53.create_hosted_zone(Name="clinic.example", CallerReference="1")["HostedZone"]["Id"].split("/")[-1]
    record = {"Name": RECORD, "Type": "CNAME", "TTL": 5, "ResourceRecords": [{"Value": address}]}
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
    endpoints = [
        {"parameter": PARAMETER},
        {"secret": SECRET, "region": STANDBY},
        {"record": RECORD, "zone": zone},
    ]
    account = site(root, regions, replica={"instance": REPLICA}, endpoints=endpoints, **database)
    regions.forget()
    return account


def found_by_consumers(regions: Regions) -> set[str]:
    """The addresses that they find."""
    parameter = regions.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"]
    client = regions.client("secretsmanager", STANDBY)
    secret = json.loads(client.get_secret_value(SecretId=SECRET)["SecretString"])
    assert {name: secret[name] for name in LOGIN} == LOGIN
    route53 = regions.client("route53")
    zone = route53.list_hosted_zones()["HostedZones"][0]["Id"]
    sets = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    (record,) = [each for each in sets if each["Type"] == "CNAME"]
    assert record["TTL"] == 5
    return {parameter, secret["host"], record["ResourceRecords"][0]["Value"]}


def test_a_failed_primary_is_replaced_and_a_second_run_changes_nothing(regions: Regions, tmp_path: Path) -> None:
    account = clinic(tmp_path, regions)
    lag(regions, 2.0)
    status(regions, "failed")
    played = account.act("aws_database_failover").worked()
    assert (played.result["path"], played.result["primary"]) == ("promote", REPLICA)
    assert 60 <= played.result["lost_seconds"] <= 400 and "within the RPO" in played.summary
    promoted = described(regions, REPLICA, STANDBY)
    assert "ReadReplicaSourceDBInstanceIdentifier" not in promoted and promoted["BackupRetentionPeriod"] == 7
    assert found_by_consumers(regions) == {promoted["Endpoint"]["Address"]}
    assert LOGIN["password"] not in played.out and f"compare instance {DATABASE}" in played.result["due"][0]
    regions.forget()
    again = account.act("aws_database_failover").worked()
    assert (again.result["path"], again.result["changed"], regions.changes) == ("lead", False, [])


def test_a_loss_beyond_the_rpo_is_refused_until_somebody_accepts_it(regions: Regions, tmp_path: Path) -> None:
    account = clinic(tmp_path, regions)
    lag(regions, 3000.0)
    status(regions, "failed")
    regions.forget()
    said = account.act("aws_database_failover").failed(3)
    assert "beyond the RPO of 900 s" in said and "--accept data_loss" in said and regions.changes == []
    account.act("aws_database_failover", accept="data_loss").worked()
    assert "promote_read_replica" in regions.changes


def test_a_primary_that_serves_is_closed_first_and_check_mode_only_looks(regions: Regions, tmp_path: Path) -> None:
    closed = security_group(regions)
    account = clinic(tmp_path, regions, closed_group=closed)
    lag(regions, 2.0)
    regions.forget()
    planned = account.act("aws_database_failover", "--check").worked()
    assert regions.changes == [] and "fence, mark_promoted, promote" in planned.summary
    account.act("aws_database_failover").worked()
    order = [each for each in regions.changes if each in ("modify_db_instance", "promote_read_replica")]
    assert order == ["modify_db_instance", "promote_read_replica"]
    old = described(regions, DATABASE)
    assert [each["VpcSecurityGroupId"] for each in old["VpcSecurityGroups"]] == [closed]
    assert old["DBInstanceStatus"] == "stopped"


def test_one_that_was_stopped_is_started_again(regions: Regions, tmp_path: Path) -> None:
    account = clinic(tmp_path, regions)
    status(regions, "stopped")
    played = account.act("aws_database_failover").worked()
    assert (played.result["path"], regions.changes) == ("start", ["start_db_instance"])
    assert described(regions, DATABASE)["DBInstanceStatus"] == "available"


def test_a_region_that_is_gone_stops_nothing(regions: Regions, tmp_path: Path) -> None:
    account = clinic(tmp_path, regions)
    lag(regions, 2.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        account.edit("patient_db", "codeblue_aws", endpoints={PRIMARY: url})
        played = account.act("aws_database_failover").worked()
    assert (played.result["path"], played.result["primary"]) == ("promote", REPLICA)
    assert any(f"lead consumers by parameter {PARAMETER}" in each for each in played.result["due"])
    assert any(f"look at instance {DATABASE}" in each for each in played.result["due"])


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_at_a_call_and_taken_up_again_it_promotes_once(regions: Regions, tmp_path: Path, number: int) -> None:
    account = clinic(tmp_path, regions)
    lag(regions, 2.0)
    status(regions, "failed")
    regions.forget()
    process = account.begin("aws_database_failover")
    regions.kill_at(process, number, "after")
    process.communicate(timeout=120)
    assert process.returncode == -9 and len(regions.changes) == number
    account.act("aws_database_failover", run_id=account.last_run).worked()
    assert regions.changes.count("promote_read_replica") == 1
    assert found_by_consumers(regions) == {described(regions, REPLICA, STANDBY)["Endpoint"]["Address"]}
