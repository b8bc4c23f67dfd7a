# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Snapshots of databases in RDS: taken, copied to another region, and removed when they are old.

An identifier is made from the run, so that a step which is taken up again finds its own and makes no second one.
"""

from __future__ import annotations

import datetime
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import RUN_TAG, SERVICE_TAG
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
# What has just been made is not yet known everywhere.
_UNKNOWN_SECONDS = 15.0
# What RDS takes.
_LONGEST_IDENTIFIER = 255
_PREFIX = "codeblue-"
AVAILABLE = "available"
_FAILED = "failed"


@dataclass(frozen=True)
class RdsSnapshot:
    """A snapshot in one region.

    :param region: in which it lies.
    :param of: the instance or cluster that it was taken of.
    :param size: of the storage, in GB; 0 when RDS does not say.
    :param percent: so much of it is there.
    """

    identifier: str
    arn: str
    region: str
    of: str
    status: str
    created_at: datetime.datetime | None
    encrypted: bool = False
    key: str = ""
    size: int = 0
    percent: int = 0
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def usable(self) -> bool:
        return self.status == AVAILABLE


class RdsSnapshots:
    """Those of one database, in any region.

    :param place: the database that they are of.
    """

    def __init__(self, databases: RdsDatabases, place: DatabasePlace) -> None:
        self._databases = databases
        self._account = databases.account
        self._place = place
        self._kind = "cluster_snapshot" if place.cluster else "snapshot"
        self._word = "DBClusterSnapshot" if place.cluster else "DBSnapshot"

    def find(self, identifier: str, region: str) -> RdsSnapshot | None:
        """One by its name; None when there is none."""
        try:
            answer = self._account.ask(
                "rds",
                f"describe_db_{self._kind}s",
                region=region,
                about=identifier,
                **{f"{self._word}Identifier": identifier},
            )
        except NotFound:
            return None
        found = next(iter(answer.get(f"{self._word}s") or ()), None)
        return self._read(found, region) if found is not None else None

    def all(self, region: str, manual: bool = False) -> list[RdsSnapshot]:
        """All of this database that lie in a region, the newest first.

        :param manual: without those that RDS takes by itself.
        """
        owner = "DBClusterIdentifier" if self._place.cluster else "DBInstanceIdentifier"
        found = self._account.ask_all(
            "rds",
            f"describe_db_{self._kind}s",
            f"{self._word}s",
            region=region,
            about=self._place.identifier,
            **{owner: self._place.identifier, **({"SnapshotType": "manual"} if manual else {})},
        )
        snapshots = [self._read(each, region) for each in found]
        never = datetime.datetime.fromtimestamp(0, datetime.UTC)
        return sorted(snapshots, key=lambda each: (each.created_at or never, each.identifier), reverse=True)

    def take(self, identifier: str, tags: Mapping[str, str]) -> bool:
        """Begin a snapshot.

        :returns: whether that began now; False when this run's is there already.
        :raises Refused: there is one of this name that another run made.
        :raises AwsError: the database is in no state for it.
        """
        owner = "DBClusterIdentifier" if self._place.cluster else "DBInstanceIdentifier"
        values = {owner: self._place.identifier, f"{self._word}Identifier": identifier, "Tags": _tag_list(tags)}
        try:
            self._account.ask(
                "rds", f"create_db_{self._kind}", region=self._place.region, about=self._place.identifier, **values
            )
        except Conflict:
            return self._is_there(identifier, self._place.region, tags)
        return True

    def copy(self, source: RdsSnapshot, region: str, key: str | None, tags: Mapping[str, str]) -> bool:
        """Begin a copy in another region, under the same name; see `take`.

        :param key: of KMS in that region; needed when the snapshot is encrypted.
        :raises BadInput: it is encrypted, and no key is given.
        """
        if source.encrypted and not key:
            raise missing_key(self._place, region)
        values: dict[str, t.Any] = {
            f"Source{self._word}Identifier": source.arn,
            f"Target{self._word}Identifier": source.identifier,
            "SourceRegion": source.region,
            "Tags": _tag_list(tags),
        }
        if source.encrypted:
            values["KmsKeyId"] = key
        try:
            self._account.ask("rds", f"copy_db_{self._kind}", region=region, about=source.identifier, **values)
        except Conflict:
            return self._is_there(source.identifier, region, tags)
        return True

    def delete(self, snapshot: RdsSnapshot) -> bool:
        """Delete one; False when it was gone already."""
        try:
            self._account.ask(
                "rds",
                f"delete_db_{self._kind}",
                region=snapshot.region,
                about=snapshot.identifier,
                **{f"{self._word}Identifier": snapshot.identifier},
            )
        except NotFound:
            return False
        return True

    def until_available(self, identifier: str, region: str, seconds: float, complete: bool = True) -> RdsSnapshot:
        """Wait until it can be restored from.

        :param complete: False to wait only until RDS knows it.
        :raises CodeblueError: it failed, it is gone, or it is not there in time.
        """
        begun = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            seen = self.find(identifier, region)
            if seen is not None and (seen.usable or not complete) and seen.status != _FAILED:
                return seen
            waited = time.monotonic() - begun
            if (seen is None and waited >= _UNKNOWN_SECONDS) or (seen is not None and seen.status == _FAILED):
                what = "is gone" if seen is None else "has failed"
                raise CodeblueError(f"snapshot {identifier} in {region} {what}", "see aws rds describe-events")
            if waited >= seconds:
                state = f"{seen.status} ({seen.percent} %)" if seen is not None else "not there"
                raise CodeblueError(
                    f"snapshot {identifier} in {region} is {state} after {seconds:g} s",
                    "RDS goes on with it: codeblue resume this run waits again",
                )
            self._databases.renew()
            self._databases.sleep(min(pause, max(0.0, seconds - waited)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _is_there(self, identifier: str, region: str, tags: Mapping[str, str]) -> bool:
        """False: this run's own is there already."""
        seen = self.find(identifier, region)
        if seen is None:
            # There is none of that name, so it was the state of the database.
            look = self._databases.require(self._place)
            raise CodeblueError(
                f"{self._place} is {look.status}: no snapshot can be taken of it", "see aws rds describe-events"
            )
        if seen.tags.get(RUN_TAG) != tags.get(RUN_TAG):
            raise Refused(f"snapshot {identifier} in {region} is there, and this run did not make it", "rename it")
        return False

    def _read(self, found: Mapping[str, t.Any], region: str) -> RdsSnapshot:
        owner = "DBClusterIdentifier" if self._place.cluster else "DBInstanceIdentifier"
        return RdsSnapshot(
            identifier=str(found[f"{self._word}Identifier"]),
            arn=str(found.get(f"{self._word}Arn") or ""),
            region=region,
            of=str(found.get(owner) or ""),
            status=str(found.get("Status") or "unknown").lower(),
            created_at=found.get("SnapshotCreateTime"),
            encrypted=bool(found.get("Encrypted") or found.get("StorageEncrypted")),
            key=str(found.get("KmsKeyId") or ""),
            size=int(found.get("AllocatedStorage") or 0),
            percent=int(found.get("PercentProgress") or 0),
            tags={str(each["Key"]): str(each.get("Value") or "") for each in found.get("TagList") or ()},
        )


def snapshot_identifier(database: str, run_id: str, kind: str) -> str:
    """The name of a run's snapshot, as RDS takes it."""
    tail = f"-{kind.replace('_', '-')}-{run_id.lower()}"
    head = f"{_PREFIX}{database}"[: _LONGEST_IDENTIFIER - len(tail)].rstrip("-")
    return head + tail


def own_tags(service: str, run_id: str) -> dict[str, str]:
    """The tags of what a run makes for a service."""
    return {SERVICE_TAG: service, RUN_TAG: run_id}


def missing_key(place: DatabasePlace, region: str) -> BadInput:
    """What is said when a copy could not be encrypted."""
    return BadInput(
        f"{place} is encrypted, and a copy in {region} needs a key there",
        f"give codeblue_aws.database.keys.{region} a KMS key of that region",
    )


def superseded(
    snapshots: Sequence[RdsSnapshot], service: str, newest: int, days: float, now: datetime.datetime
) -> list[RdsSnapshot]:
    """Which of a service's own snapshots in one region are old: not among the newest, and older than so many days.

    :param snapshots: the newest first.
    """
    # A snapshot that somebody takes by hand may inherit the tags of a database that was restored.
    own = [each for each in snapshots if each.identifier.startswith(_PREFIX) and each.tags.get(SERVICE_TAG) == service]
    usable = [each for each in own if each.usable and each.created_at is not None]
    oldest = now - datetime.timedelta(days=days)
    return [each for each in usable[newest:] if each.created_at is not None and each.created_at < oldest]


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]
