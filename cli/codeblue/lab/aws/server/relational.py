"""RDS where moto does it otherwise than AWS: identities of instances, replicas, promotions, global databases.

There is no engine. Which state the data are in is kept beside the instances, as the moment at which they were damaged,
and goes along with snapshots, replicas and restores.
"""

from __future__ import annotations

import datetime as dt
import time
import typing as t
from html import escape

from moto.moto_api._internal import mock_random
from moto.rds.models import RDSBackend

from codeblue.lab.aws.server.operations import Operation
from codeblue.lab.aws.server.refusals import Answer, refusal

_XML = [("Content-Type", "text/xml")]
_RESOURCE_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LETTERS = 26

# Moto's, to which more is written than it has.
Instance = t.Any
Parameters = t.Mapping[str, t.Any]


class LabRds(RDSBackend):
    """Moto's RDS of one region, with that."""

    def create_db_instance(self, db_kwargs: dict[str, t.Any]) -> Instance:
        # Of a restore, moto hands on what it took from the source.
        db_kwargs.pop("dbi_resource_id", None)
        made: Instance = super().create_db_instance(db_kwargs)
        return _as_new(made)

    def create_db_instance_read_replica(self, db_kwargs: dict[str, t.Any]) -> Instance:
        source: Instance = self.find_db_from_id(db_kwargs["source_db_instance_identifier"])
        made: Instance = super().create_db_instance_read_replica(db_kwargs)
        # Moto's is a copy that shares what is changed in place.
        made.vpc_security_group_ids = list(db_kwargs.get("vpc_security_group_ids") or ())
        made.lab_damaged_at = damaged_at(source)
        return _as_new(made)

    def create_global_cluster(self, *arguments: t.Any, **values: t.Any) -> t.Any:
        made: t.Any = super().create_global_cluster(*arguments, **values)
        for each in made.members:
            each.is_writer = True
        return made

    def promote_read_replica(self, db_kwargs: dict[str, t.Any]) -> Instance:
        made: Instance = super().promote_read_replica(db_kwargs)
        source = made.source_db_instance_identifier
        if source:
            found: Instance = self.find_db_from_id(source)
            found.replicas = [
                each for each in found.replicas if each not in (made.db_instance_arn, made.db_instance_identifier)
            ]
            made.source_db_instance_identifier = None
        return made

    def restore_db_instance_to_point_in_time(
        self, source_db_identifier: str, target_db_identifier: str, overrides: dict[str, t.Any]
    ) -> Instance:
        source: Instance = self.describe_db_instances(source_db_identifier)[0]
        made: Instance = super().restore_db_instance_to_point_in_time(
            source_db_identifier, target_db_identifier, overrides
        )
        made.lab_damaged_at = _carried(source, _moment(overrides.get("RestoreTime") or overrides.get("restore_time")))
        return _as_new(made)

    def create_db_snapshot(self, *arguments: t.Any, **values: t.Any) -> t.Any:
        made: t.Any = super().create_db_snapshot(*arguments, **values)
        made.lab_damaged_at = damaged_at(made.database)
        return made

    def restore_db_instance_from_db_snapshot(self, from_snapshot_id: str, overrides: dict[str, t.Any]) -> Instance:
        name = from_snapshot_id.rpartition(":")[2] if from_snapshot_id.startswith("arn:") else from_snapshot_id
        snapshot: t.Any = self.describe_db_snapshots(None, name)[0]
        made: Instance = super().restore_db_instance_from_db_snapshot(from_snapshot_id, overrides)
        made.lab_damaged_at = getattr(snapshot, "lab_damaged_at", None)
        return _as_new(made)


def damaged_at(instance: Instance) -> float | None:
    """Unix seconds at which its data were damaged; None when they are good."""
    return t.cast("float | None", getattr(instance, "lab_damaged_at", None))


def damage(instance: Instance, damaged: bool) -> None:
    """Damage its data now, or make them good again."""
    instance.lab_damaged_at = time.time() if damaged else None


def switch_global(operation: Operation, environ: t.Mapping[str, t.Any], body: bytes) -> Answer:
    """`FailoverGlobalCluster` and `SwitchoverGlobalCluster`, which moto does not have."""
    from urllib.parse import parse_qs

    from codeblue.lab.aws.server.behaviour import backend

    given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    wanted, target = given.get("GlobalClusterIdentifier", ""), given.get("TargetDbClusterIdentifier", "")
    known = next(
        (each for region in ("us-east-1", "us-west-2") for each in _global_clusters(backend("rds", region), wanted)),
        None,
    )
    if known is None:
        return refusal("rds", environ, 404, "GlobalClusterNotFoundFault", f"there is no global cluster {wanted}")
    member = next((each for each in known.members if target in (each.db_cluster_arn, each.db_cluster_identifier)), None)
    if member is None:
        return refusal("rds", environ, 404, "DBClusterNotFoundFault", f"{target} is none of its members")
    for each in known.members:
        each.is_writer = each is member
    said = "".join(
        f"<GlobalClusterMember><DBClusterArn>{escape(each.db_cluster_arn)}</DBClusterArn>"
        f"<IsWriter>{str(each.is_writer).lower()}</IsWriter></GlobalClusterMember>"
        for each in known.members
    )
    inner = (
        f"<GlobalCluster><GlobalClusterIdentifier>{escape(wanted)}</GlobalClusterIdentifier><Status>available</Status>"
        f"<GlobalClusterMembers>{said}</GlobalClusterMembers></GlobalCluster>"
    )
    name = operation.action
    return 200, _XML, f"<{name}Response><{name}Result>{inner}</{name}Result></{name}Response>".encode()


def _global_clusters(rds: t.Any, name: str) -> list[t.Any]:
    return [each for key, each in rds.global_clusters.items() if key == name]


def _as_new(made: Instance) -> Instance:
    """With a resource id of its own, by which AWS tells instances apart when they are renamed."""
    made.dbi_resource_id = "db-" + "".join(mock_random.choice(_RESOURCE_DIGITS) for _ in range(_LETTERS))
    return made


def _carried(source: Instance, moment: float | None) -> float | None:
    """The damage that a restore to a moment takes along; None for the latest moment."""
    damaged = damaged_at(source)
    return None if damaged is None or (moment is not None and moment < damaged) else damaged


def _moment(given: t.Any) -> float | None:
    if isinstance(given, dt.datetime):
        return given.replace(tzinfo=given.tzinfo or dt.UTC).timestamp()
    return dt.datetime.fromisoformat(str(given).replace("Z", "+00:00")).timestamp() if given else None
