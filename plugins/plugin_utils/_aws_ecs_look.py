# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a service of ECS is, read from what ECS, Application Auto Scaling and ELBv2 answer. Pure.

A service is described whole by one item of DescribeServices: its deployments and its last hundred events. Its tasks
are looked at only when something is wrong with it, for they say why.
"""

from __future__ import annotations

import datetime
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Object = Mapping[str, t.Any]

#: Who carries out the deployments of a service; with any other its task definition is not for others to set.
OWN_CONTROLLER = "ECS"
# The reasons that ECS gives for a task that never ran: "Amazon ECS stopped tasks error messages" of its guide.
_IMAGE = re.compile(r"CannotPull|CannotFindImage|InvalidImage|manifest unknown|image.{0,60}not found", re.IGNORECASE)
_NEEDS = re.compile(
    r"unable to (pull|retrieve|fetch) secrets?|invalid ssm parameters|unable to retrieve ecr registry auth"
    r"|ResourceInitializationError.*(secret|ssm)",
    re.IGNORECASE | re.DOTALL,
)
_PLACE = re.compile(
    r"unable to place a task|no container instances? (were|was|met)|capacity is unavailable|insufficient (capacity|cpu"
    r"|memory)|RESOURCE:|reached the limit on the number of tasks|CannotCreateNetworkInterface|no free addresses",
    re.IGNORECASE,
)
_STEADY = re.compile(r"has reached a steady state")
_BREAKER = re.compile(r"circuit breaker", re.IGNORECASE)
#: What of Application Auto Scaling can be suspended, and by which field of `SuspendedState`.
SUSPENSIONS: Mapping[str, str] = {
    "in": "DynamicScalingInSuspended",
    "out": "DynamicScalingOutSuspended",
    "scheduled": "ScheduledScalingSuspended",
}
# Part of what a reason may quote; names of secrets may stay, values are never in it.
_MOST_TEXT = 240
_MOST_EVENTS = 30
_SHORT = 12


@dataclass(frozen=True)
class Deployment:
    """One deployment of a service.

    :param status: `PRIMARY` for the one that is wanted, `ACTIVE` for those that it replaces.
    :param task_definition: as `records:7`.
    :param rollout: `COMPLETED`, `IN_PROGRESS` or `FAILED`; empty where ECS does not say it.
    :param reason: why, in the words of ECS.
    :param created_at: Unix seconds.
    """

    id: str
    status: str
    task_definition: str
    desired: int
    running: int
    pending: int
    failed: int
    rollout: str
    reason: str
    created_at: float


@dataclass(frozen=True)
class StoppedTask:
    """A task that ended, or never ran.

    :param reason: of the task, and of its first container that says one.
    :param exit_code: of its first container that has one.
    """

    id: str
    task_definition: str
    code: str
    reason: str
    exit_code: int | None
    stopped_at: float

    @property
    def text(self) -> str:
        """For people."""
        ended = f", exit code {self.exit_code}" if self.exit_code is not None else ""
        return (
            f"task {self.id} of {self.task_definition} stopped: {self.reason or self.code or 'no more is said'}{ended}"
        )


@dataclass(frozen=True)
class Targets:
    """The members of one target group.

    :param reasons: of those that are not healthy, by how many.
    """

    group: str
    healthy: int
    total: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scaler:
    """What Application Auto Scaling may do with the number of tasks.

    :param suspended: it neither scales in nor out.
    :param active: what of it is not suspended: `in`, `out`, `scheduled`.
    """

    least: int
    most: int
    suspended: bool
    active: tuple[str, ...] = ("in", "out", "scheduled")


@dataclass(frozen=True)
class Event:
    """What ECS says happened, and when in Unix seconds."""

    at: float
    text: str


@dataclass(frozen=True)
class EcsLook:
    """A service of ECS.

    :param status: `ACTIVE`; `DRAINING` and `INACTIVE` for one that is deleted.
    :param task_definition: the one that is wanted, as `records:7`.
    :param controller: `ECS`, `CODE_DEPLOY` or `EXTERNAL`.
    :param breaker: ECS goes back by itself from a deployment that fails.
    :param groups: ARNs of its target groups.
    :param events: the newest first.
    :param stopped: tasks that ended lately, the newest first; only of a service that is not steady.
    :param missing: what its task definition wants and is not there, one sentence each.
    :param image_gone: its image is not in its registry; empty when it is, or when nobody looked.
    """

    cluster: str
    name: str
    arn: str
    status: str
    task_definition: str
    desired: int
    running: int
    pending: int
    controller: str
    breaker: bool
    deployments: tuple[Deployment, ...]
    events: tuple[Event, ...]
    groups: tuple[str, ...]
    scheduling: str = "REPLICA"
    targets: tuple[Targets, ...] = ()
    scaler: Scaler | None = None
    stopped: tuple[StoppedTask, ...] = ()
    missing: tuple[str, ...] = ()
    image_gone: str = ""

    @property
    def primary(self) -> Deployment | None:
        """The deployment that is wanted; None where another controller deploys."""
        return next((each for each in self.deployments if each.status == "PRIMARY"), None)

    @property
    def older(self) -> tuple[Deployment, ...]:
        """Deployments that are being replaced."""
        return tuple(each for each in self.deployments if each.status != "PRIMARY")

    @property
    def steady(self) -> bool:
        """All wanted tasks run, and they are of one task definition. `running` alone would count older ones."""
        primary = self.primary
        if self.status != "ACTIVE" or self.running != self.desired:
            return False
        if not self.desired:
            # What became of its deployment does not matter when there is to be no task.
            return not self.pending
        if primary is None:
            return self.controller != OWN_CONTROLLER
        return (
            primary.rollout in ("COMPLETED", "")
            and primary.task_definition == self.task_definition
            and primary.running >= self.desired
            and not any(each.running for each in self.older)
        )

    @property
    def rolling_back(self) -> bool:
        """ECS itself is on its way back from a deployment that failed."""
        primary = self.primary
        return primary is not None and primary.rollout == "IN_PROGRESS" and bool(_BREAKER.search(primary.reason))

    @property
    def unhealthy(self) -> tuple[Targets, ...]:
        """Target groups without a healthy member."""
        return tuple(each for each in self.targets if not each.healthy)

    def said(self, kind: str) -> list[str]:
        """What ECS gives as reasons of one kind: `image`, `needs` or `place`; the newest first."""
        pattern = {"image": _IMAGE, "needs": _NEEDS, "place": _PLACE}[kind]
        since = self.primary.created_at if self.primary is not None else 0.0
        wanted = [each for each in self.stopped if each.task_definition == self.task_definition]
        lines = [each.text for each in wanted if pattern.search(f"{each.code} {each.reason}")]
        return [*lines, *(each.text for each in self.events if each.at >= since and pattern.search(each.text))]

    @property
    def crashes(self) -> list[StoppedTask]:
        """Tasks of the wanted task definition that ran and ended by themselves."""
        return [
            each
            for each in self.stopped
            if each.task_definition == self.task_definition
            and (each.exit_code is not None or each.code == "EssentialContainerExited")
        ]

    @property
    def figures(self) -> str:
        """For people."""
        return f"{self.name}: {self.running} of {self.desired} tasks run, {self.pending} are starting"


def read_service(found: Object) -> EcsLook:
    """One item of DescribeServices."""
    breaker = (found.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
    groups = [each.get("targetGroupArn") for each in found.get("loadBalancers") or ()]
    deployments = [_deployment(each) for each in found.get("deployments") or ()]
    return EcsLook(
        cluster=last_of(str(found.get("clusterArn") or "")),
        name=str(found["serviceName"]),
        arn=str(found["serviceArn"]),
        status=str(found.get("status") or ""),
        task_definition=last_of(str(found.get("taskDefinition") or "")),
        desired=int(found.get("desiredCount") or 0),
        running=int(found.get("runningCount") or 0),
        pending=int(found.get("pendingCount") or 0),
        controller=str((found.get("deploymentController") or {}).get("type") or OWN_CONTROLLER),
        breaker=bool(breaker.get("enable") and breaker.get("rollback")),
        deployments=tuple(sorted(deployments, key=lambda each: each.created_at, reverse=True)),
        events=tuple(_events(found.get("events") or ())),
        groups=tuple(dict.fromkeys(str(each) for each in groups if each)),
        scheduling=str(found.get("schedulingStrategy") or "REPLICA"),
    )


def read_stopped(tasks: Iterable[Object]) -> tuple[StoppedTask, ...]:
    """Items of DescribeTasks, the newest first."""
    found = []
    for each in tasks:
        containers = each.get("containers") or ()
        reasons = [each.get("stoppedReason"), *(container.get("reason") for container in containers)]
        codes = [container["exitCode"] for container in containers if container.get("exitCode") is not None]
        found.append(
            StoppedTask(
                id=last_of(str(each["taskArn"]))[:_SHORT],
                task_definition=last_of(str(each.get("taskDefinitionArn") or "")),
                code=str(each.get("stopCode") or ""),
                reason="; ".join(dict.fromkeys(short(str(text)) for text in reasons if text)),
                exit_code=codes[0] if codes else None,
                stopped_at=seconds_of(each.get("stoppedAt")),
            )
        )
    return tuple(sorted(found, key=lambda each: each.stopped_at, reverse=True))


def read_targets(group: str, members: Sequence[Object]) -> Targets:
    """The answer of DescribeTargetHealth."""
    states = [each.get("TargetHealth") or {} for each in members]
    # One that leaves is no member any more.
    states = [each for each in states if each.get("State") != "draining"]
    bad = [each for each in states if each.get("State") != "healthy"]
    reasons = [f"{each.get('State')}: {each.get('Reason') or each.get('Description') or 'no reason'}" for each in bad]
    counted = [f"{reasons.count(each)} {each}" for each in dict.fromkeys(reasons)]
    return Targets(group_name(group), len(states) - len(bad), len(states), tuple(counted[:5]))


def read_scaler(found: Object) -> Scaler:
    """One item of DescribeScalableTargets."""
    state = found.get("SuspendedState") or {}
    active = tuple(name for name, key in SUSPENSIONS.items() if not state.get(key))
    off = "in" not in active and "out" not in active
    return Scaler(int(found.get("MinCapacity") or 0), int(found.get("MaxCapacity") or 0), off, active)


def last_steady(events: Sequence[Event], before: float) -> float | None:
    """When ECS last said, before some moment, that all is steady; None when it did not say it."""
    return next((each.at for each in events if each.at < before and _STEADY.search(each.text)), None)


def last_of(arn: str) -> str:
    """The end of an ARN: `records:7`, or the name of a cluster."""
    return arn.rpartition("/")[2]


def group_name(arn: str) -> str:
    """The name of a target group."""
    parts = arn.split("/")
    return parts[1] if len(parts) > 2 else arn


def short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_TEXT else line[:_MOST_TEXT] + "…"


def seconds_of(moment: t.Any) -> float:
    """Unix seconds; 0 for none."""
    return moment.timestamp() if isinstance(moment, datetime.datetime) else 0.0


def _deployment(found: Object) -> Deployment:
    return Deployment(
        id=str(found.get("id") or ""),
        status=str(found.get("status") or ""),
        task_definition=last_of(str(found.get("taskDefinition") or "")),
        desired=int(found.get("desiredCount") or 0),
        running=int(found.get("runningCount") or 0),
        pending=int(found.get("pendingCount") or 0),
        failed=int(found.get("failedTasks") or 0),
        rollout=str(found.get("rolloutState") or ""),
        reason=short(str(found.get("rolloutStateReason") or "")),
        created_at=seconds_of(found.get("createdAt")),
    )


def _events(found: Iterable[Object]) -> list[Event]:
    events = [Event(seconds_of(each.get("createdAt")), short(str(each.get("message") or ""))) for each in found]
    events.sort(key=lambda each: each.at, reverse=True)
    # The last word that all was steady is kept, however much has been said since.
    steady = [each for each in events[_MOST_EVENTS:] if _STEADY.search(each.text)]
    return [*events[:_MOST_EVENTS], *steady[:5]]
