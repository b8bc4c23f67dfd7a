"""The database is away: stopped, broken, cut off, or where nobody looks for it; or its data are damaged."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from codeblue.lab.aws.blueprint import (
    DATABASE,
    DATABASE_PARAMETER,
    DATABASE_PORT,
    PRIMARY,
    STANDBY,
)
from codeblue.lab.aws.faults import AwsFault
from codeblue.lab.aws.outside import DAMAGED_DATA
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.secrets import new_password

RUNBOOK = "database_connection_failure"
CORRUPTION = "data_corruption_detected"
_DATABASE = ("patient_db",)
_CONSUMERS = ("records", "auth")
_SECONDS = 120.0
_FAR_BEHIND = 900.0
_WRONG_HOST = "healthcare-platform-old.aaaaaaaaaa.us-east-1.rds.amazonaws.com"


@dataclass(frozen=True)
class Stopped(AwsFault):
    """Somebody stops the primary instance."""

    def damage(self, parts: AwsParts) -> None:
        parts.client("rds", PRIMARY).stop_db_instance(DBInstanceIdentifier=DATABASE[PRIMARY])


@dataclass(frozen=True)
class Failed(AwsFault):
    """RDS gives the primary instance up: it is in a state out of which it does not come by itself.

    :param status: as RDS names it.
    :param lag: seconds that the replica is behind at that moment.
    """

    status: str = "failed"
    lag: float = 0.2

    def damage(self, parts: AwsParts) -> None:
        parts.control.do("database", region=STANDBY, name=DATABASE[STANDBY], lag=self.lag)
        parts.control.do("database", region=PRIMARY, name=DATABASE[PRIMARY], status=self.status)


@dataclass(frozen=True)
class EndpointWrong(AwsFault):
    """The parameter by which programs find the database names a host that is not there, and tasks start anew."""

    def damage(self, parts: AwsParts) -> None:
        parts.client("ssm", PRIMARY).put_parameter(
            Name=DATABASE_PARAMETER, Value=_WRONG_HOST, Type="String", Overwrite=True
        )
        for name in _CONSUMERS:
            parts.stop_tasks(PRIMARY, name)


@dataclass(frozen=True)
class PasswordChanged(AwsFault):
    """The database gets another password, the secret that programs read does not, and tasks start anew."""

    def damage(self, parts: AwsParts) -> None:
        parts.client("rds", PRIMARY).modify_db_instance(
            DBInstanceIdentifier=DATABASE[PRIMARY], MasterUserPassword=new_password(), ApplyImmediately=True
        )
        for name in _CONSUMERS:
            parts.stop_tasks(PRIMARY, name)


@dataclass(frozen=True)
class CutOff(AwsFault):
    """The security group of the database lets the tasks in no more."""

    def damage(self, parts: AwsParts) -> None:
        source = {"UserIdGroupPairs": [{"GroupId": parts.fact(PRIMARY, "group-tasks")}]}
        permission: dict[str, t.Any] = {
            "IpProtocol": "tcp",
            "FromPort": DATABASE_PORT,
            "ToPort": DATABASE_PORT,
            **source,
        }
        parts.client("ec2", PRIMARY).revoke_security_group_ingress(
            GroupId=parts.fact(PRIMARY, "group-databases"), IpPermissions=[permission]
        )


@dataclass(frozen=True)
class Damaged(AwsFault):
    """Rows are overwritten. There are none: the lab notes that the data of the instance are bad from now on."""

    def damage(self, parts: AwsParts) -> None:
        parts.control.do("database", region=PRIMARY, name=DATABASE[PRIMARY], damaged=True)


@dataclass(frozen=True)
class DamagedAndKept(Damaged):
    """The same, and a snapshot is taken after it: the newest one holds the damage."""

    def damage(self, parts: AwsParts) -> None:
        super().damage(parts)
        parts.client("rds", PRIMARY).create_db_snapshot(
            DBSnapshotIdentifier=f"{DATABASE[PRIMARY]}-after", DBInstanceIdentifier=DATABASE[PRIMARY]
        )


DATABASE_FAULTS: tuple[AwsFault, ...] = (
    Stopped("patient_db_stopped", "the primary instance of patient_db is stopped", _DATABASE, RUNBOOK, _SECONDS),
    Failed(
        "patient_db_failed",
        "the primary instance of patient_db is in the state failed; its replica is in step",
        _DATABASE,
        RUNBOOK,
        _SECONDS,
    ),
    EndpointWrong(
        "patient_db_endpoint_wrong",
        "the parameter with the host of patient_db names one that is not there, and tasks start anew",
        (*_DATABASE, *_CONSUMERS),
        RUNBOOK,
        _SECONDS,
    ),
    PasswordChanged(
        "patient_db_password_changed",
        "patient_db has another password than the secret says, and tasks start anew",
        (*_DATABASE, *_CONSUMERS),
        RUNBOOK,
        _SECONDS,
    ),
    CutOff("patient_db_cut_off", "the security group of patient_db lets nobody in", _DATABASE, RUNBOOK, _SECONDS),
    Failed(
        "patient_db_failed_and_behind",
        "the primary instance of patient_db is in the state failed, and its replica is fifteen minutes behind",
        _DATABASE,
        lag=_FAR_BEHIND,
    ),
    Damaged(
        "records_damaged",
        "rows of patient_db are overwritten; a check of their digests sees it",
        _DATABASE,
        CORRUPTION,
        _SECONDS,
        signals=(DAMAGED_DATA,),
    ),
    DamagedAndKept(
        "records_damaged_and_kept",
        "rows of patient_db are overwritten, and the newest snapshot is of after that",
        _DATABASE,
        CORRUPTION,
        _SECONDS,
        signals=(DAMAGED_DATA,),
    ),
)
