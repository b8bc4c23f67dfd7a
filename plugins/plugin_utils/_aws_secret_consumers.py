# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who in an account uses a secret or a parameter by its definition, and what each needs to use the new value.

Tasks of ECS get the values at their start. Whoever asks for them at run time, by the rights of its role, is found in
CloudTrail and nowhere else, and is told.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine_notes import cut_off

# As many as the calls take.
_SERVICES_IN_A_CALL = 10
# One page of LookupEvents, which answers twice a second: who reads a secret reads it often.
_MOST_READS = 50
_READS_PATIENCE = 5.0
_SUFFIX = 7

Object = Mapping[str, t.Any]


@dataclass(frozen=True, order=True)
class Consumer:
    """Who uses it.

    :param kind: `ECS service` or `Lambda function`.
    :param place: the cluster; empty for a function.
    :param by: how, such as `secrets of container main`.
    :param pinned: it names a version, so it goes on with the old value.
    :param cut_off: it is in quarantine.
    """

    kind: str
    name: str
    region: str
    place: str
    by: str
    pinned: bool = False
    cut_off: bool = False

    @property
    def said(self) -> str:
        """For people."""
        where = f" of cluster {self.place}" if self.place else ""
        return f"{self.kind} {self.name}{where} in {self.region} ({self.by})"

    @property
    def rolled(self) -> bool:
        """Whether it has to be deployed anew here."""
        return self.kind == ECS_SERVICE and not self.pinned

    @property
    def advice(self) -> str:
        """What a person has to do where it is not deployed anew."""
        if self.pinned:
            return "names a version of it and goes on with the old value: change its task definition"
        return "reads it at run time: what runs keeps the old value until it is started anew or asks again"


ECS_SERVICE, FUNCTION = "ECS service", "Lambda function"


@dataclass(frozen=True)
class Wanted:
    """Secrets and parameters by name."""

    secrets: frozenset[str]
    parameters: frozenset[str]

    def named_by(self, value: str) -> tuple[str, bool]:
        """Which of them a reference means, empty for none; and whether it names a version.

        :param value: an ARN, with what ECS lets follow it, or the name of a parameter.
        """
        parts = value.split(":")
        if not value.startswith("arn:"):
            # A name is one of a parameter, with what follows a colon a version or label of it.
            name = parts[0]
            return (name, len(parts) > 1) if name in self.parameters else ("", False)
        if len(parts) < 6:
            return "", False
        if parts[2] == "ssm":
            name = parts[5].removeprefix("parameter")
            found = name if name in self.parameters else name.removeprefix("/")
            return (found, len(parts) > 6) if found in self.parameters else ("", False)
        if parts[2] != "secretsmanager" or len(parts) < 7:
            return "", False
        # arn:aws:secretsmanager:region:account:secret:name-suffix:key:stage:version
        name = next((each for each in (parts[6], parts[6][:-_SUFFIX]) if each in self.secrets), "")
        stage, version = (*parts[8:10], "", "")[:2] if len(parts) > 8 else ("", "")
        return name, bool(name) and (bool(version) or stage not in ("", "AWSCURRENT"))


def uses_of(definition: Object, wanted: Wanted) -> tuple[list[str], bool]:
    """How a task definition uses them; and whether by a version each time."""
    how: list[str] = []
    pinned: list[bool] = []
    for container in definition.get("containerDefinitions") or ():
        references = [("secrets", each["valueFrom"]) for each in container.get("secrets") or ()]
        options = (container.get("logConfiguration") or {}).get("secretOptions") or ()
        references += [("log options", each["valueFrom"]) for each in options]
        registry = (container.get("repositoryCredentials") or {}).get("credentialsParameter")
        references += [("registry login", registry)] if registry else []
        # A variable may hold the name, for a program that asks at its start.
        references += [("variables", each.get("value") or "") for each in container.get("environment") or ()]
        for way, value in references:
            name, version = wanted.named_by(str(value))
            if not name and way == "variables" and str(value) in wanted.secrets:
                name, version = str(value), False
            if name:
                said = f"{way} of container {container['name']}"
                how += [said] if said not in how else []
                pinned.append(version)
    return how, bool(pinned) and all(pinned)


class ConsumerSearch:
    """Looks through a region's ECS services and functions."""

    def __init__(self, account: AwsAccount, region: str) -> None:
        self._account = account
        self._region = region

    def find(self, wanted: Wanted) -> list[Consumer]:
        """Who uses them.

        :raises AwsError: the services of ECS cannot be listed.
        """
        return sorted([*self._services(wanted), *self._functions(wanted)])

    def _services(self, wanted: Wanted) -> list[Consumer]:
        account, region = self._account, self._region
        clusters = account.ask_all("ecs", "list_clusters", "clusterArns", region=region, about="all clusters")
        names = account.side_by_side(
            clusters,
            lambda cluster: account.ask_all(
                "ecs", "list_services", "serviceArns", region=region, about=_last(cluster), cluster=cluster
            ),
        )
        parts = [
            (cluster, found[start : start + _SERVICES_IN_A_CALL])
            for cluster, found in zip(clusters, names, strict=True)
            for start in range(0, len(found), _SERVICES_IN_A_CALL)
        ]

        def describe(part: tuple[str, Sequence[str]]) -> list[Object]:
            cluster, some = part
            return t.cast(
                "list[Object]",
                account.ask(
                    "ecs",
                    "describe_services",
                    region=region,
                    about=_last(cluster),
                    cluster=cluster,
                    services=list(some),
                    include=["TAGS"],
                )["services"],
            )

        services = [each for found in account.side_by_side(parts, describe) for each in found]
        services = [each for each in services if each["status"] != "INACTIVE"]
        uses = self._uses({str(each["taskDefinition"]) for each in services}, wanted)
        found = []
        for each in services:
            how, pinned = uses[str(each["taskDefinition"])]
            if how:
                found.append(
                    Consumer(
                        ECS_SERVICE,
                        str(each["serviceName"]),
                        region,
                        _last(str(each["clusterArn"])),
                        ", ".join(how),
                        pinned,
                        bool(cut_off(each)),
                    )
                )
        return found

    def _uses(self, definitions: Iterable[str], wanted: Wanted) -> dict[str, tuple[list[str], bool]]:
        names = sorted(definitions)

        def read(name: str) -> tuple[list[str], bool]:
            answer = self._account.ask(
                "ecs", "describe_task_definition", region=self._region, about=_last(name), taskDefinition=name
            )
            return uses_of(answer["taskDefinition"], wanted)

        return dict(zip(names, self._account.side_by_side(names, read), strict=True))

    def _functions(self, wanted: Wanted) -> list[Consumer]:
        functions = self._account.ask_all(
            "lambda", "list_functions", "Functions", region=self._region, about="all functions"
        )
        return [
            Consumer(FUNCTION, str(each["FunctionName"]), self._region, "", "variables")
            for each in functions
            if any(
                wanted.named_by(str(value))[0] or str(value) in wanted.secrets
                for value in ((each.get("Environment") or {}).get("Variables") or {}).values()
            )
        ]


def deployment_of(service: Object) -> str:
    """The id of the deployment that an ECS service is to be at; empty when there is none."""
    return next((str(each["id"]) for each in service.get("deployments") or () if each["status"] == "PRIMARY"), "")


def readers(account: AwsAccount, name: str) -> tuple[list[str], str]:
    """Who has read a secret lately by CloudTrail's event history; and why that is not known, empty when it is.

    :param name: of the secret. Only identities are returned, the busiest first.
    """
    try:
        events = account.ask(
            "cloudtrail",
            "lookup_events",
            about=f"reads of secret {name}",
            patience=_READS_PATIENCE,
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "GetSecretValue"}],
            MaxResults=_MOST_READS,
        )["Events"]
    except AwsError as error:
        return [], error.message
    counted: dict[str, int] = {}
    for event in events:
        if name in str(event.get("CloudTrailEvent") or ""):
            who = str(event.get("Username") or "somebody")
            counted[who] = counted.get(who, 0) + 1
    return sorted(counted, key=lambda who: (-counted[who], who)), ""


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]
