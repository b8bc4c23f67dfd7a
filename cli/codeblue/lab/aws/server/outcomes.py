"""What becomes of a task, where there are no containers: by the tag of its image and by what it needs.

| tag | |
|---|---|
| `crash` | its process ends at once |
| `unready` | it runs, and answers its health check with 503 |
| `slow` | it answers late |
| any other | it does its work |

An image that its registry does not have is not started: of the account's own registry that is looked up, of others the
tag `bad` says so.

A task takes the values of its secrets when it starts, as on ECS. One whose secret is not there does not start. One that
has a `DATABASE_HOST` ends when it cannot log in there at its start, and later fails its deep checks while it cannot.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from codeblue.lab.aws.server.databases import login

_TAG = re.compile(r":([^:/@]+)(@sha256:[0-9a-f]+)?$")
_OWN_REGISTRY = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[-a-z0-9]+)\.amazonaws\.com/(?P<repository>[^:@]+)")
_WELL = 200
_AWAY = 503
_SLOW_SECONDS = 2.5
_QUICK_SECONDS = 0.03


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    :param ready: it answers its health check well.
    :param stops: it has ended, or never ran.
    :param reason: why, as ECS says it.
    """

    ready: bool
    stops: bool = False
    reason: str = ""
    stop_code: str = "TaskFailedToStart"
    exit_code: int | None = None


@dataclass
class LabTask:
    """A task.

    :param moto: as the API shows it.
    :param definition: moto's task definition.
    :param deployment: id of the deployment that it is of.
    :param began: CLOCK_MONOTONIC.
    :param outcome: None until it has started.
    :param values: of the environment and the secrets, as it got them.
    """

    moto: t.Any
    definition: t.Any
    deployment: str
    began: float
    outcome: Outcome | None = None
    well: bool = False
    stopped: bool = False
    values: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """In its subnet; empty when it has none."""
        return self._detail("privateIPv4Address")

    @property
    def interface(self) -> str:
        """Id of its network interface; empty when it has none."""
        return self._detail("networkInterfaceId")

    @property
    def tag(self) -> str:
        """Of its image."""
        return tag_of(self.container["image"])

    @property
    def container(self) -> dict[str, t.Any]:
        """Of its definition, the first."""
        return t.cast("dict[str, t.Any]", self.definition.container_definitions[0])

    @property
    def seconds(self) -> float:
        """How long an answer takes by its image."""
        return _SLOW_SECONDS if self.tag == "slow" else _QUICK_SECONDS

    def run(self, service: t.Any) -> None:
        """It runs from now on, and its load balancers may ask it."""
        from moto.core.utils import utcnow

        self.moto.status = "RUNNING"
        self.moto.started_at = utcnow()
        self.moto.connectivity = "CONNECTED"
        assert self.outcome is not None
        self.moto.health_status = "HEALTHY" if self.outcome.ready else "UNHEALTHY"
        for container in self.moto.containers:
            container.last_status = "RUNNING"
            container.health_status = self.moto.health_status
        for group, target in self._targets(service):
            group.register([target])

    def stop(self, service: t.Any, reason: str, code: str, exit_code: int | None) -> None:
        """It has ended."""
        from moto.core.utils import utcnow

        from codeblue.lab.aws.server.behaviour import backend

        self.stopped, self.well = True, False
        self.moto.status = self.moto.desired_status = "STOPPED"
        self.moto.stopped_at = utcnow()
        self.moto.stopped_reason = reason
        self.moto.stop_code = code
        self.moto.health_status = "UNKNOWN"
        for container in self.moto.containers:
            container.last_status = "STOPPED"
            container.exitCode = exit_code
            if code == "TaskFailedToStart":
                container.reason = reason
        for group, target in self._targets(service):
            # Somebody else may have taken it out.
            if target["Id"] in group.targets:
                group.deregister([target])
        if self.interface:
            interfaces = backend("ec2", self.moto.region_name).enis
            interfaces.pop(self.interface, None)

    def answer(self, deep: bool) -> tuple[int, str]:
        """Status and text of an answer, as people get it."""
        if self.stopped or self.outcome is None or not self.outcome.ready:
            return _AWAY, "not ready"
        if deep and (wrong := login(self.values, self.groups, self.moto.region_name)):
            return _AWAY, wrong
        return _WELL, "ok"

    @property
    def groups(self) -> list[str]:
        """Security groups of its network interface, as they are now."""
        from codeblue.lab.aws.server.behaviour import backend

        known = backend("ec2", self.moto.region_name).enis.get(self.interface)
        return [each.id for each in known.group_set] if known is not None else []

    def _targets(self, service: t.Any) -> list[tuple[t.Any, dict[str, t.Any]]]:
        from codeblue.lab.aws.server.behaviour import backend

        known = backend("elbv2", self.moto.region_name).target_groups
        return [
            (known[each["targetGroupArn"]], {"Id": self.address, "Port": each["containerPort"]})
            for each in service.load_balancers
            if each.get("targetGroupArn") in known
        ]

    def _detail(self, name: str) -> str:
        for attachment in self.moto.attachments:
            for detail in attachment["details"]:
                if detail["name"] == name:
                    return str(detail["value"])
        return ""


def tag_of(image: str) -> str:
    """The tag of an image's name; `latest` when it has none."""
    found = _TAG.search(image)
    return found[1] if found else "latest"


def what_becomes(task: LabTask, region: str) -> Outcome:
    """What becomes of a task when it starts."""
    container = task.container
    if not _has_image(container["image"]):
        reason = f"CannotPullContainerError: {container['image']}: not found"
        return Outcome(False, True, reason)
    task.values = {each["name"]: each["value"] for each in container.get("environment") or ()}
    for each in container.get("secrets") or ():
        value = _secret(each["valueFrom"], region)
        if value is None:
            what = each["valueFrom"].rpartition(":")[2]
            reason = f"ResourceInitializationError: unable to pull secrets or registry auth: {what} was not found"
            return Outcome(False, True, reason)
        task.values[each["name"]] = value
    if task.tag == "crash":
        return Outcome(False, True, "Essential container in task exited", "EssentialContainerExited", 1)
    if "DATABASE_HOST" in task.values and login(task.values, task.groups, region):
        return Outcome(False, True, "Essential container in task exited", "EssentialContainerExited", 1)
    return Outcome(task.tag != "unready")


def _has_image(image: str) -> bool:
    from codeblue.lab.aws.server.behaviour import backend

    own = _OWN_REGISTRY.match(image)
    if own is None:
        return tag_of(image) != "bad"
    known = backend("ecr", own["region"]).repositories.get(own["repository"])
    return known is not None and any(tag_of(image) in each.image_tags for each in known.images)


def _secret(source: str, region: str) -> str | None:
    """The value that ECS hands to a container; None when it is not there."""
    from codeblue.lab.aws.server.behaviour import backend

    if ":secretsmanager:" in source:
        return _of_secrets_manager(source, region)
    name = source.partition(":parameter")[2] or source
    found = backend("ssm", region).get_parameter(name)
    return str(found.value) if found is not None else None


def _of_secrets_manager(source: str, region: str) -> str | None:
    """`arn:…:secret:NAME-abcdef[:key[:stage[:version]]]`."""
    from codeblue.lab.aws.server.behaviour import backend

    parts = source.split(":")
    arn, key, stage = ":".join(parts[:7]), *[*parts[7:9], "", ""][:2]
    secrets = backend("secretsmanager", region).secrets
    known = next((each for each in secrets.values() if each.arn == arn or each.name == parts[6]), None)
    if known is None or known.is_deleted():
        return None
    wanted = stage or "AWSCURRENT"
    text = next((each["secret_string"] for each in known.versions.values() if wanted in each["version_stages"]), None)
    if text is None or not key:
        return text
    return t.cast("str | None", json.loads(text).get(key))
