"""What is known of the platform: log groups, alarms, the trail of calls; and functions that take part in recoveries."""

from __future__ import annotations

import io
import zipfile

from codeblue.lab.aws.blueprint import ALARMS, DATABASE, PRIMARY, SERVICES, TASK_ROLE, TRAIL
from codeblue.lab.aws.filling import Filling

_FUNCTIONS = ("healthcare-platform-recovery", "update-database-endpoints")
_DAYS = 30


def fill(filling: Filling, region: str) -> None:
    """All of one region."""
    logs = filling.account.client("logs", region)
    for service in SERVICES.values():
        logs.create_log_group(logGroupName=service.log_group)
        logs.put_retention_policy(logGroupName=service.log_group, retentionInDays=_DAYS)
        logs.create_log_stream(logGroupName=service.log_group, logStreamName="ecs/lab")
    functions = filling.account.client("lambda", region)
    for name in _FUNCTIONS:
        functions.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=filling.facts[TASK_ROLE],
            Handler="function.handler",
            Code={"ZipFile": _nothing()},
        )
    _alarms(filling, region)
    if region == PRIMARY:
        trail = filling.account.client("cloudtrail", region)
        trail.create_trail(Name=TRAIL, S3BucketName=TRAIL, IsMultiRegionTrail=True)
        trail.start_logging(Name=TRAIL)


def _alarms(filling: Filling, region: str) -> None:
    cloudwatch = filling.account.client("cloudwatch", region)
    of_records = [
        {"Name": "TargetGroup", "Value": filling.fact(region, "target-group-records").rpartition(":")[2]},
        {"Name": "LoadBalancer", "Value": filling.fact(region, "balancer").partition(":loadbalancer/")[2]},
    ]
    of_database = [{"Name": "DBInstanceIdentifier", "Value": DATABASE[region]}]
    wanted: list[tuple[str, str, str, list[dict[str, str]], float]] = [
        (ALARMS[0], "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", of_records, 2.0),
        (ALARMS[1], "AWS/ApplicationELB", "TargetResponseTime", of_records, 1.0),
        (ALARMS[2], "AWS/RDS", "ReplicaLag", of_database, 300.0),
    ]
    for name, namespace, metric, dimensions, threshold in wanted:
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace=namespace,
            MetricName=metric,
            Dimensions=dimensions,
            Threshold=threshold,
            ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=3,
            Period=60,
            Statistic="Average",
        )


def _nothing() -> bytes:
    """A function that is never run: what it does is in the lab's server."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("function.py", "def handler(event, context):\n    raise NotImplementedError\n")
    return archive.getvalue()
