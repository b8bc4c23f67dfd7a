# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a service of ECS can run in a region: its cluster, its task definition, its images and secrets."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import region_of_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_fitness import Fitness, fit, unfit
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService

_ECR = re.compile(
    r"(?P<registry>\d{12})\.dkr\.ecr\.(?P<region>[-a-z0-9]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks a service has.

    :param settled: whether nothing of it is being replaced or started.
    """

    desired: int
    running: int
    pending: int
    settled: bool

    def enough(self, wanted: int) -> bool:
        """Whether so many run, and it stays so."""
        return self.running >= wanted and not self.pending and self.settled


def service_in(account: AwsAccount, tasks: EcsService, region: str) -> dict[str, t.Any]:
    """The service as ECS describes it.

    :raises NotFound: there is none that could take tasks.
    """
    answer = account.ask(
        "ecs", "describe_services", region, str(tasks), cluster=tasks.cluster, services=[tasks.service]
    )
    found = next((each for each in answer["services"] if each["status"] == "ACTIVE"), None)
    if found is None:
        raise NotFound(f"{tasks} is not there in {region}", "make it there, as long as all is well")
    return t.cast("dict[str, t.Any]", found)


def counts_of(service: Mapping[str, t.Any]) -> TaskCounts:
    """The counts of a described service."""
    deployments = service.get("deployments") or ()
    ended = all(each.get("rolloutState") in (None, "COMPLETED") for each in deployments)
    return TaskCounts(
        desired=int(service["desiredCount"]),
        running=int(service["runningCount"]),
        pending=int(service.get("pendingCount") or 0),
        settled=len(deployments) <= 1 and ended,
    )


def looked_at_tasks(account: AwsAccount, tasks: EcsService, region: str) -> list[Fitness]:
    """The service, and what its tasks are made of."""
    try:
        service = service_in(account, tasks, region)
    except NotFound as error:
        return [unfit(str(tasks), f"cannot run: {error.message}")]
    counts = counts_of(service)
    found = [fit(str(tasks), f"has {counts.running} of {counts.desired} tasks")]
    broken = next((each for each in service.get("deployments") or () if each.get("rolloutState") == "FAILED"), None)
    if broken is not None:
        found = [unfit(str(tasks), f"failed to deploy: {str(broken.get('rolloutStateReason') or '')[:200]}")]
    found += _capacity(account, tasks, service, region)
    name = str(service["taskDefinition"])
    short = name.rpartition("/")[2]
    definition = account.ask("ecs", "describe_task_definition", region, short, taskDefinition=name)["taskDefinition"]
    if definition.get("status") not in (None, "ACTIVE"):
        found.append(unfit(f"task definition {short}", "was taken out of use"))
    for container in definition.get("containerDefinitions") or ():
        found.append(_image(account, str(container["image"]), region))
        found += [_secret(container, each, region) for each in container.get("secrets") or ()]
    return found


def _capacity(account: AwsAccount, tasks: EcsService, service: Mapping[str, t.Any], region: str) -> list[Fitness]:
    """Tasks on instances of one's own need some; Fargate has a quota."""
    if service.get("launchType") != "EC2":
        return []
    clusters = account.ask("ecs", "describe_clusters", region, tasks.cluster, clusters=[tasks.cluster])["clusters"]
    instances = int(clusters[0].get("registeredContainerInstancesCount") or 0) if clusters else 0
    what = f"cluster {tasks.cluster}"
    return [fit(what, f"has {instances} instances") if instances else unfit(what, "has no instances for tasks")]


def _image(account: AwsAccount, image: str, region: str) -> Fitness:
    what = f"image {image if len(image) <= _LONGEST_QUOTE else '…' + image[-_LONGEST_QUOTE:]}"
    found = _ECR.fullmatch(image)
    if found is None:
        return fit(what, "is in a registry that was not asked")
    if found["region"] != region:
        return unfit(what, f"comes from {found['region']}")
    wanted = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or "latest"}
    try:
        account.ask(
            "ecr",
            "describe_images",
            region,
            what,
            registryId=found["registry"],
            repositoryName=found["repository"],
            imageIds=[wanted],
        )
    except NotFound:
        return unfit(what, f"is not there in {region}")
    return fit(what, "is there")


def _secret(container: Mapping[str, t.Any], secret: Mapping[str, t.Any], region: str) -> Fitness:
    """Tasks do not start without their secrets; where these are from stands in the definition."""
    source = str(secret["valueFrom"])
    what = f"secret {secret['name']} of container {container['name']}"
    other = region_of_arn(source)
    if other and other != region:
        return unfit(what, f"comes from {other}")
    return fit(what, "comes from the region itself")
