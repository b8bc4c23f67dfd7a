"""The database of a clinic in RDS, with its replica in another region, as moto simulates it."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID
from moto.rds.models import rds_backends
from operator_site import OperatorSite
from regions import PRIMARY, STANDBY, Regions

DATABASE, REPLICA = "clinic-prod", "clinic-dr"


def make_instance(regions: Regions, name: str = DATABASE, **more: t.Any) -> dict[str, t.Any]:
    """The instance, in the primary region."""
    client = regions.client("rds")
    values = {
        "DBInstanceClass": "db.r6g.large",
        "Engine": "postgres",
        "MasterUsername": "clinic",
        "MasterUserPassword": "not-a-secret",
        "AllocatedStorage": 100,
        "BackupRetentionPeriod": 7,
        **more,
    }
    return t.cast("dict[str, t.Any]", client.create_db_instance(DBInstanceIdentifier=name, **values)["DBInstance"])


def make_replica(regions: Regions) -> None:
    """Its replica in the other region."""
    source = regions.client("rds").describe_db_instances(DBInstanceIdentifier=DATABASE)["DBInstances"][0]
    regions.client("rds", STANDBY).create_db_instance_read_replica(
        DBInstanceIdentifier=REPLICA, SourceDBInstanceIdentifier=source["DBInstanceArn"], SourceRegion=PRIMARY
    )


def service(**database: t.Any) -> dict[str, t.Any]:
    """What an inventory says of the database."""
    return {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "database",
        "codeblue_objectives": {"rto": "30m", "rpo": "15m"},
        "codeblue_aws": {
            "region": PRIMARY,
            "standby_region": STANDBY,
            "database": {"instance": DATABASE, **database},
        },
    }


def site(root: Path, regions: Regions, **database: t.Any) -> OperatorSite:
    """An operator's account with this database in its inventory."""
    made = OperatorSite(root, {"patient_db": service(**database)}, regions.environment)
    # The command hands no key of its environment on.
    keys = root / "home" / ".aws" / "credentials"
    keys.parent.mkdir(exist_ok=True)
    keys.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n", encoding="utf-8")
    return made


def status(regions: Regions, value: str, name: str = DATABASE, region: str = PRIMARY) -> None:
    """Let RDS say something else of an instance."""
    del regions
    rds_backends[DEFAULT_ACCOUNT_ID][region].databases[name].status = value


def lag(regions: Regions, seconds: float) -> None:
    """What CloudWatch keeps of the replica's lag, of a minute ago."""
    at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    dimensions = [{"Name": "DBInstanceIdentifier", "Value": REPLICA}]
    data = {"MetricName": "ReplicaLag", "Dimensions": dimensions, "Timestamp": at, "Value": seconds}
    regions.client("cloudwatch", STANDBY).put_metric_data(Namespace="AWS/RDS", MetricData=[data])


def security_group(regions: Regions, region: str = PRIMARY) -> str:
    """A security group without rules."""
    client = regions.client("ec2", region)
    network = client.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = client.create_security_group(GroupName="closed", Description="nobody", VpcId=network)
    return str(made["GroupId"])


def described(regions: Regions, name: str, region: str = PRIMARY) -> dict[str, t.Any]:
    """What RDS says of an instance."""
    found = regions.client("rds", region).describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    return t.cast("dict[str, t.Any]", found[0])


def names(regions: Regions, region: str = PRIMARY) -> set[str]:
    """Of all instances of a region."""
    found = regions.client("rds", region).describe_db_instances()["DBInstances"]
    return {each["DBInstanceIdentifier"] for each in found}
