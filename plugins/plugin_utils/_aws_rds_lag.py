# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Until when a replica in RDS has what was committed on its source, by what CloudWatch keeps of its lag.

A replica says how far it is behind, once a minute. When it was this far behind at that moment, it has everything that
was committed before the difference. What it got later is not counted, so the loss that follows from it is an upper
bound.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook

_NAMESPACE = "AWS/RDS"
_PERIOD = 60
# A region that went away an hour ago is still to be judged by the last figures from before.
_WINDOW_SECONDS = 3 * 3600
# Metric of a kind of replica, and seconds of its unit.
_INSTANCE = ("ReplicaLag", 1.0)
_GLOBAL = ("AuroraGlobalDBReplicationLag", 0.001)
_CLUSTER = ("AuroraBinlogReplicaLag", 1.0)


def replicated_until(account: AwsAccount, replica: DatabaseLook, now: float) -> float | None:
    """Unix seconds until which a replica surely has everything; None when nobody knows.

    :param now: Unix seconds.
    :raises AwsError: CloudWatch of the replica's region cannot be asked.
    """
    region, name = replica.place.region, replica.place.identifier
    if not replica.place.cluster:
        metric, unit = _INSTANCE
        dimensions = [[{"Name": "DBInstanceIdentifier", "Value": name}]]
    else:
        metric, unit = _GLOBAL if replica.global_cluster else _CLUSTER
        dimensions = _dimensions(account, region, metric, name)
    found = [_until(_points(account, region, metric, each, now), unit) for each in dimensions]
    return max((each for each in found if each is not None), default=None)


def _dimensions(account: AwsAccount, region: str, metric: str, cluster: str) -> list[t.Any]:
    """Under which dimensions a cluster's lag is kept: the region of its source may be one of them."""
    listed = account.ask_all(
        "cloudwatch",
        "list_metrics",
        "Metrics",
        region=region,
        about=cluster,
        Namespace=_NAMESPACE,
        MetricName=metric,
        Dimensions=[{"Name": "DBClusterIdentifier", "Value": cluster}],
    )
    return [each["Dimensions"] for each in listed]


def _points(account: AwsAccount, region: str, metric: str, dimensions: t.Any, now: float) -> list[Mapping[str, t.Any]]:
    answer = account.ask(
        "cloudwatch",
        "get_metric_statistics",
        region=region,
        about=metric,
        Namespace=_NAMESPACE,
        MetricName=metric,
        Dimensions=dimensions,
        StartTime=datetime.datetime.fromtimestamp(now - _WINDOW_SECONDS, datetime.UTC),
        EndTime=datetime.datetime.fromtimestamp(now + _PERIOD, datetime.UTC),
        Period=_PERIOD,
        Statistics=["Maximum"],
    )
    return list(answer.get("Datapoints") or ())


def _until(points: Iterable[Mapping[str, t.Any]], unit: float) -> float | None:
    # Below zero it says that replication does not work.
    known = [each for each in points if float(each.get("Maximum", -1.0)) >= 0]
    return max((each["Timestamp"].timestamp() - float(each["Maximum"]) * unit for each in known), default=None)
