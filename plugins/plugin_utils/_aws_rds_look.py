# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What RDS says about an instance or an Aurora cluster, in the same words for both. Pure."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

#: Tags of what this collection made: by which run, and for which service.
RUN_TAG, SERVICE_TAG = "codeblue:run", "codeblue:service"
# States in which clients are served, as the user guide of RDS lists them; what is missing here is none, or on its way.
_SERVING = frozenset(
    {
        "available",
        "backing-up",
        "backtracking",
        "configuring-associated-roles",
        "configuring-enhanced-monitoring",
        "configuring-iam-database-auth",
        "configuring-log-exports",
        "modifying",
        "storage-config-upgrade",
        "storage-initialization",
        "storage-optimization",
        "update-iam-db-auth",
    }
)
#: States out of which none comes by itself, with what has to be done.
STUCK: Mapping[str, str] = {
    "deleting": "it is being deleted: restore it from its last snapshot",
    "failed": "RDS cannot recover it: promote its replica, or restore it to a point in time",
    "inaccessible-encryption-credentials": "give the KMS key back, then restore it from a snapshot",
    "inaccessible-encryption-credentials-recoverable": "give the KMS key back, then start it",
    "incompatible-create": "make it again with other values",
    "incompatible-credentials": "give it another master password",
    "incompatible-network": "look at its subnets and their free addresses",
    "incompatible-option-group": "give it its former option group",
    "incompatible-parameters": "reset the parameter that does not fit, then reboot it",
    "incompatible-restore": "restore it from another snapshot",
    "insufficient-capacity": "give it another class, or another availability zone",
    "insufficient-disk-space": "give it more storage",
    "restore-error": "restore it from another snapshot",
    "storage-full": "give it more storage: aws rds modify-db-instance --allocated-storage",
}
#: Nothing is wrong with it, nobody started it.
STOPPED = frozenset({"stopped", "stopping"})
STOPPING = "stopping"
AVAILABLE = "available"


@dataclass(frozen=True)
class ClusterMember:
    """An instance of an Aurora cluster."""

    identifier: str
    writer: bool
    tier: int


@dataclass(frozen=True)
class DatabaseLook:
    """An instance or a cluster, as it is now.

    :param resource: identifier that stays when it is renamed.
    :param address: at which clients find it; empty while it has none.
    :param source: what it replicates, an identifier or an ARN; empty for nothing.
    :param replicas: what replicates it.
    :param pending: names of what is still to be changed.
    :param backup_days: for how long automated backups stay; 0 for none.
    :param earliest: the first moment that it can be restored to; None when it cannot, or RDS does not say.
    :param latest: the last one.
    :param groups: its security groups.
    :param parameter_group: of the cluster, or of the instance.
    :param parameters: `in-sync`, `applying`, `pending-reboot`; empty when it is not said.
    :param settings: what one that is restored from it has to get, by the names of the restoring operations.
    :param global_cluster: the global database that it belongs to; empty for none.
    """

    place: DatabasePlace
    resource: str
    arn: str
    status: str
    engine: str
    address: str = ""
    port: int = 0
    source: str = ""
    replicas: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    backup_days: int = 0
    earliest: datetime.datetime | None = None
    latest: datetime.datetime | None = None
    encrypted: bool = False
    groups: tuple[str, ...] = ()
    parameter_group: str = ""
    parameters: str = ""
    members: tuple[ClusterMember, ...] = ()
    settings: Mapping[str, t.Any] = field(default_factory=dict, hash=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    global_cluster: str = ""

    @property
    def serves(self) -> bool:
        """Clients are served, as far as RDS knows."""
        return self.status in _SERVING

    @property
    def identity(self) -> str:
        """Stays when it is renamed. One that a run restored is marked by that run as well."""
        return f"{self.resource}/{self.tags.get(RUN_TAG, '')}"

    @property
    def writer(self) -> str:
        """The instance of a cluster that takes writes; empty when there is none."""
        return next((each.identifier for each in self.members if each.writer), "")

    @property
    def unsettled(self) -> str:
        """What it is on its way to; empty when it is available and nothing is pending."""
        if self.status != AVAILABLE:
            return f"it is {self.status}"
        return f"pending: {', '.join(self.pending)}" if self.pending else ""


def look_at_instance(region: str, found: Mapping[str, t.Any]) -> DatabaseLook:
    """An instance.

    :param found: of the answer of `describe_db_instances`.
    """
    groups = _groups(found)
    parameters = (found.get("DBParameterGroups") or [{}])[0]
    subnets = (found.get("DBSubnetGroup") or {}).get("DBSubnetGroupName")
    settings = {
        "DBInstanceClass": found.get("DBInstanceClass"),
        "DBSubnetGroupName": subnets,
        "VpcSecurityGroupIds": list(groups) or None,
        "DBParameterGroupName": parameters.get("DBParameterGroupName"),
        "MultiAZ": found.get("MultiAZ"),
        "PubliclyAccessible": found.get("PubliclyAccessible"),
        "AutoMinorVersionUpgrade": found.get("AutoMinorVersionUpgrade"),
        "CopyTagsToSnapshot": found.get("CopyTagsToSnapshot"),
        "EnableIAMDatabaseAuthentication": found.get("IAMDatabaseAuthenticationEnabled"),
        "DeletionProtection": found.get("DeletionProtection"),
        "Port": (found.get("Endpoint") or {}).get("Port"),
    }
    source = found.get("ReadReplicaSourceDBInstanceIdentifier") or found.get("ReadReplicaSourceDBClusterIdentifier")
    return DatabaseLook(
        place=DatabasePlace(region, str(found["DBInstanceIdentifier"]), cluster=False),
        resource=str(found.get("DbiResourceId") or ""),
        arn=str(found.get("DBInstanceArn") or ""),
        status=str(found.get("DBInstanceStatus") or "unknown").lower(),
        engine=str(found.get("Engine") or ""),
        address=str((found.get("Endpoint") or {}).get("Address") or ""),
        port=int((found.get("Endpoint") or {}).get("Port") or 0),
        source=str(source or ""),
        replicas=tuple(found.get("ReadReplicaDBInstanceIdentifiers") or ()),
        pending=_pending(found),
        backup_days=int(found.get("BackupRetentionPeriod") or 0),
        earliest=_earliest(found),
        latest=found.get("LatestRestorableTime"),
        encrypted=bool(found.get("StorageEncrypted")),
        groups=groups,
        parameter_group=str(parameters.get("DBParameterGroupName") or ""),
        parameters=str(parameters.get("ParameterApplyStatus") or ""),
        settings={name: value for name, value in settings.items() if value is not None},
        tags=_tags(found),
    )


def look_at_cluster(region: str, found: Mapping[str, t.Any]) -> DatabaseLook:
    """An Aurora cluster.

    :param found: of the answer of `describe_db_clusters`.
    """
    groups = _groups(found)
    settings = {
        "DBSubnetGroupName": found.get("DBSubnetGroup"),
        "VpcSecurityGroupIds": list(groups) or None,
        "DBClusterParameterGroupName": found.get("DBClusterParameterGroup"),
        "CopyTagsToSnapshot": found.get("CopyTagsToSnapshot"),
        "EnableIAMDatabaseAuthentication": found.get("IAMDatabaseAuthenticationEnabled"),
        "DeletionProtection": found.get("DeletionProtection"),
        "Port": found.get("Port"),
    }
    members = [
        ClusterMember(
            str(each["DBInstanceIdentifier"]), bool(each.get("IsClusterWriter")), int(each.get("PromotionTier") or 0)
        )
        for each in found.get("DBClusterMembers") or ()
    ]
    return DatabaseLook(
        place=DatabasePlace(region, str(found["DBClusterIdentifier"]), cluster=True),
        resource=str(found.get("DbClusterResourceId") or ""),
        arn=str(found.get("DBClusterArn") or ""),
        status=str(found.get("Status") or "unknown").lower(),
        engine=str(found.get("Engine") or ""),
        address=str(found.get("Endpoint") or ""),
        port=int(found.get("Port") or 0),
        source=str(found.get("ReplicationSourceIdentifier") or ""),
        replicas=tuple(found.get("ReadReplicaIdentifiers") or ()),
        pending=_pending(found),
        backup_days=int(found.get("BackupRetentionPeriod") or 0),
        earliest=found.get("EarliestRestorableTime"),
        latest=found.get("LatestRestorableTime"),
        encrypted=bool(found.get("StorageEncrypted")),
        groups=groups,
        parameter_group=str(found.get("DBClusterParameterGroup") or ""),
        members=tuple(sorted(members, key=lambda each: (not each.writer, each.tier, each.identifier))),
        settings={name: value for name, value in settings.items() if value is not None},
        tags=_tags(found),
        global_cluster=str(found.get("GlobalClusterIdentifier") or ""),
    )


def _groups(found: Mapping[str, t.Any]) -> tuple[str, ...]:
    groups: Sequence[Mapping[str, t.Any]] = found.get("VpcSecurityGroups") or ()
    return tuple(sorted(str(each["VpcSecurityGroupId"]) for each in groups))


def _pending(found: Mapping[str, t.Any]) -> tuple[str, ...]:
    pending = found.get("PendingModifiedValues") or {}
    return tuple(sorted(name for name, value in pending.items() if value not in (None, "", [], {})))


def _earliest(found: Mapping[str, t.Any]) -> datetime.datetime | None:
    """RDS says it for clusters only. Before the backups began, and before their retention, there is nothing."""
    latest, created = found.get("LatestRestorableTime"), found.get("InstanceCreateTime")
    if latest is None:
        return None
    kept = latest - datetime.timedelta(days=int(found.get("BackupRetentionPeriod") or 0))
    return max(kept, created) if created is not None else kept


def _tags(found: Mapping[str, t.Any]) -> dict[str, str]:
    return {str(each["Key"]): str(each.get("Value") or "") for each in found.get("TagList") or ()}
