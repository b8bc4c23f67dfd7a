# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Services of ECS whose deployments go on, a step with each look at them. moto alone changes a number and is done.

What becomes of a task is told by the tag of its image: `crash` ends at once, `gone` cannot be pulled, others run.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from moto.core.utils import utcnow
from moto.ecs.models import EC2ContainerServiceBackend, Service, Task
from moto.moto_api._internal import mock_random
from operator_site import OperatorSite
from regions import PRIMARY, Regions

CLUSTER = "clinic"
_FAILURES = {
    "crash": ("Essential container in task exited", "EssentialContainerExited", 1),
    "gone": ("CannotPullContainerError: the image manifest is not found", "TaskFailedToStart", None),
}
_moto_create = EC2ContainerServiceBackend.create_service
_moto_register = EC2ContainerServiceBackend.register_task_definition


class Controller:
    """What ECS does by itself, for the services of one account."""

    def __init__(self) -> None:
        self.stopped: dict[str, list[Task]] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of what moto does."""
        ecs = EC2ContainerServiceBackend
        controller = self

        def create(backend: t.Any, *values: t.Any, **named: t.Any) -> Service:
            service = _moto_create(backend, *values, **named)
            service.running_count, service.pending_count = service.desired_count, 0
            for each in service.deployments:
                each |= {"runningCount": service.desired_count, "pendingCount": 0, "rolloutState": "COMPLETED"}
            return service

        def register(backend: t.Any, *values: t.Any, **named: t.Any) -> t.Any:
            found = _moto_register(backend, *values, **named)
            t.cast("t.Any", found).registered_at = utcnow()
            return found

        def list_tasks(_backend: t.Any, *asked: t.Any) -> list[Task]:
            _cluster, _instance, _family, _by, service, status = asked
            return controller.stopped.get(str(service), []) if status == "STOPPED" else []

        def describe(_backend: t.Any, _cluster: str, tasks: list[str]) -> list[Task]:
            return [each for known in controller.stopped.values() for each in known if each.task_arn in tasks]

        original = ecs.describe_services

        def look(backend: t.Any, cluster: str, names: list[str]) -> t.Any:
            found, failures = original(backend, cluster, names)
            for each in found:
                controller.proceed(backend, each)
            return found, failures

        patch.setattr(ecs, "create_service", create)
        patch.setattr(ecs, "register_task_definition", register)
        patch.setattr(ecs, "update_service", lambda backend, values: controller.update(backend, dict(values)))
        patch.setattr(ecs, "describe_services", look)
        patch.setattr(ecs, "list_tasks", list_tasks)
        patch.setattr(ecs, "describe_tasks", describe)

    def update(self, backend: t.Any, values: dict[str, t.Any]) -> Service:
        """UpdateService."""
        service: Service = backend._get_service(values["cluster"], values["service"])
        wanted = values.get("task_definition")
        if values.get("desired_count") is not None:
            service.desired_count = values["desired_count"]
            service.deployments[0]["desiredCount"] = service.desired_count
        definition = backend.describe_task_definition(wanted).arn if wanted else service.task_definition
        if definition != service.task_definition or values.get("force_new_deployment"):
            service.task_definition = definition
            for each in service.deployments:
                each["status"] = "ACTIVE"
            service.deployments.insert(0, _deployment(service, definition))
        return service

    def proceed(self, backend: t.Any, service: Service) -> None:
        """One step of its deployment; those of another controller are not its affair."""
        if not service.deployments:
            return
        primary, *older = service.deployments
        tag = _tag(backend, str(primary["taskDefinition"]))
        if primary["runningCount"] > service.desired_count:
            primary["runningCount"] = service.desired_count
        elif primary["runningCount"] < service.desired_count and primary["rolloutState"] != "FAILED":
            if tag in _FAILURES:
                self._fail(backend, service, primary, tag)
            else:
                primary["runningCount"] += 1
        if primary["runningCount"] == service.desired_count and primary["rolloutState"] == "IN_PROGRESS":
            primary["rolloutState"], older = "COMPLETED", []
            service.events.insert(0, _event(f"(service {service.name}) has reached a steady state."))
        for each in older:
            each["runningCount"] = min(each["runningCount"], service.desired_count)
        service.deployments[:] = [primary, *older]
        service.running_count = sum(each["runningCount"] for each in service.deployments)
        service.pending_count = 0

    def _fail(self, backend: t.Any, service: Service, primary: dict[str, t.Any], tag: str) -> None:
        reason, code, exit_code = _FAILURES[tag]
        cluster = backend._get_cluster(service.cluster_name)
        definition = backend.describe_task_definition(primary["taskDefinition"])
        task: t.Any = Task(cluster, definition, None, {}, backend, f"service:{service.name}")
        task.status = task.desired_status = "STOPPED"
        task.stopped_at, task.stopped_reason, task.stop_code = utcnow(), reason, code
        for each in task.containers:
            each.last_status, each.exitCode = "STOPPED", exit_code
        known = self.stopped.setdefault(service.name, [])
        known.insert(0, task)
        del known[10:]
        primary["failedTasks"] += 1
        service.events.insert(0, _event(f"(service {service.name}) (task {task.id}) failed: {reason}"))


def make_service(regions: Regions, name: str, tags: t.Sequence[str] = ("1",), count: int = 2) -> None:
    """A service that runs its first image, with a task definition for each."""
    client = regions.client("ecs")
    if not client.describe_clusters(clusters=[CLUSTER])["clusters"]:
        client.create_cluster(clusterName=CLUSTER)
    for tag in tags:
        register(regions, name, tag)
    client.create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition=f"{name}:1", desiredCount=count, launchType="FARGATE"
    )


def register(regions: Regions, name: str, tag: str) -> None:
    """A further task definition."""
    container = {"name": "app", "image": f"registry.example/{name}:{tag}", "memory": 512}
    regions.client("ecs").register_task_definition(family=name, containerDefinitions=[container])


def deploy(regions: Regions, name: str, revision: int) -> None:
    """As a pipeline does it."""
    regions.client("ecs").update_service(cluster=CLUSTER, service=name, taskDefinition=f"{name}:{revision}")
    look(regions, name)


def look(regions: Regions, name: str) -> dict[str, t.Any]:
    """How the service is."""
    found = regions.client("ecs").describe_services(cluster=CLUSTER, services=[name])["services"][0]
    return t.cast("dict[str, t.Any]", found)


def runs(regions: Regions, name: str) -> tuple[str, int]:
    """Its task definition, and how many tasks run."""
    found = look(regions, name)
    return found["taskDefinition"].rpartition("/")[2], found["runningCount"]


def service(name: str, *depends_on: str, kind: str = "service", **ecs: t.Any) -> dict[str, t.Any]:
    """What an inventory says of a service."""
    return {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": kind,
        "codeblue_depends_on": list(depends_on),
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_checks": {"interval": "200ms", "consecutive": 2},
        "codeblue_aws": {"region": PRIMARY, "ecs": {"cluster": CLUSTER, "service": name, **ecs}},
    }


def site(root: Path, regions: Regions, *names: str, **ecs: t.Any) -> OperatorSite:
    """An operator's account with these services in its inventory."""
    services = {name: service(name, **ecs) for name in names}
    return OperatorSite(root, services, regions.environment, "complete_system_outage")


def _deployment(service: Service, definition: str) -> dict[str, t.Any]:
    now = utcnow()
    return {
        **service.deployments[0],
        "id": f"ecs-svc/{mock_random.randint(10**18, 10**19 - 1)}",
        "status": "PRIMARY",
        "taskDefinition": definition,
        "desiredCount": service.desired_count,
        "runningCount": 0,
        "pendingCount": 0,
        "failedTasks": 0,
        "createdAt": now,
        "updatedAt": now,
        "rolloutState": "IN_PROGRESS",
        "rolloutStateReason": "ECS deployment in progress.",
    }


def _tag(backend: t.Any, definition: str) -> str:
    image = backend.describe_task_definition(definition).container_definitions[0]["image"]
    return str(image.rpartition(":")[2])


def _event(text: str) -> dict[str, t.Any]:
    return {"id": str(mock_random.uuid4()), "createdAt": utcnow(), "message": text}
