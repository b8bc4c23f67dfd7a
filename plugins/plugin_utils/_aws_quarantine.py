# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The quarantine of a service on AWS: its security group, the ECS service or the interfaces of instances, and back.

Each method that changes something is safe to repeat, and says whether it changed anything.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_quarantine_notes as notes
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

# As many as DescribeTasks takes.
_TASKS_IN_A_CALL = 100
# EC2 shows what it has made after a few seconds at the latest.
_MOST_LOOKS = 20
_LOOK_PAUSE = 0.5
_ENDED_INSTANCES = ("terminated", "shutting-down")

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Seen:
    """What is to be cut off, as AWS describes it now.

    :param service: of ECS; None when it is none.
    :param interfaces: of instances.
    """

    vpc: str
    service: Object | None
    interfaces: tuple[Object, ...]

    @property
    def said(self) -> str:
        """For people."""
        parts = [f"ECS service {self.service['serviceName']}"] if self.service is not None else []
        if self.interfaces:
            parts.append(f"{len(self.interfaces)} interfaces of instances")
        return " and ".join(parts)


class AwsQuarantine:
    """The quarantine of one service.

    :param target: its name in the inventory.
    """

    def __init__(self, account: AwsAccount, place: AwsPlatform, target: str) -> None:
        self._account = account
        self._place = place
        self._target = target
        self.group_name = notes.group_name(target)

    # -- looking -----------------------------------------------------------------------------------------------

    def look(self) -> Seen:
        """What there is to cut off.

        :raises BadInput: there is nothing that security groups apply to.
        :raises Refused: the service is deployed by somebody else, who would put its configuration back.
        """
        service = self._service() if self._place.ecs is not None else None
        interfaces = self._interfaces()
        networks = {str(each["VpcId"]) for each in interfaces}
        if service is not None:
            networks.add(self._network_of(service))
        if not networks:
            raise BadInput(
                f"{self._target}: neither codeblue_aws.ecs nor codeblue_aws.quarantine.instances says what to cut off",
                "name one of them",
            )
        if len(networks) > 1:
            raise BadInput(
                f"{self._target}: its parts are in {len(networks)} VPCs: {', '.join(sorted(networks))}",
                "describe them as one service each",
            )
        return Seen(networks.pop(), service, interfaces)

    def service(self) -> Object:
        """The ECS service as it is now."""
        return self._service()

    def _service(self) -> Object:
        ecs = self._place.ecs
        if ecs is None:
            raise BadInput(f"{self._target}: is no service of ECS")
        found = self._account.ask(
            "ecs",
            "describe_services",
            about=ecs.service,
            cluster=ecs.cluster,
            services=[ecs.service],
            include=["TAGS"],
        )["services"]
        if not found or found[0]["status"] == "INACTIVE":
            raise NotFound(f"{ecs} is not there in {self._place.region}", "look at codeblue_aws.ecs in the inventory")
        return t.cast("Object", found[0])

    def _network_of(self, service: Object) -> str:
        configuration = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration")
        if not configuration:
            raise BadInput(
                f"{self._target}: its tasks use the network of their instances, no security group is theirs alone",
                "name the instances in codeblue_aws.quarantine.instances, or scale it to 0",
            )
        controller = (service.get("deploymentController") or {}).get("type", "ECS")
        if controller != "ECS":
            raise Refused(
                f"{self._target}: {controller} deploys it, its network cannot be changed here; nothing was changed",
                "scale it to 0: aws ecs update-service --desired-count 0",
            )
        subnet = configuration["subnets"][0]
        found = self._account.ask("ec2", "describe_subnets", about=subnet, SubnetIds=[subnet])["Subnets"]
        return str(found[0]["VpcId"])

    def _interfaces(self) -> tuple[Object, ...]:
        instances = list(self._place.security.instances)
        if not instances:
            return ()
        reservations = self._account.ask_all(
            "ec2", "describe_instances", "Reservations", about=", ".join(instances[:5]), InstanceIds=instances
        )
        attached = [
            str(interface["NetworkInterfaceId"])
            for reservation in reservations
            for instance in reservation["Instances"]
            if instance["State"]["Name"] not in _ENDED_INSTANCES
            for interface in instance["NetworkInterfaces"]
        ]
        return tuple(self.interfaces(attached)) if attached else ()

    def interfaces(self, ids: Sequence[str]) -> list[Object]:
        """Some interfaces, in the order of their ids."""
        found = self._account.ask(
            "ec2", "describe_network_interfaces", about=", ".join(ids[:5]), NetworkInterfaceIds=list(ids)
        )["NetworkInterfaces"]
        return sorted(found, key=lambda each: str(each["NetworkInterfaceId"]))

    def group(self, vpc: str) -> Object | None:
        """The quarantine's security group; None while there is none.

        :raises Refused: one of its name is somebody else's.
        """
        found = self._account.ask(
            "ec2",
            "describe_security_groups",
            about=self.group_name,
            Filters=[{"Name": "group-name", "Values": [self.group_name]}, {"Name": "vpc-id", "Values": [vpc]}],
        )["SecurityGroups"]
        if not found:
            return None
        if notes.tags_of(found[0]).get(notes.QUARANTINE_OF) != self._target:
            raise Refused(
                f"security group {self.group_name} in {vpc} is somebody else's, nothing was changed",
                "give it another name",
            )
        return t.cast("Object", found[0])

    def tasks(self) -> list[Object]:
        """The tasks of the ECS service that have not ended, those that are about to among them."""
        ecs = self._place.ecs
        if ecs is None:
            return []
        names = [
            name
            for wanted in ("RUNNING", "STOPPED")
            for name in self._account.ask_all(
                "ecs",
                "list_tasks",
                "taskArns",
                about=ecs.service,
                cluster=ecs.cluster,
                serviceName=ecs.service,
                desiredStatus=wanted,
            )
        ]
        found: list[Object] = self._account.batches(
            names,
            _TASKS_IN_A_CALL,
            lambda part: self._account.ask(
                "ecs", "describe_tasks", about=ecs.service, cluster=ecs.cluster, tasks=list(part)
            )["tasks"],
        )
        return [each for each in found if each["lastStatus"] != "STOPPED"]

    # -- the group ---------------------------------------------------------------------------------------------

    def make_group(self, seen: Seen) -> bool:
        """Have the group be there, open for management only, with notes of what the ECS service had."""
        made = False
        group = self.group(seen.vpc)
        if group is None:
            tags = {notes.QUARANTINE_OF: self._target}
            if seen.service is not None:
                tags |= notes.service_notes(seen.service)
            # A conflict was this very call, whose first answer was lost; else `group` says whose it is.
            with suppress(Conflict):
                self._account.ask(
                    "ec2",
                    "create_security_group",
                    about=self.group_name,
                    GroupName=self.group_name,
                    Description="codeblue: no traffic but with management",
                    VpcId=seen.vpc,
                    TagSpecifications=[{"ResourceType": "security-group", "Tags": notes.as_tags(tags)}],
                )
            made, group = True, self._made_group(seen.vpc)
        return self._have_rules(group) or made

    def _made_group(self, vpc: str) -> Object:
        """The group that was just made: EC2 may show it a moment later."""
        for _attempt in range(_MOST_LOOKS):
            group = self.group(vpc)
            if group is not None:
                return group
            time.sleep(_LOOK_PAUSE)
        raise NotFound(f"security group {self.group_name} was made and is not seen yet", "resume the run")

    def _have_rules(self, group: Object) -> bool:
        """A new group lets everything out; this one lets nothing out."""
        wanted = notes.rules_for(self._place.security.management)
        changed = False
        name = str(group["GroupId"])
        if group.get("IpPermissionsEgress"):
            self._account.ask(
                "ec2",
                "revoke_security_group_egress",
                about=self.group_name,
                GroupId=name,
                IpPermissions=group["IpPermissionsEgress"],
            )
            changed = True
        extra = [each for each in group.get("IpPermissions") or () if _plain(each) not in [_plain(w) for w in wanted]]
        if extra:
            self._account.ask(
                "ec2", "revoke_security_group_ingress", about=self.group_name, GroupId=name, IpPermissions=extra
            )
            changed = True
        missing = [w for w in wanted if _plain(w) not in [_plain(each) for each in group.get("IpPermissions") or ()]]
        if missing:
            # A rule that is there already: an answer was lost.
            with suppress(Conflict):
                self._account.ask(
                    "ec2",
                    "authorize_security_group_ingress",
                    about=self.group_name,
                    GroupId=name,
                    IpPermissions=missing,
                )
            changed = True
        return changed

    def remove_group(self, group: Object) -> bool:
        """Remove it.

        :raises Conflict: something still uses it.
        """
        try:
            self._account.ask("ec2", "delete_security_group", about=self.group_name, GroupId=group["GroupId"])
        except NotFound:
            return False
        return True

    # -- the ECS service ---------------------------------------------------------------------------------------

    def mark(self, run_id: str) -> bool:
        """Say on the ECS service that it is cut off on purpose."""
        service = self._service()
        if notes.cut_off(service):
            return False
        self._account.ask(
            "ecs",
            "tag_resource",
            about=service["serviceName"],
            resourceArn=service["serviceArn"],
            tags=[{"key": notes.CUT_OFF, "value": run_id}],
        )
        return True

    def unmark(self) -> bool:
        service = self._service()
        if not notes.cut_off(service):
            return False
        self._account.ask(
            "ecs",
            "untag_resource",
            about=service["serviceName"],
            resourceArn=service["serviceArn"],
            tagKeys=[notes.CUT_OFF],
        )
        return True

    def close_service(self, group: str) -> bool:
        """Have the ECS service start its tasks in quarantine only."""
        service = self._service()
        if notes.is_closed(service, group):
            return False
        self._configure(service, notes.closed_configuration(service, group))
        return True

    def open_service(self, group: Object) -> bool:
        """Give the ECS service the configuration from before.

        :raises Refused: somebody has changed its security groups meanwhile.
        """
        service = self._service()
        before = notes.tags_of(group)
        if not notes.is_closed(service, str(group["GroupId"])):
            now = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration", {}).get("securityGroups")
            if sorted(now or ()) == sorted(before.get(notes.GROUPS, "").split()):
                return False
            raise Refused(
                f"{self._target}: somebody has changed its security groups while it was in quarantine",
                f"it had {before.get(notes.GROUPS, 'none')}; put them back by hand, then run it again",
            )
        self._configure(service, notes.open_configuration(service, before))
        return True

    def _configure(self, service: Object, configuration: Object) -> None:
        # A changed network configuration is a new deployment by itself.
        self._account.ask(
            "ecs",
            "update_service",
            about=service["serviceName"],
            cluster=service["clusterArn"],
            service=service["serviceName"],
            **configuration,
        )

    def stop_task(self, task: Object, reason: str) -> bool:
        """End a task; one that is gone is no error."""
        try:
            self._account.ask(
                "ecs",
                "stop_task",
                about=str(task["taskArn"]).rpartition("/")[2],
                cluster=task["clusterArn"],
                task=task["taskArn"],
                reason=reason[:255],
            )
        except NotFound:
            return False
        return True

    # -- interfaces of instances -------------------------------------------------------------------------------

    def set_aside(self, interface: str, group: str) -> bool:
        """Put an interface into the quarantine group; the groups that it had are noted on it first."""
        (live,) = self.interfaces([interface])
        now = [str(each["GroupId"]) for each in live["Groups"]]
        if now == [group]:
            return False
        if not notes.groups_before(notes.tags_of(live)):
            tags = notes.as_tags(notes.interface_notes(now))
            self._account.ask("ec2", "create_tags", about=interface, Resources=[interface], Tags=tags)
        self._regroup(interface, [group])
        return True

    def give_back(self, interface: str, group: str) -> bool:
        """Give an interface the groups from before.

        :raises Refused: somebody has changed them meanwhile.
        """
        (live,) = self.interfaces([interface])
        before = notes.groups_before(notes.tags_of(live))
        if not before:
            return False
        now = [str(each["GroupId"]) for each in live["Groups"]]
        changed = False
        if now == [group]:
            self._regroup(interface, before)
            changed = True
        elif sorted(now) != sorted(before):
            raise Refused(
                f"{interface}: somebody has changed its security groups while it was in quarantine",
                f"it had {' '.join(before)}; put them back by hand and remove the tag {notes.INTERFACE_GROUPS[0]}",
            )
        tags = [{"Key": key} for key in notes.INTERFACE_GROUPS]
        self._account.ask("ec2", "delete_tags", about=interface, Resources=[interface], Tags=tags)
        return changed

    def _regroup(self, interface: str, groups: Sequence[str]) -> None:
        self._account.ask(
            "ec2",
            "modify_network_interface_attribute",
            about=interface,
            NetworkInterfaceId=interface,
            Groups=list(groups),
        )


def _plain(rule: Object) -> tuple[str, frozenset[str], frozenset[str], bool]:
    """A rule to compare: protocol, networks, and whether it lets anything else in."""
    four = frozenset(str(each["CidrIp"]) for each in rule.get("IpRanges") or ())
    six = frozenset(str(each["CidrIpv6"]) for each in rule.get("Ipv6Ranges") or ())
    others = bool(rule.get("UserIdGroupPairs") or rule.get("PrefixListIds") or "FromPort" in rule)
    return str(rule["IpProtocol"]), four, six, others
