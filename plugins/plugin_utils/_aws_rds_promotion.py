# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a replica in RDS the primary, in the way that fits what it is, and waits until it is one.

An instance that replicates another one is promoted by itself. An instance of an Aurora cluster is none of these: its
cluster is led to another instance, whose storage is the same, and the cluster keeps its address. A cluster that
replicates another cluster is promoted as a cluster, and one of a global database by the global database.
"""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace, ReplicaPlace


class Promotion:
    """Of one replica.

    :param backup_days: for how long the new primary keeps its backups.
    """

    def __init__(self, databases: RdsDatabases, replica: ReplicaPlace, backup_days: int) -> None:
        self._databases = databases
        self._account = databases.account
        self._replica = replica
        self._place = replica.place
        self._backup_days = backup_days

    def replicates(self, seen: DatabaseLook) -> bool:
        """It is a replica still.

        :raises AwsError: its global database cannot be asked.
        """
        if self._replica.global_cluster is None:
            return bool(seen.source)
        return not self._writes(seen.arn)

    def promote(self, planned: bool = False, primary_region: str = "") -> bool:
        """Begin it; False when it is promoted already.

        :param planned: both clusters of the global database work: they switch their roles, and nothing is lost.
        :param primary_region: in which that is asked for.
        :raises Conflict: it is in no state for it.
        """
        seen = self._databases.require(self._place)
        if not self.replicates(seen) or self._under_way():
            return False
        try:
            self._ask(seen, primary_region if planned else "")
        except Conflict:
            # With an answer that was lost on the way, it was this very call that did it.
            if self.replicates(self._databases.require(self._place)) and seen.status == "available":
                raise
            return False
        return True

    def until_promoted(self, seconds: float) -> DatabaseLook:
        """Wait until its role has changed, it is available and nothing is pending.

        :raises NotReady: it is not in time.
        """
        return self._databases.until(self._place, self._still_to_come, seconds, "the primary")

    def _still_to_come(self, seen: DatabaseLook | None) -> str:
        if seen is None:
            return "it is not there"
        return "it is a replica still" if self.replicates(seen) else seen.unsettled

    def _ask(self, seen: DatabaseLook, switch_in: str) -> None:
        place, about = self._place, self._place.identifier
        if self._replica.global_cluster is not None and switch_in:
            self._account.ask(
                "rds",
                "switchover_global_cluster",
                region=switch_in,
                about=self._replica.global_cluster,
                repeat=False,
                GlobalClusterIdentifier=self._replica.global_cluster,
                TargetDbClusterIdentifier=seen.arn,
            )
        elif self._replica.global_cluster is not None:
            self._account.ask(
                "rds",
                "failover_global_cluster",
                region=place.region,
                about=self._replica.global_cluster,
                repeat=False,
                GlobalClusterIdentifier=self._replica.global_cluster,
                TargetDbClusterIdentifier=seen.arn,
                AllowDataLoss=True,
            )
        elif place.cluster:
            self._account.ask(
                "rds",
                "promote_read_replica_db_cluster",
                region=place.region,
                about=about,
                DBClusterIdentifier=place.identifier,
            )
        else:
            self._account.ask(
                "rds",
                "promote_read_replica",
                region=place.region,
                about=about,
                DBInstanceIdentifier=place.identifier,
                BackupRetentionPeriod=self._backup_days,
            )

    def _under_way(self) -> bool:
        """The global database is about to make another cluster the one that writes."""
        return self._replica.global_cluster is not None and bool(self._global().get("FailoverState"))

    def _writes(self, arn: str) -> bool:
        """The global database has made it the one that writes, and is done with that."""
        found = self._global()
        members = found.get("GlobalClusterMembers") or ()
        writer = any(each.get("DBClusterArn") == arn and each.get("IsWriter") for each in members)
        return writer and not found.get("FailoverState")

    def _global(self) -> dict[str, t.Any]:
        name = self._replica.global_cluster
        answer = self._account.ask(
            "rds", "describe_global_clusters", region=self._place.region, about=name or "", GlobalClusterIdentifier=name
        )
        found = next((each for each in answer.get("GlobalClusters") or ()), None)
        if found is None:
            raise NotFound(f"global database {name}: there is none", "look at codeblue_aws.database.replica")
        return t.cast("dict[str, t.Any]", found)


def fail_over_in_cluster(databases: RdsDatabases, place: DatabasePlace, target: str) -> bool:
    """Let another instance of an Aurora cluster write; False when it does already.

    :param target: the instance.
    """
    if databases.require(place).writer == target:
        return False
    databases.account.ask(
        "rds",
        "failover_db_cluster",
        region=place.region,
        about=place.identifier,
        # A second one after an answer that was lost would lead it to where it is.
        DBClusterIdentifier=place.identifier,
        TargetDBInstanceIdentifier=target,
    )
    return True


def until_writer(databases: RdsDatabases, place: DatabasePlace, target: str, seconds: float) -> DatabaseLook:
    """Wait until an instance of a cluster is the one that writes, and the cluster is available.

    :raises NotReady: it is not in time.
    """

    def still_to_come(seen: DatabaseLook | None) -> str:
        if seen is None:
            return "it is not there"
        return seen.unsettled if seen.writer == target else f"{seen.writer or 'nobody'} writes"

    return databases.until(place, still_to_come, seconds, f"a cluster in which {target} writes")
