# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cuts a service on AWS off by a security group, and gives everything back exactly as it was.

Security groups are stateful: connections that are open live on. Those of an ECS service end with its tasks, those of an
instance do not, and that is said.
"""

from __future__ import annotations

import functools
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_quarantine_notes as notes
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import Conflict
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_quarantine import AwsQuarantine, Object, Seen

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_PAUSE = 0.5
# How long the ways from here may still answer after the tasks are gone.
_PROOF_SECONDS = 8.0
_OPEN_CONNECTIONS = (
    "connections of the instances that were open live on until they end: deny their subnet in its network ACL, "
    "or reboot them, to end them"
)


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_quarantine.py."""

    STAGE = "quarantine"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "reason": {"type": "str", "default": ""},
        "gone_within": {"type": "float", "default": 120.0},
        "rollout_within": {"type": "float", "default": 600.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["gone_within"] + arguments["rollout_within"])
        self._quarantine = AwsQuarantine(self._account, self._place, self.target)
        self._proof = "not_proven"
        seen = self._quarantine.look()
        said = (
            self._release(service, seen, arguments)
            if arguments["state"] == "absent"
            else self._close(service, seen, arguments)
        )
        return self.ended({**said, "proof": self._proof})

    # -- closing -----------------------------------------------------------------------------------------------

    def _close(self, service: Service, seen: Seen, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.accept_isolation(service)
        reason = arguments["reason"] or "asked for by a person"
        before = self._ways(service)
        self._show_closing(seen)
        names = [str(each["NetworkInterfaceId"]) for each in seen.interfaces]
        if self.check_mode:
            self._plan_closing(seen)
            return self._told_of_closing(seen, [], "")
        undo = {"reason": reason, "undo": "codeblue run release_service"}
        self.step("make_group", undo, lambda: self._quarantine.make_group(seen))
        group = self._group_id(seen)
        ended: list[str] = []
        if seen.service is not None:
            kept = {**undo, "before": notes.service_notes(seen.service)}
            self.step("mark", {"reason": reason}, lambda: self._quarantine.mark(self.open_run().run_id))
            self.step("close_service", kept, lambda: self._quarantine.close_service(group))
        for each in seen.interfaces:
            name = str(each["NetworkInterfaceId"])
            had = [str(found["GroupId"]) for found in each["Groups"]]
            decision = {**undo, "before": had, "by_hand": _by_hand(name, had)}
            self.step(f"set_aside_{name}", decision, functools.partial(self._quarantine.set_aside, name, group))
        if seen.service is not None:
            ended = self._end_tasks(reason, arguments["gone_within"])
        self._hold(group, names)
        return self._told_of_closing(seen, ended, self._prove(service, before))

    def _group_id(self, seen: Seen) -> str:
        group = self._quarantine.group(seen.vpc)
        if group is None:
            raise CodeblueError(
                f"{self.target}: the quarantine's security group is gone", "somebody removed it; resume"
            )
        return str(group["GroupId"])

    def _end_tasks(self, reason: str, seconds: float) -> list[str]:
        """Stop the tasks that are not behind the group, so that their connections end; waits for it."""
        budget = Budget(seconds)
        ended: list[str] = []
        while True:
            primary = next(
                (str(each["id"]) for each in self._quarantine.service()["deployments"] if each["status"] == "PRIMARY"),
                "",
            )
            old = [each for each in self._quarantine.tasks() if each.get("startedBy") != primary]
            for task in old:
                name = str(task["taskArn"]).rpartition("/")[2]
                if task.get("desiredStatus") == "STOPPED" or name in ended:
                    continue
                decision = {"reason": "security groups leave connections that are open alone"}
                self.step(f"stop_{name}", decision, functools.partial(self._quarantine.stop_task, task, reason))
                ended.append(name)
            if not old:
                return ended
            if budget.left <= 0:
                name = str(old[0]["taskArn"]).rpartition("/")[2]
                raise CodeblueError(
                    f"{self.target}: task {name} does not end in {seconds:.0f} s, its connections may be open",
                    "see its stopTimeout in ECS; end it there, and resume",
                )
            self.renew()
            time.sleep(_PAUSE)

    # -- proving -----------------------------------------------------------------------------------------------

    def _hold(self, group: str, names: list[str]) -> None:
        """What AWS says of it afterwards.

        :raises CodeblueError: somebody has put something back.
        """
        open_again = []
        if self._place.ecs is not None and not notes.is_closed(self._quarantine.service(), group):
            open_again.append(str(self._place.ecs))
        for each in self._quarantine.interfaces(names) if names else ():
            if [str(found["GroupId"]) for found in each["Groups"]] != [group]:
                open_again.append(str(each["NetworkInterfaceId"]))
        if open_again:
            raise CodeblueError(
                f"{self.target} is not cut off: somebody has put the security groups of {open_again[0]} back",
                "find out who in CloudTrail, then resume",
            )
        self._proof = "configuration"

    def _ways(self, service: Service) -> list[str]:
        """Checks that reach the service over the network from here, and pass; by their id."""
        plan = [
            each for each in plan_checks({service.name: service.checks}, "deep") if isinstance(each.check, HttpCheck)
        ]
        return [each.id for each in run_checks(plan) if each.ok] if plan else []

    def _prove(self, service: Service, before: list[str]) -> str:
        """What is proven beside the configuration, as the end of a sentence.

        :raises CodeblueError: the service still answers.
        """
        if not before or self._place.security.management:
            return "AWS says that it is so; from here no traffic was seen to end"
        budget = Budget(_PROOF_SECONDS)
        while through := [each for each in self._ways(service) if each in before]:
            if budget.left <= 0:
                raise CodeblueError(
                    f"{self.target} is not cut off: {through[0]} still passes",
                    "something else answers for it: look at its load balancer and its other tasks and instances",
                )
            self.renew()
            time.sleep(_PAUSE)
        self._proof = "from_here"
        return f"{len(before)} ways to it from here fail now"

    # -- opening -----------------------------------------------------------------------------------------------

    def _release(self, service: Service, seen: Seen, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        group = self._quarantine.group(seen.vpc)
        marked = seen.service is not None and bool(notes.cut_off(seen.service))
        aside = [each for each in seen.interfaces if notes.groups_before(notes.tags_of(each))]
        names = [str(each["NetworkInterfaceId"]) for each in aside]
        if group is None and not marked:
            return {**_nothing(), "codeblue": {"summary": f"{self.target} is not in quarantine, nothing was changed"}}
        if group is None:
            raise CodeblueError(
                f"{self.target}: it is marked as cut off, and its quarantine's security group is gone",
                f"put its security groups back by the record of the run {notes.cut_off(seen.service or {})}",
            )
        if self.check_mode:
            self._planned += ["open_service"] * (seen.service is not None)
            self._planned += [f"give_back_{name}" for name in names] + ["unmark"] * marked + ["remove_group"]
            return {**_nothing(), "codeblue": {"summary": f"would give {self.target} back: {seen.said}"}}
        as_before = {"reason": "as it was"}
        if seen.service is not None:
            self.step("open_service", as_before, lambda: self._quarantine.open_service(t.cast("Object", group)))
        for name in names:
            give_back = functools.partial(self._quarantine.give_back, name, str(group["GroupId"]))
            self.step(f"give_back_{name}", as_before, give_back)
        if marked:
            self.step("unmark", {"reason": "the quarantine is over"}, self._quarantine.unmark)
        if seen.service is not None:
            self._until_it_runs(service, arguments)
        self._remove(group, arguments["gone_within"])
        said = f"gave {self.target} back with the security groups from before: {seen.said}{self.afterwards()}"
        return {**_nothing(), "interfaces": names, "codeblue": {"summary": said}}

    def _until_it_runs(self, service: Service, arguments: dict[str, t.Any]) -> None:
        def prove(_run: t.Any) -> dict[str, t.Any]:
            budget = Budget(arguments["rollout_within"])
            while problem := _not_running(self._quarantine.service()):
                if budget.left <= 0:
                    raise CodeblueError(
                        f"{self.target} is given back and does not run: {problem}", "see the events of its ECS service"
                    )
                self.renew()
                time.sleep(_PAUSE)
            problem = self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise CodeblueError(
                    f"{self.target} is given back and does not work: {problem}", "see the logs of its tasks"
                )
            return {"changed": False}

        self.local_change("prove_release", {"reason": "whether it works again"}, prove)

    def _remove(self, group: Object, seconds: float) -> None:
        """Remove the group, once the interfaces of tasks that have ended are gone."""

        def remove() -> bool:
            budget = Budget(seconds)
            while True:
                try:
                    return self._quarantine.remove_group(group)
                except Conflict:
                    if budget.left <= 0:
                        raise
                self.renew()
                time.sleep(_PAUSE)

        try:
            self.step("remove_group", {"reason": "it was made for the quarantine"}, remove)
        except Conflict:
            due = f"aws ec2 delete-security-group --group-id {group['GroupId']}, which something still uses"
            self.give_back(self.open_run(), due)

    # -- saying ------------------------------------------------------------------------------------------------

    def _show_closing(self, seen: Seen) -> None:
        group = self._quarantine.group_name
        if seen.service is not None:
            before = notes.service_notes(seen.service)
            self.show(f"ECS service {seen.service['serviceName']}", before, {notes.GROUPS: group})
        for each in seen.interfaces:
            had = [str(found["GroupId"]) for found in each["Groups"]]
            self.show(f"interface {each['NetworkInterfaceId']}", had, [group])

    def _plan_closing(self, seen: Seen) -> None:
        self._planned.append("make_group")
        if seen.service is not None:
            self._planned += ["mark", "close_service"]
        self._planned += [f"set_aside_{each['NetworkInterfaceId']}" for each in seen.interfaces]
        if seen.service is not None:
            tasks = self._quarantine.tasks()
            self._planned += [f"stop_{str(each['taskArn']).rpartition('/')[2]}" for each in tasks]

    def _told_of_closing(self, seen: Seen, ended: list[str], proof: str) -> dict[str, t.Any]:
        management = self._place.security.management
        verb = "would cut" if self.check_mode else "cut"
        said = f"{verb} {self.target} off by security group {self._quarantine.group_name}: {seen.said}"
        said += f", open for {', '.join(management)}" if management else ""
        said += f"; {len(ended)} tasks were ended, and their connections with them" if ended else ""
        said += f"; {_OPEN_CONNECTIONS}" if seen.interfaces else ""
        said += f"; {proof}" if proof else ""
        return {
            "ended": ended,
            "interfaces": [str(each["NetworkInterfaceId"]) for each in seen.interfaces],
            "codeblue": {"summary": said + self.afterwards()},
        }


def _nothing() -> dict[str, t.Any]:
    return {"ended": [], "interfaces": []}


def _by_hand(interface: str, groups: list[str]) -> str:
    """What a person needs to put it back without this program."""
    return f"aws ec2 modify-network-interface-attribute --network-interface-id {interface} --groups {' '.join(groups)}"


def _not_running(service: Object) -> str:
    """Why an ECS service does not run as it is to; empty when it does."""
    deployments = service.get("deployments") or ()
    primary = next((each for each in deployments if each["status"] == "PRIMARY"), None)
    if primary is None:
        return "it has no deployment"
    if primary.get("rolloutState") == "FAILED":
        return str(primary.get("rolloutStateReason") or "its deployment failed")[:200]
    running, desired = int(primary["runningCount"]), int(primary["desiredCount"])
    return "" if running >= desired else f"{running} of {desired} tasks run"
