# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Evidence of a service on AWS: what goes first when its tasks do, before what AWS keeps anyway.

Tasks with their interfaces and security groups, the service and its definition, the ends of its log groups, who the
identities are and when they were used last, CloudTrail's events of their keys. Values of variables are replaced by
digests that only tell within this one collection which are the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_identities import AwsIdentities
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_trail import events
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

#: Under this name the store of evidence keeps it.
ACCOUNT = "aws"
_MOST_TASKS = 100
# Of a log group: pages of 10,000 events or 1 MiB.
_MOST_LOG_PAGES = 20
_MOST_TRAIL_PAGES = 4
_DIGITS = 16

Object = Mapping[str, t.Any]


@dataclass
class AwsEvidence:
    """What was collected.

    :param pieces: name to content, in the order in which it was taken.
    :param left_out: what could not be taken, and why.
    """

    pieces: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class EvidenceCollector:
    """Collects for one service; what cannot be had is named and the rest is taken.

    :param account: its budget is the time box.
    :param most: bytes of the end of each log.
    :param since: Unix seconds from when on logs and events are taken.
    """

    def __init__(self, account: AwsAccount, place: AwsPlatform, most: int, since: float) -> None:
        self._account = account
        self._place = place
        self._most = most
        self._since = since
        self._salt = secrets.token_bytes(16)
        self._found = AwsEvidence()

    def collect(self) -> AwsEvidence:
        """All of it."""
        self._part("tasks", self._tasks)
        self._part("instances", self._instances)
        security = self._place.security
        for group in dict.fromkeys((*security.log_groups, *security.access_log_groups)):
            self._part(f"log_{group}", lambda group=group: self._log(group))  # type: ignore[misc]
        self._part("service", self._service)
        for user in security.users:
            self._part(f"user_{user}", lambda user=user: self._user(user))  # type: ignore[misc]
        return self._found

    def _part(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except AwsError as error:
            self._found.left_out.append(f"{name}: {error.message}")

    def _tasks(self) -> None:
        ecs = self._place.ecs
        if ecs is None:
            return
        names: list[str] = []
        for status in ("RUNNING", "STOPPED"):
            names += self._account.ask_all(
                "ecs",
                "list_tasks",
                "taskArns",
                about=ecs.service,
                cluster=ecs.cluster,
                serviceName=ecs.service,
                desiredStatus=status,
            )
        if len(names) > _MOST_TASKS:
            self._found.left_out.append(f"{len(names) - _MOST_TASKS} more tasks")
        if not names:
            return
        tasks = self._account.ask(
            "ecs", "describe_tasks", about=ecs.service, cluster=ecs.cluster, tasks=names[:_MOST_TASKS]
        )["tasks"]
        self._keep("tasks", tasks)
        self._interfaces(
            [
                str(detail["value"])
                for task in tasks
                for attachment in task.get("attachments") or ()
                for detail in attachment.get("details") or ()
                if detail.get("name") == "networkInterfaceId" and task["lastStatus"] != "STOPPED"
            ]
        )

    def _instances(self) -> None:
        names = list(self._place.security.instances)
        if not names:
            return
        found = self._account.ask_all(
            "ec2", "describe_instances", "Reservations", about=", ".join(names[:5]), InstanceIds=names
        )
        self._keep("instances", found)
        self._interfaces(
            [
                str(interface["NetworkInterfaceId"])
                for reservation in found
                for instance in reservation["Instances"]
                for interface in instance.get("NetworkInterfaces") or ()
            ]
        )

    def _interfaces(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        interfaces = self._account.ask(
            "ec2", "describe_network_interfaces", about=", ".join(ids[:5]), NetworkInterfaceIds=list(ids)
        )["NetworkInterfaces"]
        self._keep("interfaces", interfaces)
        groups = sorted({str(group["GroupId"]) for each in interfaces for group in each.get("Groups") or ()})
        if groups:
            found = self._account.ask("ec2", "describe_security_groups", about=", ".join(groups[:5]), GroupIds=groups)[
                "SecurityGroups"
            ]
            self._keep("security_groups", found)

    def _service(self) -> None:
        ecs = self._place.ecs
        if ecs is None:
            return
        services = self._account.ask(
            "ecs",
            "describe_services",
            about=ecs.service,
            cluster=ecs.cluster,
            services=[ecs.service],
            include=["TAGS"],
        )["services"]
        self._keep("service", services)
        names = {str(each["taskDefinition"]) for service in services for each in service.get("deployments") or ()}
        for name in sorted(names):
            found = self._account.ask("ecs", "describe_task_definition", about=ecs.service, taskDefinition=name)
            self._keep(f"definition_{name.rpartition('/')[2]}", without_values(found["taskDefinition"], self._salt))

    def _log(self, group: str) -> None:
        lines: list[bytes] = []
        size, pages = 0, 0
        onward: dict[str, str] = {}
        while pages < _MOST_LOG_PAGES:
            answer = self._account.ask(
                "logs",
                "filter_log_events",
                about=group,
                logGroupName=group,
                startTime=int(self._since * 1000),
                **onward,
            )
            pages += 1
            for event in answer.get("events") or ():
                line = f"{event['timestamp']} {event['logStreamName']} {event['message']}".encode()
                lines.append(line)
                size += len(line) + 1
            # The end of it is what matters.
            while lines and size > self._most:
                size -= len(lines.pop(0)) + 1
            if not answer.get("nextToken"):
                break
            onward = {"nextToken": str(answer["nextToken"])}
        else:
            self._found.left_out.append(f"{group}: what follows after {_MOST_LOG_PAGES} pages")
        self._found.pieces[f"log_{group}"] = b"\n".join(lines)

    def _user(self, user: str) -> None:
        keys = []
        for key in AwsIdentities(self._account).keys_of(user):
            last = self._account.ask("iam", "get_access_key_last_used", about=user, AccessKeyId=key.id)
            keys.append({"key": key.id, "active": key.active, "last_used": last.get("AccessKeyLastUsed")})
            found = events(self._account, "AccessKeyId", key.id, self._since, _MOST_TRAIL_PAGES)
            self._keep(f"trail_{user}_{key.shown[-4:]}", found)
        self._keep(f"keys_{user}", keys)

    def _keep(self, name: str, found: t.Any) -> None:
        self._found.pieces[name] = json.dumps(found, sort_keys=True, indent=1, default=str).encode()


def without_values(definition: Object, salt: bytes) -> dict[str, t.Any]:
    """A task definition with digests in place of the values of its variables, which may be secrets."""
    containers = []
    for container in definition.get("containerDefinitions") or ():
        variables = [
            {"name": each["name"], "digest": _digest(str(each.get("value") or ""), salt)}
            for each in container.get("environment") or ()
        ]
        containers.append({**container, "environment": variables})
    return {**definition, "containerDefinitions": containers}


def _digest(value: str, salt: bytes) -> str:
    return hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def window_since(seconds: float) -> float:
    """Unix seconds so long ago."""
    return time.time() - seconds
