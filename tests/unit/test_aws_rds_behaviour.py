# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How RDS behaves on the way, by answers of the form of its own model: what a simulation, done at once, never shows.

Each answer is checked against that model, and so is each question.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterator

import boto3
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import NotReady, RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_lag import replicated_until
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook, look_at_instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_promotion import (
    Promotion,
    fail_over_in_cluster,
    until_writer,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_restore import restore_point
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_swap import Rename
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import Before, WriteGate
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import (
    AwsDatabase,
    DatabasePlace,
    ReplicaPlace,
)
from botocore.stub import Stubber

HERE, THERE = "us-east-1", "us-west-2"
REPLICA = DatabasePlace(THERE, "clinic-dr", cluster=False)
CLUSTER = DatabasePlace(THERE, "clinic-dr", cluster=True)
CLUSTER_ARN = "arn:aws:rds:us-west-2:123456789012:cluster:clinic-dr"
GLOBAL = ReplicaPlace(CLUSTER, "clinic-world")
NOW = datetime.datetime(2026, 1, 15, 12, 0, tzinfo=datetime.UTC)


class Scripted:
    """An account whose services answer what a test says, in this order, and nothing else."""

    def __init__(self) -> None:
        self.account = AwsAccount(AwsAccess(), HERE, Budget(60.0), sleep=lambda _seconds: None)
        self.databases = RdsDatabases(self.account, sleep=lambda _seconds: None)
        self._stubs: dict[tuple[str, str], Stubber] = {}

    def stub(self, service: str, region: str) -> Stubber:
        if (service, region) not in self._stubs:
            client = boto3.client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
            stubber = self._stubs[service, region] = Stubber(client)
            stubber.activate()
            self.account._clients[service, region] = client
        return self._stubs[service, region]

    def answer(self, operation: str, answer: dict[str, t.Any], region: str = THERE, **expected: t.Any) -> None:
        self.stub("rds", region).add_response(operation, answer, expected or None)

    def refuse(self, operation: str, code: str, region: str = THERE) -> None:
        self.stub("rds", region).add_client_error(operation, code, "no")

    def instance(self, status: str = "available", region: str = THERE, **more: t.Any) -> None:
        self.answer("describe_db_instances", {"DBInstances": [instance(status, **more)]}, region)

    def cluster(self, status: str = "available", **more: t.Any) -> None:
        values = {"DBClusterIdentifier": "clinic-dr", "Status": status, "DBClusterArn": CLUSTER_ARN, **more}
        self.answer("describe_db_clusters", {"DBClusters": [values]})

    def world(self, writer: str, failing_over: bool = False) -> None:
        found: dict[str, t.Any] = {"GlobalClusterMembers": [{"DBClusterArn": writer, "IsWriter": True}]}
        if failing_over:
            found["FailoverState"] = {"Status": "failing-over", "ToDbClusterArn": CLUSTER_ARN}
        self.answer("describe_global_clusters", {"GlobalClusters": [found]})

    def all_was_asked(self) -> None:
        for stubber in self._stubs.values():
            stubber.assert_no_pending_responses()


def instance(status: str = "available", **more: t.Any) -> dict[str, t.Any]:
    return {
        "DBInstanceIdentifier": "clinic-dr",
        "DBInstanceStatus": status,
        "DbiResourceId": "db-REPLICA",
        "DBInstanceArn": "arn:aws:rds:us-west-2:123456789012:db:clinic-dr",
        "Endpoint": {"Address": "clinic-dr.abc.us-west-2.rds.amazonaws.com", "Port": 5432},
        **more,
    }


def look(**more: t.Any) -> DatabaseLook:
    return look_at_instance(THERE, instance(**more))


@pytest.fixture
def rds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    scripted = Scripted()
    yield scripted
    scripted.all_was_asked()


# -- promotion -------------------------------------------------------------------------------------------------


def test_a_promotion_is_waited_for_until_the_role_has_changed(rds: Scripted) -> None:
    source = {"ReadReplicaSourceDBInstanceIdentifier": "arn:aws:rds:us-east-1:123456789012:db:clinic-prod"}
    rds.instance(**source)
    rds.answer("promote_read_replica", {}, DBInstanceIdentifier="clinic-dr", BackupRetentionPeriod=7)
    promotion = Promotion(rds.databases, ReplicaPlace(REPLICA), backup_days=7)
    assert promotion.promote()
    # As RDS goes about it: available at first, and still a replica.
    rds.instance(**source)
    rds.instance("modifying", **source)
    rds.instance("rebooting")
    rds.instance("backing-up")
    rds.instance(PendingModifiedValues={"BackupRetentionPeriod": 7})
    rds.instance(BackupRetentionPeriod=7)
    assert promotion.until_promoted(60.0).backup_days == 7


def test_a_promotion_whose_answer_was_lost_is_not_asked_for_again(rds: Scripted) -> None:
    rds.instance()
    assert not Promotion(rds.databases, ReplicaPlace(REPLICA), 7).promote()
    # While it is under way, RDS refuses a second one.
    rds.instance("modifying", ReadReplicaSourceDBInstanceIdentifier="clinic-prod")
    rds.refuse("promote_read_replica", "InvalidDBInstanceState")
    rds.instance("modifying", ReadReplicaSourceDBInstanceIdentifier="clinic-prod")
    assert not Promotion(rds.databases, ReplicaPlace(REPLICA), 7).promote()


def test_a_replica_that_cannot_be_promoted_is_no_success(rds: Scripted) -> None:
    rds.instance(ReadReplicaSourceDBInstanceIdentifier="clinic-prod")
    rds.refuse("promote_read_replica", "InvalidDBInstanceState")
    rds.instance(ReadReplicaSourceDBInstanceIdentifier="clinic-prod")
    with pytest.raises(AwsError, match="InvalidDBInstanceState"):
        Promotion(rds.databases, ReplicaPlace(REPLICA), 7).promote()


def test_what_becomes_stuck_is_not_waited_for(rds: Scripted) -> None:
    rds.instance("storage-full", ReadReplicaSourceDBInstanceIdentifier="clinic-prod")
    with pytest.raises(NotReady, match="clinic-dr in us-west-2 is storage-full and does not become the primary"):
        Promotion(rds.databases, ReplicaPlace(REPLICA), 7).until_promoted(60.0)


def test_a_cluster_that_replicates_another_is_promoted_as_a_cluster(rds: Scripted) -> None:
    rds.cluster(ReplicationSourceIdentifier="arn:aws:rds:us-east-1:123456789012:cluster:clinic")
    rds.answer("promote_read_replica_db_cluster", {}, DBClusterIdentifier="clinic-dr")
    promotion = Promotion(rds.databases, ReplicaPlace(CLUSTER), 7)
    assert promotion.promote()
    rds.cluster("promoting", ReplicationSourceIdentifier="arn:aws:rds:us-east-1:123456789012:cluster:clinic")
    rds.cluster(Endpoint="clinic-dr.cluster-abc.us-west-2.rds.amazonaws.com")
    assert promotion.until_promoted(60.0).address.startswith("clinic-dr.cluster-")


def test_a_global_database_is_failed_over_from_the_region_that_is_left(rds: Scripted) -> None:
    promotion = Promotion(rds.databases, GLOBAL, 7)
    old = CLUSTER_ARN.replace(THERE, HERE)
    rds.cluster()
    rds.world(old)
    rds.world(old)
    rds.answer(
        "failover_global_cluster",
        {},
        GlobalClusterIdentifier="clinic-world",
        TargetDbClusterIdentifier=CLUSTER_ARN,
        AllowDataLoss=True,
    )
    assert promotion.promote()
    # It is the writer before the global database is done.
    rds.cluster()
    rds.world(CLUSTER_ARN, failing_over=True)
    rds.cluster()
    rds.world(CLUSTER_ARN)
    assert promotion.until_promoted(60.0).arn == CLUSTER_ARN


def test_a_failover_of_a_global_database_in_doubt_is_looked_at(rds: Scripted) -> None:
    promotion = Promotion(rds.databases, GLOBAL, 7)
    old = CLUSTER_ARN.replace(THERE, HERE)
    rds.cluster()
    rds.world(old)
    rds.world(old)
    rds.refuse("failover_global_cluster", "InternalFailure")
    # Whether it was taken is not known, so it is not sent twice.
    with pytest.raises(AwsUnavailable):
        promotion.promote()
    rds.cluster()
    rds.world(old, failing_over=True)
    rds.world(old, failing_over=True)
    assert not promotion.promote()


def test_a_switchover_is_asked_for_where_the_primary_is(rds: Scripted) -> None:
    rds.cluster()
    rds.world(CLUSTER_ARN.replace(THERE, HERE))
    rds.world(CLUSTER_ARN.replace(THERE, HERE))
    rds.answer(
        "switchover_global_cluster",
        {},
        HERE,
        GlobalClusterIdentifier="clinic-world",
        TargetDbClusterIdentifier=CLUSTER_ARN,
    )
    assert Promotion(rds.databases, GLOBAL, 7).promote(planned=True, primary_region=HERE)


def test_in_a_cluster_the_other_instance_has_to_write(rds: Scripted) -> None:
    def members(writer: str) -> list[dict[str, t.Any]]:
        names = ("clinic-1", "clinic-2")
        return [{"DBInstanceIdentifier": name, "IsClusterWriter": name == writer} for name in names]

    rds.cluster(DBClusterMembers=members("clinic-1"))
    expected = {"DBClusterIdentifier": "clinic-dr", "TargetDBInstanceIdentifier": "clinic-2"}
    rds.answer("failover_db_cluster", {}, **expected)
    assert fail_over_in_cluster(rds.databases, CLUSTER, "clinic-2")
    rds.cluster("failing-over", DBClusterMembers=members("clinic-1"))
    rds.cluster(DBClusterMembers=members("clinic-1"))
    rds.cluster(DBClusterMembers=members("clinic-2"))
    assert until_writer(rds.databases, CLUSTER, "clinic-2", 60.0).writer == "clinic-2"
    rds.cluster(DBClusterMembers=members("clinic-2"))
    assert not fail_over_in_cluster(rds.databases, CLUSTER, "clinic-2")


# -- lag -------------------------------------------------------------------------------------------------------


def test_the_lag_tells_until_when_a_replica_has_everything(rds: Scripted) -> None:
    def minute(before: int, lag: float) -> dict[str, t.Any]:
        return {"Timestamp": NOW - datetime.timedelta(minutes=before), "Maximum": lag}

    # It grows while the primary is gone, and below zero replication does not work.
    points = [minute(6, 2.0), minute(3, 190.0), minute(2, 250.0), minute(1, -1.0)]
    rds.stub("cloudwatch", THERE).add_response("get_metric_statistics", {"Datapoints": points})
    assert replicated_until(rds.account, look(), NOW.timestamp()) == NOW.timestamp() - 362.0
    rds.stub("cloudwatch", THERE).add_response("get_metric_statistics", {"Datapoints": []})
    assert replicated_until(rds.account, look(), NOW.timestamp()) is None


# -- a point in time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("2026-01-15T13:00:00Z", "RDS has it from 2026-01-08T11:55:00Z to 2026-01-15T11:55:00Z"),
        ("2026-01-01T00:00:00+00:00", "cannot be restored to 2026-01-01"),
        ("2026-01-15T10:00:00", "says no time zone"),
        ("yesterday", "is no moment"),
    ],
)
def test_a_moment_that_rds_does_not_have_is_refused_before_anything_is_asked_for(wanted: str, words: str) -> None:
    seen = look(LatestRestorableTime=NOW - datetime.timedelta(minutes=5), BackupRetentionPeriod=7)
    with pytest.raises(BadInput) as caught:
        restore_point(seen, wanted)
    assert words in caught.value.message


def test_without_backups_there_is_no_moment() -> None:
    with pytest.raises(BadInput, match="keeps no automated backups"):
        restore_point(look(), "")
    seen = look(LatestRestorableTime=NOW, BackupRetentionPeriod=7)
    assert str(restore_point(seen, "")) == "2026-01-15T12:00:00Z"


# -- names -----------------------------------------------------------------------------------------------------


def test_a_rename_that_is_under_way_is_waited_for(rds: Scripted) -> None:
    rename = Rename(REPLICA, DatabasePlace(THERE, "clinic-old", cluster=False), "db-REPLICA/")
    # While RDS renames it, the new name is not there and the old one takes no change.
    rds.refuse("describe_db_instances", "DBInstanceNotFound")
    rds.instance("renaming")
    rds.refuse("modify_db_instance", "InvalidDBInstanceState")
    rds.instance("renaming")
    assert not rename.carry_out(rds.databases)
    rds.refuse("describe_db_instances", "DBInstanceNotFound")
    rds.instance("renaming", DBInstanceIdentifier="clinic-old")
    rds.instance(DBInstanceIdentifier="clinic-old")
    assert rename.until_done(rds.databases, 60.0).place.identifier == "clinic-old"


def test_another_database_under_the_name_is_left_alone(rds: Scripted) -> None:
    rename = Rename(REPLICA, DatabasePlace(THERE, "clinic-old", cluster=False), "db-REPLICA/")
    rds.instance(DbiResourceId="db-OTHER")
    with pytest.raises(Refused, match="clinic-old in us-west-2 is another database"):
        rename.carry_out(rds.databases)


# -- writes ----------------------------------------------------------------------------------------------------


def test_a_parameter_that_nobody_had_set_is_reset_to_that(rds: Scripted) -> None:
    gate = WriteGate(rds.databases, AwsDatabase(REPLICA))
    group = {"DBParameterGroups": [{"DBParameterGroupName": "own", "ParameterApplyStatus": "in-sync"}]}
    seen = look(Engine="postgres", **group)
    named = {"ParameterName": "default_transaction_read_only", "ApplyMethod": "immediate"}
    rds.instance(**group)
    rds.answer("describe_db_parameters", {"Parameters": []}, DBParameterGroupName="own", Source="user")
    before = gate.choose(seen)
    assert str(before) == "parameter own -" and Before.parse(str(before)) == before
    rds.answer("describe_db_parameters", {"Parameters": []}, DBParameterGroupName="own", Source="user")
    rds.answer(
        "modify_db_parameter_group", {}, DBParameterGroupName="own", Parameters=[{**named, "ParameterValue": "1"}]
    )
    assert gate.close(seen, before)
    # RDS applies it some time after it was told to.
    rds.instance(DBParameterGroups=[{"DBParameterGroupName": "own", "ParameterApplyStatus": "applying"}])
    rds.instance(**group)
    gate.until_applied(REPLICA, before, closed=True, seconds=60.0)
    closed = {"Parameters": [{"ParameterName": "default_transaction_read_only", "ParameterValue": "1"}]}
    rds.answer("describe_db_parameters", closed)
    rds.answer("reset_db_parameter_group", {}, DBParameterGroupName="own", Parameters=[named])
    assert gate.open(seen, before)


def test_a_parameter_group_of_others_is_not_touched(rds: Scripted) -> None:
    group = {"DBParameterGroups": [{"DBParameterGroupName": "shared"}]}
    others = [instance(**group), instance(DBInstanceIdentifier="billing", **group)]
    rds.answer("describe_db_instances", {"DBInstances": others})
    with pytest.raises(Refused, match="its parameter group is that of billing as well"):
        WriteGate(rds.databases, AwsDatabase(REPLICA)).choose(look(Engine="postgres", **group))


def test_where_the_parameter_is_no_way_the_security_group_is(rds: Scripted) -> None:
    gate = WriteGate(rds.databases, AwsDatabase(REPLICA, closed_group="sg-00000000"))
    default = {"DBParameterGroups": [{"DBParameterGroupName": "default.postgres16"}]}
    seen = look(Engine="postgres", VpcSecurityGroups=[{"VpcSecurityGroupId": "sg-11111111"}], **default)
    before = gate.choose(seen)
    assert str(before) == "group sg-00000000 sg-11111111"
    rds.answer(
        "modify_db_instance",
        {},
        DBInstanceIdentifier="clinic-dr",
        ApplyImmediately=True,
        VpcSecurityGroupIds=["sg-00000000"],
    )
    assert gate.close(seen, before)
