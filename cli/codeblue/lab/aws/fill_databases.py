"""Databases: an instance of RDS with a replica in the other region, and an Aurora cluster that is global."""

from __future__ import annotations

import typing as t

from codeblue.lab.aws.blueprint import ANALYTICS, DATABASE, DATABASE_SECRET, GLOBAL_CLUSTER, PLATFORM, PRIMARY
from codeblue.lab.aws.filling import Filling

_CLASS = "db.r6g.large"
_USER = "healthcare"


def fill(filling: Filling, region: str) -> None:
    """Those of one region; the primary's first."""
    rds = filling.account.client("rds", region)
    subnets = [filling.fact(region, f"subnet-{zone}") for zone in "ab"]
    group = f"{PLATFORM}-db-subnet"
    rds.create_db_subnet_group(DBSubnetGroupName=group, DBSubnetGroupDescription=PLATFORM, SubnetIds=subnets)
    if region == PRIMARY:
        _primary(filling, rds, region, group)
    else:
        _replica(filling, rds, region, group)
    _analytics(filling, rds, region, group)
    instance = rds.describe_db_instances(DBInstanceIdentifier=DATABASE[region])["DBInstances"][0]
    filling.keep(region, "database", instance["DBInstanceArn"])
    filling.keep(region, "database-endpoint", instance["Endpoint"]["Address"])
    cluster = rds.describe_db_clusters(DBClusterIdentifier=ANALYTICS[region])["DBClusters"][0]
    filling.keep(region, "analytics", cluster["DBClusterArn"])
    filling.keep(region, "analytics-endpoint", cluster["Endpoint"])


def _primary(filling: Filling, rds: t.Any, region: str, group: str) -> None:
    made = rds.create_db_instance(
        DBInstanceIdentifier=DATABASE[region],
        DBName="healthcare_platform",
        Engine="postgres",
        EngineVersion="16.3",
        DBInstanceClass=_CLASS,
        AllocatedStorage=100,
        MasterUsername=_USER,
        MasterUserPassword=filling.secret(DATABASE_SECRET),
        MultiAZ=True,
        StorageEncrypted=True,
        BackupRetentionPeriod=7,
        DeletionProtection=True,
        DBSubnetGroupName=group,
        VpcSecurityGroupIds=[filling.fact(region, "group-databases")],
    )["DBInstance"]
    filling.keep(region, "database", made["DBInstanceArn"])
    name = f"{PLATFORM}-backup-nightly"
    rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=DATABASE[region])
    filling.keep(region, "database-snapshot", name)


def _replica(filling: Filling, rds: t.Any, region: str, group: str) -> None:
    rds.create_db_instance_read_replica(
        DBInstanceIdentifier=DATABASE[region],
        SourceDBInstanceIdentifier=filling.fact(PRIMARY, "database"),
        SourceRegion=PRIMARY,
        DBInstanceClass=_CLASS,
        DBSubnetGroupName=group,
        VpcSecurityGroupIds=[filling.fact(region, "group-databases")],
    )


def _analytics(filling: Filling, rds: t.Any, region: str, group: str) -> None:
    common: dict[str, t.Any] = {
        "DBClusterIdentifier": ANALYTICS[region],
        "Engine": "aurora-postgresql",
        "EngineVersion": "16.3",
        "DBSubnetGroupName": group,
        "VpcSecurityGroupIds": [filling.fact(region, "group-databases")],
    }
    if region == PRIMARY:
        cluster = rds.create_db_cluster(
            **common,
            DatabaseName="analytics",
            MasterUsername=_USER,
            MasterUserPassword=filling.secret("analytics"),
            BackupRetentionPeriod=7,
        )["DBCluster"]
        rds.create_global_cluster(
            GlobalClusterIdentifier=GLOBAL_CLUSTER, SourceDBClusterIdentifier=cluster["DBClusterArn"]
        )
    else:
        rds.create_db_cluster(**common, GlobalClusterIdentifier=GLOBAL_CLUSTER)
    for number in (1, 2):
        rds.create_db_instance(
            DBInstanceIdentifier=f"{ANALYTICS[region]}-{number}",
            DBClusterIdentifier=ANALYTICS[region],
            DBInstanceClass=_CLASS,
            Engine="aurora-postgresql",
        )
