# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives a service on AWS its tasks in the region that traffic is to move to, and waits until they work."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_load_balancer import group_complaint
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby import (
        Destination,
        destination,
        other_side,
        tasks_at,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby_tasks import (
        TaskCounts,
        counts_of,
        service_in,
    )

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 60.0
_PAUSE = 2.0
_FIRST_PAUSE = 0.2
_OTHER_SECONDS = 4.0


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_standby_raise.py."""

    STAGE = "standby"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "side": {"type": "str", "choices": [STANDBY, PRIMARY], "default": STANDBY},
        "desired": {"type": "int"},
        "running_within": {"type": "float", "default": 600.0},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["running_within"])
        to = destination(self._place, arguments["side"])
        if to is None:
            raise BadInput(f"{self.target}: codeblue_aws.standby_region is missing", "name the region it can run in")
        tasks = tasks_at(self._place, to.side)
        if tasks is None:
            return self._result(to, None, None, 0, f"{self.target} runs no tasks in {to.region}")
        before = counts_of(service_in(self._account, tasks, to.region))
        wanted = self._wanted(arguments["desired"], tasks, before, to)
        if self.check_mode:
            if before.desired < wanted:
                self._planned.append(f"give {tasks} in {to.region} {wanted} tasks instead of {before.desired}")
            said = f"would wait until {wanted} tasks of {tasks} run in {to.region}"
            result = self._result(to, before, before, wanted, said)
            return {**result, "changed": before.desired < wanted}
        first = self._raise(tasks, to, before, wanted, arguments["reason"])
        ended, seconds = self._running(tasks, to, wanted, arguments["running_within"])
        verb = f"raised from {first} to" if first < wanted else "has"
        said = f"{tasks} in {to.region} {verb} {wanted} tasks, all of them run ({seconds:.0f} s)"
        return self._result(to, before, ended, wanted, said)

    def _wanted(self, given: int | None, tasks: EcsService, before: TaskCounts, to: Destination) -> int:
        """How many are to run: what is asked for, else what the inventory says, else what the other region has.

        Never fewer than there are. A run that is taken up finds it in its journal.
        """

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            wanted = given or tasks.desired or (self._place.ecs.desired if self._place.ecs is not None else None)
            other = tasks_at(self._place, PRIMARY if to.side == STANDBY else STANDBY)
            if wanted is None and to.other is not None and other is not None:
                region, there = to.other, other
                seen = other_side(
                    lambda: self._account.ask(
                        "ecs",
                        "describe_services",
                        region,
                        str(there),
                        _OTHER_SECONDS,
                        cluster=there.cluster,
                        services=[there.service],
                    )
                )
                wanted = next((int(each["desiredCount"]) for each in (seen or {}).get("services") or ()), None)
            return {"changed": False, "weights": {"desired": max(wanted or 1, before.desired)}, "from": before.desired}

        if self.check_mode:
            return int(decide()["weights"]["desired"])
        kept = self.local_change(f"count_{to.side}", {"to": to.region}, decide)
        return int(kept["weights"]["desired"])

    def _raise(self, tasks: EcsService, to: Destination, before: TaskCounts, wanted: int, reason: str) -> int:
        """Ask for the tasks.

        :returns: how many were asked for before.
        """
        undo = (
            f"aws ecs update-service --region {to.region} --cluster {tasks.cluster} --service {tasks.service}"
            f" --desired-count {before.desired}"
        )
        decision = {
            "from": before.desired,
            "to": wanted,
            "reason": reason[:200] or "traffic is to come",
            "undo": undo,
        }
        key = f"raise_{to.side}"
        in_doubt = self.begun(key)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            # Asked for the same number twice, ECS does no more than once.
            now = counts_of(service_in(self._account, tasks, to.region))
            if now.desired >= wanted:
                return {"changed": in_doubt, "from": before.desired, "to": wanted, "already_done": True}
            self._account.ask(
                "ecs",
                "update_service",
                to.region,
                str(tasks),
                cluster=tasks.cluster,
                service=tasks.service,
                desiredCount=wanted,
            )
            return {"changed": True, "from": now.desired, "to": wanted, "accepted_at": time.time()}

        done = self.local_change(key, decision, work)
        self._changed |= bool(done["changed"])
        return int(done["from"])

    def _running(self, tasks: EcsService, to: Destination, wanted: int, seconds: float) -> tuple[TaskCounts, float]:
        """Wait until all of them run, and the load balancer finds them well.

        :raises CodeblueError: they do not, within that time.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        groups = to.here(self._place.standby.target_groups)
        while True:
            described = service_in(self._account, tasks, to.region)
            counts = counts_of(described)
            problem = "" if counts.enough(wanted) else f"{counts.running} of {wanted} tasks run{_said(described)}"
            if not problem:
                problem = next((reason for each in groups if (reason := group_complaint(self._account, each))), "")
            spent = time.monotonic() - began
            if not problem:
                return counts, spent
            if spent >= seconds:
                raise CodeblueError(
                    f"{tasks} in {to.region} is not ready after {seconds:g} s, no traffic was moved: {problem}",
                    "look at the events of the service in ECS; codeblue resume waits on",
                )
            self.renew()
            time.sleep(min(pause, max(0.05, seconds - spent)))
            pause = min(pause * 1.5, _PAUSE)

    def _result(
        self, to: Destination, before: TaskCounts | None, after: TaskCounts | None, wanted: int, summary: str
    ) -> dict[str, t.Any]:
        counts = [
            {"desired": each.desired, "running": each.running} if each is not None else {} for each in (before, after)
        ]
        diff = {}
        if self._task.diff and before is not None and before.desired < wanted:
            header = f"tasks in {to.region}"
            diff = {
                "diff": {
                    "before": f"{before.desired}\n",
                    "after": f"{wanted}\n",
                    "before_header": header,
                    "after_header": header,
                }
            }
        return {
            "changed": self._changed,
            "region": to.region,
            "before": counts[0],
            "after": counts[1],
            "calls": self._account.calls,
            **diff,
            "codeblue": {"summary": summary},
        }


def _said(service: t.Mapping[str, t.Any]) -> str:
    """The newest thing that ECS says about the service."""
    events = service.get("events") or ()
    return f", ECS says: {str(events[0]['message'])[:200]}" if events else ""
