# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives a service of ECS a number of tasks: none for maintenance, or that with which it worked, and proves it."""

from __future__ import annotations

import dataclasses
import functools
import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_step import MISSING, EcsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_desired import (
        DESIRED_KIND,
        Desired,
        known_desired,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import read_scalers, resource_id
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_scaling import (
        NOTHING,
        SCALING_KIND,
        command,
        set_suspended,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_waiter import complaint
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import PROOF

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# For everything but waiting for tasks.
_CALL_SECONDS = 120.0
_SCALE = "scale"
_SUSPEND = "suspend_autoscaling"
_RESUME = "resume_autoscaling"
# More is no number of tasks that somebody meant.
_MOST = 5000


class ActionModule(EcsStepAction):
    """See plugins/modules/aws_ecs_scale.py."""

    STAGE = "scale"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "count": {"type": "int"},
        "temporary": {"type": "bool", "default": False},
        "reason": {"type": "str", "default": ""},
        "rollout_within": {"type": "float", "default": 600.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        given = arguments["count"]
        if given is not None and not 0 <= given <= _MOST:
            raise BadInput(f"count: {given} is no number of tasks", f"give 0 to {_MOST}")
        self._temporary = bool(arguments["temporary"])
        if self._temporary and not given:
            raise BadInput("temporary: of what number of tasks, for the time being, is not said", "give count")
        look = self.connect_ecs(service, _CALL_SECONDS + arguments["rollout_within"])
        if look.scheduling != "REPLICA":
            raise BadInput(f"{self._ecs}: has a task on each instance, not a number of them")
        look = self._with_scaler(look)
        chosen = self._choice(look, arguments)
        before, after = int(chosen["from"]), int(chosen["to"])
        well = not after or not self.complaint(service)
        idle = before == after and not complaint(look, look.task_definition) and well
        if not idle and not self.check_mode and after == 0:
            self._keep_number(look, before)
        if before != after:
            self._scale(look, chosen, arguments["reason"])
        problem = "" if self.check_mode or idle else self._prove(look, before, after, arguments)
        if after and not problem:
            self._resume(look)
        return {
            "changed": self._changed or (self.check_mode and before != after),
            "before": before,
            "after": after,
            "why": chosen["why"],
            "problem": problem,
            "due": self._due,
            "calls": self._account.calls,
            **({"diff": self._diff(before, after)} if self._task.diff and before != after else {}),
            "codeblue": {"summary": self._summary(before, after, chosen["why"], problem)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _with_scaler(self, look: EcsLook) -> EcsLook:
        return dataclasses.replace(look, scaler=read_scalers(self._account, [look]).get(resource_id(look)))

    def _choice(self, look: EcsLook, arguments: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """From how many to how many, written down before the change, so that a resumed run does the same."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            given = arguments["count"]
            known = (
                Desired(given, "it was asked for")
                if given is not None
                else known_desired(self.proven(DESIRED_KIND), self._ecs.desired, look.scaler)
            )
            if known is None:
                raise CodeblueError(
                    f"{self._ecs}: nobody has written down how many tasks it had",
                    "give codeblue_aws.ecs.desired, or the argument count",
                )
            # Never less: who made it more knew why.
            wanted = known.count if given is not None else max(known.count, look.desired)
            self._refuse_scaled(look, wanted)
            # Of what scales it by itself, all that would give it tasks again.
            suspends = "+".join(look.scaler.active) if wanted == 0 and look.scaler is not None else ""
            said = {"from": look.desired, "to": wanted, "suspends": suspends}
            return {"changed": False, **said, "reason": known.why}

        kept = decide() if self.check_mode else self.local_change("choose", _decision(arguments["reason"]), decide)
        return {**{name: kept[name] for name in ("from", "to", "suspends")}, "why": str(kept["reason"])}

    def _refuse_scaled(self, look: EcsLook, wanted: int) -> None:
        """What Application Auto Scaling sets by itself is not set beside it, but for what it would leave alone.

        :raises Refused: it would be undone.
        """
        scaler = look.scaler
        if scaler is None or scaler.suspended or wanted in (0, look.desired):
            return
        fits = scaler.least <= wanted <= scaler.most
        if not fits or scaler.least <= look.desired <= scaler.most:
            raise Refused(
                f"{self._ecs}: Application Auto Scaling sets the number of its tasks, between {scaler.least} and"
                f" {scaler.most}; nothing was changed",
                "change these bounds instead: aws application-autoscaling register-scalable-target",
            )

    # -- acting ------------------------------------------------------------------------------------------------

    def _keep_number(self, look: EcsLook, before: int) -> None:
        """Write down with how many tasks it worked, before it has none."""
        if before and look.desired == before and look.steady:
            kept = {"changed": False, "kind": DESIRED_KIND, "version": str(before)}
            self.local_change(f"{PROOF}number", {"version": str(before)}, lambda _run: kept)

    def _scale(self, look: EcsLook, chosen: Mapping[str, t.Any], reason: str) -> None:
        before, after = int(chosen["from"]), int(chosen["to"])
        suspends = tuple(each for each in str(chosen["suspends"]).split("+") if each)
        if self.check_mode:
            self._planned += [_SUSPEND] if suspends else []
            self._planned.append(f"{_SCALE} from {before} to {after}")
            return
        if suspends:
            self._suspend(look, suspends)
        undo = f"aws ecs update-service --cluster {look.cluster} --service {look.name} --desired-count {before}"

        def scale(_run: OpenRun) -> dict[str, t.Any]:
            now = self._waiter.read().desired
            if now not in (before, after):
                raise Refused(
                    f"{self._ecs}: somebody has set {now} tasks meanwhile, nothing was overwritten",
                    "look why; run again to set it",
                )
            if now == before:
                self._account.ask(
                    "ecs",
                    "update_service",
                    about=look.name,
                    cluster=look.cluster,
                    service=look.name,
                    desiredCount=after,
                )
            said = {"from": str(before), "to": str(after), "already_done": now == after}
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": True, **said, **({"accepted_at": time.time()} if now == before else {})}

        decision = {**_decision(reason), "from": str(before), "to": str(after), "undo": undo}
        self._changed |= bool(self.local_change(_SCALE, decision, scale).get("changed"))
        if self._temporary:
            self.give_back(self.open_run(), f"{undo} (it was scaled out for the time being)")
        elif after == 0:
            self.give_back(self.open_run(), f"{undo} (it was scaled to no tasks)")

    def _suspend(self, look: EcsLook, parts: tuple[str, ...]) -> None:
        """Suspend what would give it tasks again, and write down how it is resumed."""
        undo = command(look, parts, False)

        def suspend(_run: OpenRun) -> dict[str, t.Any]:
            set_suspended(self._account, look, parts, True)
            return {"changed": True, "accepted_at": time.time()}

        decision = {"reason": "Application Auto Scaling would give it tasks again", "undo": undo}
        self._changed |= bool(self.local_change(_SUSPEND, decision, suspend).get("changed"))
        kept = {"changed": False, "kind": SCALING_KIND, "version": "+".join(parts)}
        self.local_change(f"{PROOF}{_SUSPEND}", {"version": kept["version"]}, lambda _run: kept)
        self.give_back(self.open_run(), f"{undo} (Application Auto Scaling was suspended)")

    def _resume(self, look: EcsLook) -> None:
        """Resume what an earlier run has suspended, and nothing else."""
        latest = self.proven(SCALING_KIND)[:1]
        parts = tuple(latest[0].split("+")) if latest and latest[0] != NOTHING else ()
        begun = not self.check_mode and self.begun(_RESUME)
        if not begun and (not parts or look.scaler is None or set(parts) <= set(look.scaler.active)):
            return
        if self.check_mode:
            self._planned.append(_RESUME)
            return

        def resume(_run: OpenRun) -> dict[str, t.Any]:
            set_suspended(self._account, look, parts, False)
            return {"changed": True, "accepted_at": time.time()}

        decision = {"reason": "a run had suspended it", "undo": command(look, parts, True)}
        self._changed |= bool(self.local_change(_RESUME, decision, resume).get("changed"))
        kept = {"changed": False, "kind": SCALING_KIND, "version": NOTHING}
        self.local_change(f"{PROOF}{_RESUME}", {"version": NOTHING}, lambda _run: kept)

    # -- proving -----------------------------------------------------------------------------------------------

    def _prove(self, look: EcsLook, before: int, wanted: int, arguments: Mapping[str, t.Any]) -> str:
        """Wait until so many tasks run, and the checks of the service pass; then the number is one that works.

        :returns: what does not work, empty when everything does.
        :raises NotProven: it does not work, and that is to fail.
        """
        began = time.time()

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            waited = self._waiter.wait(look.task_definition, Budget(arguments["rollout_within"]), began)
            if waited.problem and self._temporary:
                self._scale_back(before, wanted)
                raise NotProven(f"{self._ecs} cannot be scaled out and is to have {before} again: {waited.problem}")
            healthy_within = arguments["healthy_within"]
            problem = waited.problem or (self.until_healthy(self.service(), healthy_within) if wanted else "")
            if problem:
                raise NotProven(
                    f"{self._ecs} is to have {wanted} tasks and does not work: {problem}",
                    "run the runbook again: it looks at the tasks that are there now",
                )
            # Neither a number for the time being nor none is one to go back to.
            kind = DESIRED_KIND if wanted and not self._temporary else f"{DESIRED_KIND}_for_now"
            return {"changed": False, "kind": kind, "version": str(wanted), "seconds": round(waited.seconds, 3)}

        work = functools.partial(self.local_change, f"{PROOF}{_SCALE}", {"version": str(wanted)}, prove)
        return self.proved(work, arguments["when_unhealthy"])

    def _scale_back(self, before: int, wanted: int) -> None:
        """Take back what did not come up: tasks that wait for a place keep it from others."""

        def back(_run: OpenRun) -> dict[str, t.Any]:
            if self._waiter.read().desired == wanted:
                self._account.ask(
                    "ecs",
                    "update_service",
                    about=self._ecs.service,
                    cluster=self._ecs.cluster,
                    service=self._ecs.service,
                    desiredCount=before,
                )
            return {"changed": True, "from": str(wanted), "to": str(before)}

        self.local_change("scale_back", {"reason": "the tasks did not come up"}, back)

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, before: int, after: int) -> dict[str, str]:
        return {
            "before": f"desiredCount: {before}\n",
            "after": f"desiredCount: {after}\n",
            "before_header": str(self._ecs),
            "after_header": str(self._ecs),
        }

    def _summary(self, before: int, after: int, why: str, problem: str) -> str:
        if before == after:
            return f"{self._ecs} has {after} tasks already ({why}){self.afterwards()}"
        if self.check_mode:
            return f"would scale {self._ecs} from {before} to {after} tasks ({why}){self.afterwards()}"
        ended = problem or ("all of them run" if after else "none runs any more")
        return f"scaled {self._ecs} from {before} to {after} tasks ({why}); {ended}{self.afterwards()}"


def _decision(reason: str) -> dict[str, str]:
    return {"reason": reason[:200] or "its number of tasks is not what it is to be"}
