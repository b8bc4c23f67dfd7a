"""What a fault or a heal works with: the account of one lab, and the server that keeps it."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from codeblue.lab.aws.account import LabAccount, ServerControl
from codeblue.lab.aws.blueprint import CLUSTER, REGIONS, SERVICES
from codeblue.lab.aws.fill_storage import image_manifest
from codeblue.lab.aws.layout import AwsLayout
from codeblue.lab.aws.outside import Outside
from codeblue.lab.aws.state import AwsLabState

_POLL_SECONDS = 0.1
READY_SECONDS = 30.0


class AwsParts:
    """The account of one lab."""

    def __init__(self, layout: AwsLayout, state: AwsLabState) -> None:
        self.layout = layout
        self.state = state

    @property
    def url(self) -> str:
        """That answers for every region, also when the endpoint of one is closed."""
        return self.state.url("control")

    @cached_property
    def account(self) -> LabAccount:
        return LabAccount(self.url)

    @cached_property
    def control(self) -> ServerControl:
        return ServerControl(self.url)

    @property
    def outside(self) -> Outside:
        """The way of people in."""
        return Outside(self.state.host, self.state.ports["edge"])

    def client(self, service: str, region: str) -> t.Any:
        """A client of a service, by the lab's own key."""
        return self.account.client(service, region)

    def fact(self, region: str, name: str) -> str:
        """An id or ARN of what the account was filled with."""
        return self.state.facts[f"{region}/{name}"]

    def services(self, region: str) -> dict[str, dict[str, t.Any]]:
        """What ECS says of its services, by their names in the inventory."""
        names = {each.service: name for name, each in SERVICES.items()}
        found = self.client("ecs", region).describe_services(cluster=CLUSTER, services=list(names))["services"]
        return {names[each["serviceName"]]: each for each in found}

    def stop_tasks(self, region: str, name: str) -> None:
        """Stop all tasks of a service, as a place that is lost does; others are started."""
        ecs = self.client("ecs", region)
        service = SERVICES[name].service
        for arn in ecs.list_tasks(cluster=CLUSTER, serviceName=service)["taskArns"]:
            ecs.stop_task(cluster=CLUSTER, task=arn, reason="the lab stops it")

    def push_image(self, region: str, repository: str, tag: str) -> None:
        """Have an image of a tag in a registry; one that is there stays."""
        manifest = image_manifest(tag)
        ecr = self.client("ecr", region)
        with suppress(ecr.exceptions.ImageAlreadyExistsException):
            ecr.put_image(repositoryName=repository, imageTag=tag, **manifest)

    def unsteady(self) -> list[str]:
        """One line for each service that does not have its tasks."""
        found = []
        for region in REGIONS:
            services = self.services(region)
            for name in SERVICES:
                service = services.get(name)
                if service is None or service["status"] != "ACTIVE":
                    found.append(f"{name} in {region} is gone")
                    continue
                wanted, runs = SERVICES[name].tasks[region], service["runningCount"]
                state = service["deployments"][0]["rolloutState"]
                if runs != wanted or service["desiredCount"] != wanted or state != "COMPLETED":
                    found.append(f"{name} in {region}: {runs} of {wanted} tasks run ({state.lower()})")
        return found

    def wait_steady(self, seconds: float = READY_SECONDS) -> list[str]:
        """Wait until every service is as it is to be; what is not after that time."""
        return self.wait(self.unsteady, seconds)

    def wait(self, look: Callable[[], list[str]], seconds: float) -> list[str]:
        """Wait until there is nothing to say any more."""
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(_POLL_SECONDS)
