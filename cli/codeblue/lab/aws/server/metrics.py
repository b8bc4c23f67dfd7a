"""CloudWatch's metrics of what the account runs, and the states of its alarms."""

from __future__ import annotations

import datetime as dt
import operator
import typing as t

from moto.cloudwatch.models import MetricDatum

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.conditions import Conditions

# How long values are kept; an hour shows a window of five minutes with the time before it.
_KEPT = dt.timedelta(hours=1)
_BEFORE = dt.timedelta(minutes=20)
_BEFORE_EVERY = dt.timedelta(seconds=60)
# Of a small clinic at night.
_REQUESTS = 40.0
_CPU, _MEMORY, _BUSY_CPU = 22.0, 41.0, 91.0
_GLOBAL_LAG_MILLISECONDS = 180.0
_CONNECTIONS, _FREE_BYTES = 12.0, 80e9
_COMPARE: t.Mapping[str, t.Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}

Value = tuple[str, str, dict[str, str], float]


class Metrics:
    """Writes values as the services of AWS would."""

    def __init__(self, conditions: Conditions, regions: t.Sequence[str]) -> None:
        self._conditions = conditions
        self._regions = regions

    def begin(self) -> None:
        """As if all had been well for a while."""
        now = _now()
        for region in self._regions:
            values = list(self._values(region))
            moment = now - _BEFORE
            while moment < now:
                self._put(region, values, moment)
                moment += _BEFORE_EVERY

    def write(self) -> None:
        """The values of now, and what alarms make of them."""
        now = _now()
        for region in self._regions:
            values = list(self._values(region))
            self._put(region, values, now)
            cloudwatch = backend("cloudwatch", region)
            kept = [each for each in cloudwatch.metric_data if each.timestamp > now - _KEPT]
            cloudwatch.metric_data[:] = kept
            _judge(cloudwatch, values)

    def _put(self, region: str, values: t.Iterable[Value], moment: dt.datetime) -> None:
        data = backend("cloudwatch", region).metric_data
        for namespace, name, dimensions, value in values:
            pairs = [{"Name": key, "Value": text} for key, text in dimensions.items()]
            data.append(MetricDatum(namespace, name, value, pairs, moment))

    def _values(self, region: str) -> t.Iterator[Value]:
        ecs = backend("ecs", region)
        for service in ecs.services.values():
            place = {"ClusterName": service.cluster_name, "ServiceName": service.name}
            late = self._conditions.latencies.get((region, service.name), 0.0)
            running = ecs.running(service)
            busy = late > 1.0 or any(each.tag == "slow" for each in running)
            yield "AWS/ECS", "CPUUtilization", place, (_BUSY_CPU if busy else _CPU) if running else 0.0
            yield "AWS/ECS", "MemoryUtilization", place, _MEMORY if running else 0.0
            yield from self._of_targets(region, service, running, late)
        for instance in backend("rds", region).databases.values():
            named = {"DBInstanceIdentifier": instance.db_instance_identifier}
            known = self._conditions.database(region, instance.db_instance_identifier)
            up = instance.status == "available"
            yield "AWS/RDS", "CPUUtilization", named, _CPU if up else 0.0
            yield "AWS/RDS", "DatabaseConnections", named, _CONNECTIONS if up else 0.0
            yield "AWS/RDS", "FreeStorageSpace", named, _FREE_BYTES
            if instance.is_replica and up:
                yield "AWS/RDS", "ReplicaLag", named, known.lag

        for cluster in backend("rds", region).clusters.values():
            if cluster.global_cluster_identifier and not cluster.is_writer and cluster.status == "available":
                source = next(each for each in self._regions if each != region)
                named = {"DBClusterIdentifier": cluster.db_cluster_identifier, "SourceRegion": source}
                yield "AWS/RDS", "AuroraGlobalDBReplicationLag", named, _GLOBAL_LAG_MILLISECONDS

    def _of_targets(self, region: str, service: t.Any, running: t.Sequence[t.Any], late: float) -> t.Iterator[Value]:
        from codeblue.lab.aws.server.targets import state_of

        groups = backend("elbv2", region).target_groups
        rate = self._conditions.error_rates.get((region, service.name), 0.0)
        for each in service.load_balancers:
            group = groups.get(each.get("targetGroupArn"))
            if group is None:
                continue
            balancer = next((arn.partition(":loadbalancer/")[2] for arn in group.load_balancer_arns), "")
            place = {"TargetGroup": group.arn.rpartition(":")[2], "LoadBalancer": balancer}
            states = [state_of(group, address)[0] for address in group.targets]
            healthy = states.count("healthy")
            yield "AWS/ApplicationELB", "HealthyHostCount", place, float(healthy)
            yield "AWS/ApplicationELB", "UnHealthyHostCount", place, float(len(states) - healthy)
            yield "AWS/ApplicationELB", "RequestCount", place, _REQUESTS
            yield "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", place, _REQUESTS * rate if healthy else 0.0
            yield "AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", place, 0.0 if healthy else _REQUESTS
            if healthy:
                seconds = late + max(task.seconds for task in running)
                yield "AWS/ApplicationELB", "TargetResponseTime", place, seconds


def _judge(cloudwatch: t.Any, values: t.Sequence[Value]) -> None:
    """Set alarms by the newest value of their metric; how many periods it has to last is not looked at."""
    for alarm in cloudwatch.alarms.values():
        wanted = {each.name: each.value for each in alarm.dimensions}
        for namespace, name, dimensions, value in values:
            if (namespace, name, dimensions) != (alarm.namespace, alarm.metric_name, wanted):
                continue
            over = _COMPARE[alarm.comparison_operator](value, float(alarm.threshold))
            state = "ALARM" if over else "OK"
            if alarm.state_value != state:
                alarm.update_state(f"{name} is {value:g}", "{}", state)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
