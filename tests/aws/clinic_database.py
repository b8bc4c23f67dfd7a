"""The database of a clinic in RDS, with its replica in another region, as moto simulates it."""

from __future__ import annotations

import typing as t
from pathlib import Path

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
    return OperatorSite(root, {"patient_db": service(**database)}, regions.environment)
