# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ECS answers about a service, made small: shapes as its own model has them."""

from __future__ import annotations

import datetime as dt
import typing as t

ACCOUNT = "123456789012"
REGION = "us-east-1"
NOW = dt.datetime(2026, 3, 1, 3, 0, tzinfo=dt.UTC)
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/records/0123456789abcdef"


def definition(name: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{name}"


def ago(seconds: float) -> dt.datetime:
    return NOW - dt.timedelta(seconds=seconds)


def deployment(task_definition: str, **changed: t.Any) -> dict[str, t.Any]:
    return {
        "id": f"ecs-svc/{abs(hash(task_definition)) % 10**12}",
        "status": "PRIMARY",
        "taskDefinition": definition(task_definition),
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "failedTasks": 0,
        "createdAt": ago(3600),
        "updatedAt": ago(3600),
        "rolloutState": "COMPLETED",
        "rolloutStateReason": "ECS deployment completed.",
        **changed,
    }


def service(task_definition: str = "records:7", name: str = "records", **changed: t.Any) -> dict[str, t.Any]:
    return {
        "serviceName": name,
        "serviceArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/clinic/{name}",
        "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/clinic",
        "status": "ACTIVE",
        "taskDefinition": definition(task_definition),
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "deployments": [deployment(task_definition)],
        "events": [],
        "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "app", "containerPort": 8080}],
        **changed,
    }


def event(message: str, seconds_ago: float) -> dict[str, t.Any]:
    return {"id": f"event-{seconds_ago}", "createdAt": ago(seconds_ago), "message": message}


def stopped_task(task_definition: str, reason: str, seconds_ago: float = 60, **changed: t.Any) -> dict[str, t.Any]:
    return {
        "taskArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/clinic/{int(seconds_ago):032x}",
        "taskDefinitionArn": definition(task_definition),
        "lastStatus": "STOPPED",
        "stoppedReason": reason,
        "stoppedAt": ago(seconds_ago),
        "containers": [],
        **changed,
    }
