"""ECS: a cluster in each region with its services, each of which has run two versions."""

from __future__ import annotations

import typing as t

from codeblue.lab.aws.blueprint import (
    CLUSTER,
    EXECUTION_ROLE,
    PORT,
    REGIONS,
    SERVICES,
    TASK_ROLE,
    EcsBlueprint,
)
from codeblue.lab.aws.filling import Filling

# A rolling deployment would let the tasks of before go on, and a bad release would take nothing away.
_DEPLOYMENT = {
    "minimumHealthyPercent": 0,
    "maximumPercent": 100,
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
}


def fill(filling: Filling) -> None:
    """All services of both regions, first in their old version and then in the new one."""
    for region in REGIONS:
        ecs = filling.account.client("ecs", region)
        filling.keep(region, "cluster", ecs.create_cluster(clusterName=CLUSTER)["cluster"]["clusterArn"])
        for service in SERVICES.values():
            for version in service.versions:
                definition = task_definition(service, version, filling.facts, region)
                arn = ecs.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
                filling.keep(region, f"definition-{service.name}-{version}", arn)
            _create(filling, ecs, region, service)
    filling.settle()
    for region in REGIONS:
        ecs = filling.account.client("ecs", region)
        for service in SERVICES.values():
            arn = filling.fact(region, f"definition-{service.name}-{service.versions[-1]}")
            ecs.update_service(cluster=CLUSTER, service=service.service, taskDefinition=arn)
    filling.settle()


def image(service: EcsBlueprint, version: str, region: str) -> str:
    """The name of an image in the account's own registry."""
    return f"123456789012.dkr.ecr.{region}.amazonaws.com/{service.repository}:{version}"


def task_definition(service: EcsBlueprint, version: str, facts: t.Mapping[str, str], region: str) -> dict[str, t.Any]:
    """What is registered for a version."""
    secrets = []
    for name, source in service.secrets.items():
        if source.startswith("/"):
            secrets.append({"name": name, "valueFrom": f"arn:aws:ssm:{region}:123456789012:parameter{source}"})
            continue
        secret, _, key = source.partition(":")
        arn = facts[f"{region}/{secret}"]
        secrets.append({"name": name, "valueFrom": f"{arn}:{key}::" if key else arn})
    container = {
        "name": service.name,
        "image": image(service, version, region),
        "essential": True,
        "portMappings": [{"containerPort": PORT, "protocol": "tcp"}],
        "environment": [{"name": "VERSION", "value": version}],
        "secrets": secrets,
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": service.log_group, "awslogs-region": region, "awslogs-stream-prefix": "ecs"},
        },
    }
    return {
        "family": service.family,
        "containerDefinitions": [container],
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "512",
        "memory": "1024",
        "taskRoleArn": facts[TASK_ROLE],
        "executionRoleArn": facts[EXECUTION_ROLE],
    }


def _create(filling: Filling, ecs: t.Any, region: str, service: EcsBlueprint) -> None:
    definition = filling.fact(region, f"definition-{service.name}-{service.versions[0]}")
    made = ecs.create_service(
        cluster=CLUSTER,
        serviceName=service.service,
        taskDefinition=definition,
        desiredCount=service.tasks[region],
        launchType="FARGATE",
        deploymentConfiguration=_DEPLOYMENT,
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": [filling.fact(region, f"subnet-{zone}") for zone in "ab"],
                "securityGroups": [filling.fact(region, "group-tasks")],
                "assignPublicIp": "DISABLED",
            }
        },
        loadBalancers=[
            {
                "targetGroupArn": filling.fact(region, f"target-group-{service.name}"),
                "containerName": service.name,
                "containerPort": PORT,
            }
        ],
    )["service"]["serviceArn"]
    filling.keep(region, f"service-{service.name}", made)
    # Moto forgets this part of a service that is made.
    ecs.update_service(cluster=CLUSTER, service=service.service, deploymentConfiguration=_DEPLOYMENT)
