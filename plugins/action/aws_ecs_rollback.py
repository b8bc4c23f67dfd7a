# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings a service of ECS back to its last steady task definition, proven by its tasks, its targets and its checks."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_step import MISSING, EcsStepAction, NotProven
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_definitions import shown
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_look import EcsLook
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_releases import Choice, Releases
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_waiter import complaint
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_ecs import VERSION_KIND
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import PROOF

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# For everything but waiting for tasks.
_CALL_SECONDS = 120.0


class ActionModule(EcsStepAction):
    """See plugins/modules/aws_ecs_rollback.py."""

    STAGE = "release"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "reason": {"type": "str", "default": ""},
        "leave": {"type": "str"},
        "to": {"type": "str"},
        "most": {"type": "int", "default": 3},
        "rollout_within": {"type": "float", "default": 600.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        look = self.connect_ecs(service, _CALL_SECONDS + arguments["most"] * arguments["rollout_within"])
        self.refuse_other_controller(look)
        rolled: list[dict[str, str]] = []
        diff: dict[str, str] = {}
        idle = self._nothing_to_do(service, look, arguments)
        problem = "" if idle else arguments["reason"] or "the service did not work with it"
        while problem:
            if len(rolled) >= arguments["most"]:
                raise CodeblueError(
                    f"{self.target}: {problem}, after {len(rolled)} rollbacks", "see the logs of its tasks"
                )
            look = self._waiter.read() if rolled else look
            releases = Releases(self._account, look)
            chosen = self._choice(releases, arguments["to"], len(rolled) + 1, problem)
            rolled.append(chosen)
            if self._task.diff and not diff:
                diff = self._diff(releases, chosen)
            self._roll_back(look, chosen, len(rolled), problem)
            problem = "" if self.check_mode else self._prove(service, chosen, len(rolled), arguments)
        return {
            "changed": self._changed or (self.check_mode and bool(rolled)),
            "rolled_back": rolled,
            "due": self._due,
            "calls": self._account.calls,
            **({"diff": diff} if diff else {}),
            "codeblue": {"summary": self._summary(rolled, idle)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _nothing_to_do(self, service: Service, look: EcsLook, arguments: Mapping[str, t.Any]) -> str:
        """Why nothing is to be rolled back; empty when something is. What this run has begun is finished."""
        if not self.check_mode and self.begun("choose_1"):
            return ""
        current, leave, to = look.task_definition, arguments["leave"], arguments["to"]
        if leave is not None:
            return f"it runs {current}, not {leave}" if current != leave else ""
        works = not complaint(look, current) and not self.complaint(service)
        if to is not None:
            return f"it runs {to} and works" if current == to and works else ""
        if works and self.proven(VERSION_KIND)[:1] == [current] and current not in self.marked():
            return f"it runs {current}, which an earlier run went back to, and works"
        return ""

    def _choice(self, releases: Releases, to: str | None, number: int, problem: str) -> dict[str, str]:
        """From which to which, written down before the first change, so that a resumed run does not go on."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            marked = self.marked()
            choice = self._named(releases, to, marked) if to is not None and number == 1 else None
            choice = choice or releases.choose(self.proven(VERSION_KIND), marked)
            said = {"from": choice.bad, "to": choice.good, "why": choice.reason, "delegated": choice.delegated}
            return {"changed": False, **said, "reason": choice.reason}

        kept = decide() if self.check_mode else self.local_change(f"choose_{number}", _decision(problem), decide)
        return {name: str(kept[name]) for name in ("from", "to", "why", "delegated")}

    def _named(self, releases: Releases, to: str, marked: set[str]) -> Choice:
        """The one that somebody names.

        :raises BadInput: there is none of that name.
        :raises Refused: it is marked bad.
        """
        if to in marked:
            raise Refused(f"{to} is marked bad, nothing was changed", "codeblue bad-version clear, if it is not")
        try:
            found = releases.definition(to)
        except CodeblueError as error:
            raise BadInput(f"to: {to} cannot be had: {error.message}", "write it like records:6") from None
        if found.get("status") == "INACTIVE":
            raise BadInput(f"to: {to} is deregistered", "register it again, and name that one")
        return Choice(self._waiter.read().task_definition, to, "it was asked for")

    # -- acting ------------------------------------------------------------------------------------------------

    def _roll_back(self, look: EcsLook, chosen: Mapping[str, str], number: int, problem: str) -> None:
        action, bad, good = f"roll_back_{number}", chosen["from"], chosen["to"]
        if self.check_mode:
            self._planned.append(f"{action} to {good}")
            return
        # Marked before the switch: a crash in between must not make the bad version look good.
        run = self.open_run()
        if bad != good:
            run.store.mark_bad(self.target, VERSION_KIND, bad, run.run_id, problem[:200])
        if chosen["delegated"] == "True" or (look.task_definition == good and not self.begun(action)):
            return
        undo = f"aws ecs update-service --cluster {look.cluster} --service {look.name} --task-definition {bad}"
        decision = {**_decision(problem), "from": bad, "to": good, "undo": undo}

        def switch(_run: OpenRun) -> dict[str, t.Any]:
            now = self._waiter.read().task_definition
            if now == good:
                # In doubt and done is this run's own change, of which the answer was lost.
                return {"changed": True, "from": bad, "to": good, "already_done": True}
            if now != bad:
                raise Refused(
                    f"{self._ecs}: somebody has deployed {now} meanwhile, nothing was overwritten",
                    "look whether that works; run again to leave it",
                )
            self._account.ask(
                "ecs", "update_service", about=look.name, cluster=look.cluster, service=look.name, taskDefinition=good
            )
            said = {"from": bad, "to": good, "already_done": False}
            return {"changed": True, "accepted_at": time.time(), **said}

        self._changed |= bool(self.local_change(action, decision, switch).get("changed"))

    # -- proving -----------------------------------------------------------------------------------------------

    def _prove(self, service: Service, chosen: Mapping[str, str], number: int, arguments: Mapping[str, t.Any]) -> str:
        """Wait for tasks, targets and checks; why the version does not prove itself, empty when it does."""

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            waited = self._waiter.wait(chosen["to"], Budget(arguments["rollout_within"]))
            problem = waited.problem or self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise NotProven(problem)
            return {
                "changed": False,
                "kind": VERSION_KIND,
                "version": chosen["to"],
                "seconds": round(waited.seconds, 3),
            }

        try:
            self.local_change(f"{PROOF}{number}", {"version": chosen["to"]}, prove)
        except NotProven as error:
            return f"{chosen['to']} does not work either: {error.message}"
        return ""

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, releases: Releases, chosen: Mapping[str, str]) -> dict[str, str]:
        before, after = shown(releases.definition(chosen["from"]), releases.definition(chosen["to"]))
        return {
            "before": yaml.safe_dump(before),
            "after": yaml.safe_dump(after),
            "before_header": f"{self._ecs}: {chosen['from']}",
            "after_header": f"{self._ecs}: {chosen['to']}",
        }

    def _summary(self, rolled: Sequence[Mapping[str, str]], idle: str) -> str:
        if not rolled:
            return f"nothing to roll back on {self._ecs}: {idle}"
        said = "; ".join(f"from {each['from']} to {each['to']} ({each['why']})" for each in rolled)
        if self.check_mode:
            return f"would roll {self._ecs} back {said}"
        return f"rolled {self._ecs} back {said}; all its tasks run"


def _decision(problem: str) -> dict[str, str]:
    return {"reason": problem[:200]}
