# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores a database in RDS beside itself, from a snapshot or to a point in time, with the settings of the original.

What RDS restores has the defaults of its parameters and security groups unless it is told others. So all that the
original has is given, and compared afterwards. A cluster is restored without instances: one is made in it.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import RUN_TAG, DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

# What RDS takes as an identifier.
_LONGEST_IDENTIFIER = 63
_RUN_LETTERS = 10
# Not changed by `modify_db_instance`, so a difference in it can only be told.
_FIXED = frozenset({"DBSubnetGroupName", "Port"})


@dataclass(frozen=True)
class RestorePoint:
    """From what is restored.

    :param snapshot: identifier or ARN; empty for a point in time.
    :param at: the moment; None for that of the snapshot, or the last one that RDS has.
    """

    snapshot: str = ""
    at: datetime.datetime | None = None

    @classmethod
    def of(cls, snapshot: str, at: str) -> RestorePoint:
        """As it was written down."""
        return cls(snapshot, datetime.datetime.fromisoformat(at) if at else None)

    def __str__(self) -> str:
        if self.snapshot:
            return f"snapshot {self.snapshot}"
        return _moment(self.at) if self.at is not None else "the last moment that RDS has"


def restore_point(seen: DatabaseLook, wanted: str) -> RestorePoint:
    """A moment to which a database can be restored.

    :param wanted: in RFC 3339; empty for the last one.
    :raises BadInput: it is no moment, or none to which RDS can restore.
    """
    if seen.latest is None:
        raise BadInput(
            f"{seen.place}: RDS keeps no automated backups of it, so there is no point in time to restore to",
            "restore one of its snapshots",
        )
    if not wanted:
        return RestorePoint(at=seen.latest.astimezone(datetime.UTC))
    try:
        at = datetime.datetime.fromisoformat(wanted)
    except ValueError:
        raise BadInput(f"to_time: {wanted!r} is no moment", "write it like 2026-01-15T10:00:00Z") from None
    if at.tzinfo is None:
        raise BadInput(f"to_time: {wanted!r} says no time zone", "write it like 2026-01-15T10:00:00Z")
    earliest, latest = seen.earliest, seen.latest
    if at > latest or (earliest is not None and at < earliest):
        since = (
            f"{earliest.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}" if earliest is not None else "the first backup"
        )
        raise BadInput(
            f"to_time: {seen.place} cannot be restored to {wanted}: RDS has it from {since} to {_moment(latest)}",
            "give a moment within that, or restore a snapshot",
        )
    return RestorePoint(at=at.astimezone(datetime.UTC))


class Restore:
    """Of one database, beside it.

    :param target: the name of the restored one.
    :param tags: of the restored one; the run's among them tells whose it is.
    """

    def __init__(self, databases: RdsDatabases, original: DatabaseLook, target: str, tags: Mapping[str, str]) -> None:
        self._databases = databases
        self._account = databases.account
        self._original = original
        self._tags = tags
        self.place = DatabasePlace(original.place.region, target, original.place.cluster)

    @property
    def _tag_list(self) -> list[dict[str, str]]:
        return [{"Key": name, "Value": value} for name, value in self._tags.items()]

    def begin(self, point: RestorePoint) -> bool:
        """Begin it; False when this run has already.

        :raises Refused: there is another database of that name.
        """
        values = {
            **self._original.settings,
            "Tags": [{"Key": key, "Value": value} for key, value in self._tags.items()],
        }
        cluster = self.place.cluster
        if point.snapshot:
            operation = "restore_db_cluster_from_snapshot" if cluster else "restore_db_instance_from_db_snapshot"
            values |= (
                {"SnapshotIdentifier": point.snapshot, "Engine": self._original.engine}
                if cluster
                else {"DBSnapshotIdentifier": point.snapshot}
            )
            values["DBClusterIdentifier" if cluster else "DBInstanceIdentifier"] = self.place.identifier
        else:
            operation = f"restore_db_{'cluster' if cluster else 'instance'}_to_point_in_time"
            source = self._original.place.identifier
            values |= (
                {"SourceDBClusterIdentifier": source, "DBClusterIdentifier": self.place.identifier}
                if cluster
                else {"SourceDBInstanceIdentifier": source, "TargetDBInstanceIdentifier": self.place.identifier}
            )
            values["RestoreToTime" if cluster else "RestoreTime"] = point.at
        try:
            self._account.ask("rds", operation, region=self.place.region, about=self.place.identifier, **values)
        except Conflict:
            self.require_own()
            return False
        return True

    def require_own(self) -> DatabaseLook:
        """The restored one.

        :raises Refused: it is not this run's.
        """
        seen = self._databases.require(self.place)
        if seen.tags.get(RUN_TAG) != self._tags.get(RUN_TAG):
            raise Refused(f"{self.place} is there, and this run did not restore it", "give another name")
        return seen

    def add_instance(self, template: Mapping[str, t.Any]) -> bool:
        """Make the instance of a restored cluster; False when it is there already.

        :param template: of the cluster's writer: `DBInstanceClass`, `DBParameterGroupName` and the like.
        """
        name = f"{self.place.identifier[: _LONGEST_IDENTIFIER - 2]}-1"
        try:
            self._account.ask(
                "rds",
                "create_db_instance",
                region=self.place.region,
                about=name,
                DBInstanceIdentifier=name,
                DBClusterIdentifier=self.place.identifier,
                Engine=self._original.engine,
                Tags=self._tag_list,
                **template,
            )
        except Conflict:
            return False
        return True

    def until_ready(self, seconds: float) -> DatabaseLook:
        """Wait until it is available, and of a cluster an instance writes.

        :raises NotReady: it is not in time.
        """
        seen = self._databases.until_settled(self.place, seconds, "available")
        if not self.place.cluster:
            return seen
        for each in seen.members:
            place = DatabasePlace(self.place.region, each.identifier, cluster=False)
            self._databases.until_settled(place, seconds, "available")
        return self._databases.require(self.place)

    def differences(self, seen: DatabaseLook) -> dict[str, t.Any]:
        """What the restored one has otherwise than the original, with what it is to have."""
        wanted = self._original.settings
        return {name: value for name, value in wanted.items() if seen.settings.get(name) != value}

    def align(self, seen: DatabaseLook) -> list[str]:
        """Give it what it lacks; the names of what was changed.

        :raises CodeblueError: something differs that cannot be changed.
        """
        lacking = self.differences(seen)
        fixed = sorted(_FIXED & set(lacking))
        if fixed:
            raise CodeblueError(f"{self.place} has another {', '.join(fixed)} than the original", "restore it by hand")
        if lacking:
            self._databases.modify(self.place, lacking)
        return sorted(lacking)


def writer_template(databases: RdsDatabases, cluster: DatabaseLook) -> dict[str, t.Any]:
    """What an instance of a restored cluster gets, as its writer has it.

    :raises CodeblueError: the cluster has no instance that could be looked at.
    """
    if not cluster.members:
        raise CodeblueError(f"{cluster.place} has no instance to make another one like", "restore it by hand")
    first = cluster.writer or cluster.members[0].identifier
    seen = databases.require(DatabasePlace(cluster.place.region, first, cluster=False))
    names = ("DBInstanceClass", "DBParameterGroupName", "PubliclyAccessible", "AutoMinorVersionUpgrade")
    return {name: seen.settings[name] for name in names if name in seen.settings}


def beside(identifier: str, run_id: str, what: str = "restored") -> str:
    """A name beside a database's own, made from the run, as RDS takes it.

    :param what: it is, in small letters.
    """
    tail = f"-{what}-{run_id[-_RUN_LETTERS:].lower()}"
    return identifier[: _LONGEST_IDENTIFIER - len(tail)].rstrip("-") + tail


def _moment(at: datetime.datetime) -> str:
    return f"{at.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
