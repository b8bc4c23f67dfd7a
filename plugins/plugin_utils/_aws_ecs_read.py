# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks for services of ECS: many of them in batches of ten, side by side, and more about those that are not steady."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import (
    EcsLook,
    Scaler,
    StoppedTask,
    Targets,
    last_of,
    read_scaler,
    read_service,
    read_stopped,
    read_targets,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_needs import lacking
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AccessDenied, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
_MOST_SERVICES = 10
# https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html
_MOST_SCALERS = 50
# Tasks that stopped lately say all there is to say.
_MOST_TASKS = 20
# Of services that are not steady, so many are looked at closer: in an outage of the region one cause is behind all.
_MOST_CLOSER = 60
_NAMESPACE = "ecs"


def read_services(account: AwsAccount, services: Mapping[str, EcsService]) -> dict[str, EcsLook | None]:
    """How some services are, by their names in the inventory; None for one that is not there.

    :raises AwsError: they cannot be asked.
    """
    by_cluster: dict[str, list[str]] = {}
    for name, service in services.items():
        by_cluster.setdefault(service.cluster, []).append(name)
    batches = [
        (cluster, names[start : start + _MOST_SERVICES])
        for cluster, names in by_cluster.items()
        for start in range(0, len(names), _MOST_SERVICES)
    ]

    def ask(batch: tuple[str, list[str]]) -> dict[str, EcsLook | None]:
        cluster, names = batch
        about = services[names[0]].service if len(names) == 1 else f"{len(names)} services of cluster {cluster}"
        wanted = list(dict.fromkeys(services[each].service for each in names))
        try:
            answer = account.ask("ecs", "describe_services", about=about, cluster=cluster, services=wanted)
        except NotFound:
            # The cluster itself is gone, and with it all its services.
            return dict.fromkeys(names)
        found = {each.name: each for each in map(read_service, answer.get("services") or ())}
        return {each: found.get(services[each].service) for each in names}

    return {name: look for part in account.side_by_side(batches, ask) for name, look in part.items()}


def read_closer(account: AwsAccount, looks: Mapping[str, EcsLook | None]) -> dict[str, EcsLook | None]:
    """The same, with target health for all, and with what the tasks of those say that are not steady.

    :raises AwsError: they cannot be asked.
    """
    found = read_with_targets(account, looks)
    troubled = [
        name
        for name, look in found.items()
        if look is not None and (not look.steady or not look.desired or look.unhealthy)
    ][:_MOST_CLOSER]
    scalers = read_scalers(account, [t.cast(EcsLook, found[name]) for name in troubled])

    def closer(name: str) -> EcsLook:
        look = t.cast(EcsLook, found[name])
        look = dataclasses.replace(look, scaler=scalers.get(resource_id(look)))
        if look.steady:
            return look
        missing, image_gone = lacking(account, look.task_definition)
        stopped = read_stopped_tasks(account, look)
        return dataclasses.replace(look, stopped=stopped, missing=missing, image_gone=image_gone)

    return found | dict(zip(troubled, account.side_by_side(troubled, closer), strict=True))


def read_with_targets(account: AwsAccount, looks: Mapping[str, EcsLook | None]) -> dict[str, EcsLook | None]:
    """The same, with the health of their targets."""
    groups = [(name, group) for name, look in looks.items() if look is not None for group in look.groups]
    answers = account.side_by_side(groups, lambda each: read_target_health(account, each[1]))
    by_name: dict[str, list[Targets]] = {}
    for (name, _group), targets in zip(groups, answers, strict=True):
        by_name.setdefault(name, []).append(targets)
    return {
        name: look if look is None else dataclasses.replace(look, targets=tuple(by_name.get(name, ())))
        for name, look in looks.items()
    }


def read_target_health(account: AwsAccount, group: str) -> Targets:
    """The health of the members of a target group; one that is gone has no members."""
    try:
        answer = account.ask("elbv2", "describe_target_health", about=last_of(group), TargetGroupArn=group)
    except NotFound:
        return read_targets(group, ())
    return read_targets(group, answer.get("TargetHealthDescriptions") or ())


def read_stopped_tasks(account: AwsAccount, look: EcsLook) -> tuple[StoppedTask, ...]:
    """The tasks that stopped lately; ECS keeps them for an hour at most."""
    about = f"the stopped tasks of {look.name}"
    names = account.ask(
        "ecs",
        "list_tasks",
        about=about,
        cluster=look.cluster,
        serviceName=look.name,
        desiredStatus="STOPPED",
        maxResults=_MOST_TASKS,
    ).get("taskArns")
    if not names:
        return ()
    answer = account.ask("ecs", "describe_tasks", about=about, cluster=look.cluster, tasks=list(names))
    return read_stopped(answer.get("tasks") or ())


def read_scalers(account: AwsAccount, looks: Sequence[EcsLook]) -> dict[str, Scaler]:
    """What scales some services by itself, by `resource_id`.

    Without the right to look, nothing is said here: the step that scales says so.
    """
    return read_scalers_of(account, [resource_id(each) for each in looks])


def read_scalers_of(account: AwsAccount, ids: Sequence[str]) -> dict[str, Scaler]:
    """The same, by the names that `resource_of` makes."""

    def ask(part: Sequence[str]) -> list[tuple[str, Scaler]]:
        try:
            found = account.ask_all(
                "application-autoscaling",
                "describe_scalable_targets",
                "ScalableTargets",
                about="what scales ECS services",
                ServiceNamespace=_NAMESPACE,
                ResourceIds=list(part),
            )
        except AccessDenied:
            return []
        return [(str(each["ResourceId"]), read_scaler(each)) for each in found]

    return dict(account.batches(ids, _MOST_SCALERS, ask))


def resource_id(look: EcsLook) -> str:
    """As Application Auto Scaling names a service of ECS."""
    return resource_of(look.cluster, look.name)


def resource_of(cluster: str, service: str) -> str:
    """The same, of the two names."""
    return f"service/{cluster}/{service}"
