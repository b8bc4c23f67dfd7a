"""ECS that runs its tasks: deployments, tasks with their network interfaces, events, circuit breaker.

There are no containers. What becomes of a task is decided by the tag of its image and by what it needs: see
`outcomes`. How ECS goes about a deployment follows its documentation: within the minimum and maximum percent of healthy
tasks, older tasks are ended as far as they are not needed, newer ones are started as far as there is room.
"""

from __future__ import annotations

import math
import time
import typing as t

from moto.core.utils import utcnow
from moto.ecs.exceptions import EcsClientException, InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, Task
from moto.moto_api import state_manager
from moto.moto_api._internal import mock_random

from codeblue.lab.aws.server.outcomes import LabTask, what_becomes

# From its start until it runs, and until it is known to be well.
_START_SECONDS = 0.2
_WELL_SECONDS = 0.1
# After a task that failed the next one waits, longer each time, as ECS does.
_FIRST_PAUSE = 0.4
_LONGEST_PAUSE = 5.0
_MOST_STOPPED = 20
_MOST_EVENTS = 100
_MOST_COMPLETED = 50
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
_LEAST_FAILURES, _MOST_FAILURES, _FAILING_SHARE = 3, 200, 0.5

Deployment = dict[str, t.Any]
# Those of moto, to which more is written than it has.
Service = t.Any


class LabEcs(EC2ContainerServiceBackend):
    """Moto's ECS of one region, with tasks."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        # Moto ends a task when it is described.
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1_000_000_000})
        #: By the ARN of the service, in the order of their start; stopped ones for a while.
        self.lab_tasks: dict[str, list[LabTask]] = {}
        #: Deployments that came to a good end, by the ARN of the service; the newest last.
        self.completed: dict[str, list[Deployment]] = {}
        self._pauses: dict[str, tuple[float, float]] = {}

    # -- the API -----------------------------------------------------------------------------------------------

    def create_service(self, *arguments: t.Any, **values: t.Any) -> Service:
        service: Service = super().create_service(*arguments, **values)
        service.running_count = service.pending_count = 0
        service.deployment_configuration = _configuration({})
        service.created_at = utcnow()
        return service

    def register_task_definition(self, *arguments: t.Any, **values: t.Any) -> t.Any:
        made: t.Any = super().register_task_definition(*arguments, **values)
        made.registered_at = utcnow()
        return made

    def update_service(self, service_properties: dict[str, t.Any]) -> Service:
        values = dict(service_properties)
        cluster = self._get_cluster(values.pop("cluster", "default"))
        service = self._get_service(cluster.name, values.pop("service").split("/")[-1])
        if service.status != "ACTIVE":
            raise EcsClientException("Service was not ACTIVE.")
        wanted, force = values.pop("task_definition", None), values.pop("force_new_deployment", False)
        definition = service.task_definition
        if wanted:
            found = self.describe_task_definition(wanted)
            if found.status != "ACTIVE":
                raise EcsClientException("TaskDefinition is inactive")
            definition = found.arn
        for name, value in values.items():
            if value is not None:
                setattr(service, name, _configuration(value) if name == "deployment_configuration" else value)
        if force or definition != service.task_definition:
            service.task_definition = definition
            self._deploy(service)
        if service.deployments:
            service.deployments[0]["desiredCount"] = service.desired_count
            service.deployments[0]["updatedAt"] = utcnow()
        # As it looks at once: what runs is not yet what is wanted.
        self._count(service)
        return service

    def list_tasks(
        self,
        cluster_str: str | None = None,
        container_instance: str | None = None,
        family: str | None = None,
        started_by: str | None = None,
        service_name: str | None = None,
        desiredStatus: str | None = None,
    ) -> list[Task]:
        found = super().list_tasks(
            cluster_str, container_instance, family, started_by, None, desiredStatus or "RUNNING"
        )
        group = f"service:{(service_name or '').split('/')[-1]}"
        return [each for each in found if not service_name or each.group == group]

    def stop_task(self, cluster_str: str, task_str: str, reason: str) -> Task:
        cluster = self._get_cluster(cluster_str)
        name = task_str.split("/")[-1]
        for service in self.services.values():
            for task in self._tasks(service):
                if task.moto.id == name and service.cluster_name == cluster.name:
                    self._stop(service, task, reason or "Task stopped by user", "UserInitiated")
                    return task.moto
        raise InvalidParameterException("The referenced task was not found.")

    # -- what happens by itself --------------------------------------------------------------------------------

    def proceed(self) -> None:
        """One step for every service."""
        for service in list(self.services.values()):
            if service.status == "ACTIVE" and service.deployments:
                self._proceed(service)
            elif service.status != "ACTIVE":
                for task in self.running(service):
                    self._stop(service, task, "Scaling activity initiated by (deployment)", "ServiceSchedulerInitiated")
                self._count(service)

    def running(self, service: Service) -> list[LabTask]:
        """Tasks that have not ended."""
        return [each for each in self._tasks(service) if not each.stopped]

    def task_at(self, address: str) -> LabTask | None:
        """The task that has an address."""
        for tasks in self.lab_tasks.values():
            for task in tasks:
                if task.address == address and not task.stopped:
                    return task
        return None

    def _proceed(self, service: Service) -> None:
        now = time.monotonic()
        self._settle(service, now)
        primary = service.deployments[0]
        tasks = self.running(service)
        new = [each for each in tasks if each.deployment == primary["id"]]
        old = [each for each in tasks if each.deployment != primary["id"]]
        desired = service.desired_count
        well = sum(each.well for each in new)
        self._end_surplus(service, new, old, well)
        tasks = self.running(service)
        new = [each for each in tasks if each.deployment == primary["id"]]
        room = math.floor(desired * service.deployment_configuration["maximumPercent"] / 100) - len(tasks)
        _pause, not_before = self._pauses.get(service.arn, (0.0, 0.0))
        if now >= not_before and primary["rolloutState"] != "FAILED":
            for _ in range(max(0, min(desired - len(new), room))):
                self._start(service, primary, now)
        well = sum(each.well for each in new)
        if well == desired == len(self.running(service)) and primary["rolloutState"] == "IN_PROGRESS":
            self._complete(service, primary)
        self._break_circuit(service, primary)
        self._count(service)

    def _end_surplus(self, service: Service, new: list[LabTask], old: list[LabTask], well: int) -> None:
        desired = service.desired_count
        least = math.ceil(desired * service.deployment_configuration["minimumHealthyPercent"] / 100)
        most = math.floor(desired * service.deployment_configuration["maximumPercent"] / 100)
        for each in new[desired:]:
            self._stop(service, each, "Scaling activity initiated by (deployment)", "ServiceSchedulerInitiated")
        # Those that are not needed any more, and those in the way of new ones.
        surplus = len(old) if well >= desired else max(0, min(len(old), well + len(old) - least))
        if well < desired and len(old) + len(new) < most:
            surplus = 0
        for each in old[:surplus]:
            self._stop(service, each, "Scaling activity initiated by (deployment)", "ServiceSchedulerInitiated")

    def _settle(self, service: Service, now: float) -> None:
        """What became of tasks that were started."""
        for task in self.running(service):
            if task.outcome is None and now - task.began >= _START_SECONDS:
                task.outcome = what_becomes(task, self.region_name)
                if task.outcome.stops:
                    self._fail(service, task, now)
                    continue
                task.run(service)
            if task.outcome is not None and not task.well and now - task.began >= _START_SECONDS + _WELL_SECONDS:
                task.well = task.outcome.ready
                if task.well:
                    self._pauses.pop(service.arn, None)

    def _fail(self, service: Service, task: LabTask, now: float) -> None:
        assert task.outcome is not None
        self._stop(service, task, task.outcome.reason, task.outcome.stop_code, task.outcome.exit_code)
        for each in service.deployments:
            if each["id"] == task.deployment:
                each["failedTasks"] = int(each.get("failedTasks") or 0) + 1
        pause = min(_LONGEST_PAUSE, 2 * self._pauses.get(service.arn, (_FIRST_PAUSE / 2, 0.0))[0])
        self._pauses[service.arn] = (pause, now + pause)
        self._say(service, f"(task {task.moto.id}) failed: {task.outcome.reason}")

    def _start(self, service: Service, deployment: Deployment, now: float) -> None:
        definition = self.describe_task_definition(deployment["taskDefinition"])
        moto_task: t.Any = Task(
            self._get_cluster(service.cluster_name),
            definition,
            None,
            {},
            self,
            f"service:{service.name}",
            launch_type=service.launch_type or "FARGATE",
            started_by=deployment["id"],
            networking_configuration=service.network_configuration or None,
        )
        moto_task.version = 1
        moto_task.created_at = utcnow()
        moto_task.status = "PROVISIONING"
        moto_task.health_status = "UNKNOWN"
        self.tasks.setdefault(service.cluster_name, {})[moto_task.task_arn] = moto_task
        self._tasks(service).append(LabTask(moto_task, definition, deployment["id"], now))

    def _stop(self, service: Service, task: LabTask, reason: str, code: str, exit_code: int | None = None) -> None:
        task.stop(service, reason, code, exit_code)
        tasks = self._tasks(service)
        for each in [each for each in tasks if each.stopped][:-_MOST_STOPPED]:
            tasks.remove(each)
            self.tasks[service.cluster_name].pop(each.moto.task_arn, None)

    def _deploy(self, service: Service, definition: str | None = None) -> Deployment:
        now = utcnow()
        for each in service.deployments:
            each["status"] = "ACTIVE"
        made = {
            **(service.deployments[0] if service.deployments else {}),
            "id": f"ecs-svc/{mock_random.randint(10**18, 10**19 - 1)}",
            "status": "PRIMARY",
            "taskDefinition": definition or service.task_definition,
            "desiredCount": service.desired_count,
            "runningCount": 0,
            "pendingCount": 0,
            "failedTasks": 0,
            "createdAt": now,
            "updatedAt": now,
            "rolloutState": "IN_PROGRESS",
        }
        made["rolloutStateReason"] = f"ECS deployment {made['id']} in progress."
        service.deployments.insert(0, made)
        self._pauses.pop(service.arn, None)
        return made

    def _complete(self, service: Service, primary: Deployment) -> None:
        primary["rolloutState"] = "COMPLETED"
        primary["rolloutStateReason"] = f"ECS deployment {primary['id']} completed."
        primary["updatedAt"] = utcnow()
        service.deployments[:] = [primary]
        if service.desired_count:
            known = self.completed.setdefault(service.arn, [])
            known.append(dict(primary))
            del known[:-_MOST_COMPLETED]
        self._say(service, f"(deployment {primary['id']}) deployment completed.")
        self._say(service, "has reached a steady state.")

    def _break_circuit(self, service: Service, primary: Deployment) -> None:
        breaker = service.deployment_configuration.get("deploymentCircuitBreaker") or {}
        if not breaker.get("enable") or primary["rolloutState"] != "IN_PROGRESS":
            return
        limit = max(_LEAST_FAILURES, min(_MOST_FAILURES, math.ceil(service.desired_count * _FAILING_SHARE)))
        if primary["failedTasks"] < limit:
            return
        primary["rolloutState"] = "FAILED"
        primary["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
        self._say(service, f"(deployment {primary['id']}) deployment failed: tasks failed to start.")
        good = next((each["taskDefinition"] for each in reversed(self.completed.get(service.arn, []))), None)
        if breaker.get("rollback") and good and good != primary["taskDefinition"]:
            service.task_definition = good
            made = self._deploy(service, good)
            made["rolloutStateReason"] = (
                f"ECS deployment circuit breaker: rolling back to task definition {good.rpartition('/')[2]}."
            )

    def _count(self, service: Service) -> None:
        tasks = self.running(service)
        service.running_count = sum(each.outcome is not None for each in tasks)
        service.pending_count = len(tasks) - service.running_count
        for each in service.deployments:
            own = [task for task in tasks if task.deployment == each["id"]]
            each["runningCount"] = sum(task.outcome is not None for task in own)
            each["pendingCount"] = len(own) - each["runningCount"]
        cluster = self._get_cluster(service.cluster_name)
        services = [each for each in self.services.values() if each.cluster_name == cluster.name]
        cluster.running_tasks_count = sum(each.running_count for each in services)
        cluster.pending_tasks_count = sum(each.pending_count for each in services)
        cluster.active_services_count = sum(each.status == "ACTIVE" for each in services)

    def _say(self, service: Service, text: str) -> None:
        event = {"id": str(mock_random.uuid4()), "createdAt": utcnow(), "message": f"(service {service.name}) {text}"}
        service.events.insert(0, event)
        del service.events[_MOST_EVENTS:]

    def _tasks(self, service: Service) -> list[LabTask]:
        return self.lab_tasks.setdefault(service.arn, [])


def _configuration(given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """With what ECS takes when nothing is said."""
    breaker = given.get("deploymentCircuitBreaker") or {"enable": False, "rollback": False}
    return {
        "minimumHealthyPercent": int(given.get("minimumHealthyPercent", 100)),
        "maximumPercent": int(given.get("maximumPercent", 200)),
        "deploymentCircuitBreaker": breaker,
    }
