# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How busy the tasks of services of ECS are, by CloudWatch, for many services in one question."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AccessDenied
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
_MOST_QUERIES = 500
# ECS sends a value a minute, and some minutes late.
_PERIOD, _WINDOW = 60, 600
_METRICS = {"cpu": "CPUUtilization", "memory": "MemoryUtilization"}


@dataclass(frozen=True)
class Load:
    """What the tasks of a service use of what they have: shares, 0.8 = 80 %. None when CloudWatch has no value."""

    cpu: float | None = None
    memory: float | None = None


def ecs_load(account: AwsAccount, services: Mapping[str, EcsService], now: float) -> dict[str, Load]:
    """The highest minute of the last ten, by service.

    Without the right to look, nothing is said: metrics only tell why, not what.

    :param now: Unix seconds.
    :raises AwsError: they cannot be asked.
    """
    wanted = [(name, kind) for name in services for kind in _METRICS]
    queries = [_query(number, services[name], kind) for number, (name, kind) in enumerate(wanted)]
    end = datetime.datetime.fromtimestamp(now, datetime.UTC)

    def ask(part: Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        try:
            return account.ask_all(
                "cloudwatch",
                "get_metric_data",
                "MetricDataResults",
                about="ECS services",
                MetricDataQueries=list(part),
                StartTime=end - datetime.timedelta(seconds=_WINDOW),
                EndTime=end,
            )
        except AccessDenied:
            return []

    found: dict[str, dict[str, float]] = {name: {} for name in services}
    for result in account.batches(queries, _MOST_QUERIES, ask):
        name, kind = wanted[int(str(result["Id"])[1:])]
        values = [float(each) for each in result.get("Values") or ()]
        if values:
            found[name][kind] = max(values) / 100
    return {name: Load(**each) for name, each in found.items()}


def _query(number: int, service: EcsService, kind: str) -> dict[str, t.Any]:
    dimensions = [{"Name": "ClusterName", "Value": service.cluster}, {"Name": "ServiceName", "Value": service.service}]
    metric = {"Namespace": "AWS/ECS", "MetricName": _METRICS[kind], "Dimensions": dimensions}
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": _PERIOD, "Stat": "Average"}}
