# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits until a service of ECS is steady with one task definition, or until it is plain that it will not be.

botocore's waiter `services_stable` counts tasks of any task definition, and passes while the old one still runs. Here
the deployment that is wanted has to be completed, with the wanted task definition and the wanted number of its tasks,
and where there are target groups so many of their targets have to be healthy.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import (
    read_services,
    read_stopped_tasks,
    read_with_targets,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService

# ECS takes 20 questions a second in an account, all its services together.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.4, 3.0
# Tasks are looked at when nothing has moved for so long, for they say why.
_STILL_SECONDS = 3.0
# A change is seen everywhere only after a moment.
_SEEN_SECONDS = 15.0
# What has ended so often has not ended by accident. ECS itself waits for at least three before it breaks the circuit.
_HOPELESS = 3


@dataclass(frozen=True)
class Waited:
    """How a wait ended.

    :param problem: why the service is not steady; empty when it is.
    """

    look: EcsLook
    seconds: float
    problem: str


class EcsWaiter:
    """Waits for one service.

    :param renew: is called from time to time, for whoever holds a lease.
    """

    def __init__(
        self,
        account: AwsAccount,
        service: EcsService,
        renew: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._account = account
        self._service = service
        self._renew = renew
        self._sleep = sleep

    def read(self) -> EcsLook:
        """The service as it is now.

        :raises CodeblueError: it is not there.
        """
        found = read_services(self._account, {"it": self._service})["it"]
        if found is None:
            raise CodeblueError(f"there is no {self._service}", "look at codeblue_aws.ecs in the inventory")
        return found

    def wait(self, task_definition: str, budget: Budget, since: float = 0.0) -> Waited:
        """Wait until it is steady with one task definition.

        :param task_definition: as `records:7`.
        :param since: Unix seconds; tasks that ended before, or before the deployment, say nothing about this wait.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        known: dict[str, int] = {}
        moved, figures, problem = began, "", "it was not looked at"
        while True:
            look = self._with_targets(self.read())
            problem = complaint(look, task_definition)
            seconds = time.monotonic() - began
            if look.primary is not None:
                known.setdefault(look.primary.id, look.primary.failed if since else 0)
            if not problem:
                return Waited(look, seconds, "")
            now = f"{look.figures} {look.targets} {[each.rollout for each in look.deployments]}"
            if now != figures:
                figures, moved, pause = now, time.monotonic(), _FIRST_PAUSE
            if time.monotonic() - moved >= _STILL_SECONDS or budget.left <= 0 or _failed(look):
                look = dataclasses.replace(look, stopped=read_stopped_tasks(self._account, look))
                hopeless = self._hopeless(look, task_definition, seconds, since, known)
                if hopeless:
                    return Waited(look, seconds, hopeless)
            if budget.left <= 0:
                return Waited(look, seconds, "; ".join([problem, *why(look)]))
            self._renew()
            self._sleep(min(pause, budget.left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _with_targets(self, look: EcsLook) -> EcsLook:
        """Targets matter once the tasks are there."""
        if not look.groups or not look.steady or not look.desired:
            return look
        found = read_with_targets(self._account, {"it": look})["it"]
        return look if found is None else found

    @staticmethod
    def _hopeless(look: EcsLook, task_definition: str, seconds: float, since: float, known: Mapping[str, int]) -> str:
        """Why a longer wait does not help; empty when it may.

        :param known: how many tasks of a deployment had failed before this wait.
        """
        if look.task_definition != task_definition:
            if seconds < _SEEN_SECONDS:
                return ""
            return f"somebody has deployed {look.task_definition} meanwhile"
        primary = look.primary
        if primary is not None and primary.rollout == "FAILED":
            return "; ".join([f"its deployment failed: {primary.reason}", *why(look)])
        since = max(since, primary.created_at if primary is not None else 0.0)
        ends = [each for each in look.stopped if each.task_definition == task_definition and each.stopped_at >= since]
        lost = [each for each in ends if each in look.crashes or each.code == "TaskFailedToStart"]
        # Older tasks may serve all the while.
        of_it = primary.running if primary is not None else look.running
        failed = primary.failed - known.get(primary.id, 0) if primary is not None else 0
        if max(len(lost), failed) >= _HOPELESS and of_it < look.desired:
            return "; ".join([f"{max(len(lost), failed)} of its tasks ended", *why(look)])
        return ""


def complaint(look: EcsLook, task_definition: str) -> str:
    """Why a service is not steady with a task definition; empty when it is."""
    primary = look.primary
    wanted = primary.task_definition if primary is not None else look.task_definition
    if look.task_definition != task_definition or wanted != task_definition:
        return f"{wanted or look.task_definition} is deployed, not {task_definition}"
    if not look.steady:
        of_it = primary.running if primary is not None else look.running
        return f"{of_it} of {look.desired} tasks of {task_definition} run, {look.running - of_it} of others"
    for group in look.targets:
        if group.healthy < look.desired:
            said = f" ({'; '.join(group.reasons)})" if group.reasons else ""
            return f"{group.healthy} of {look.desired} targets of {group.group} are healthy{said}"
    return ""


def why(look: EcsLook) -> list[str]:
    """What ECS says about it, the most telling first."""
    of_it = [each.text for each in look.stopped if each.task_definition == look.task_definition]
    return of_it[:2] or [each.text for each in look.events[:2]]


def _failed(look: EcsLook) -> bool:
    return look.primary is not None and look.primary.rollout == "FAILED"
