# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings one service of ECS back, whatever of its task definition, its number of tasks and its tasks is wrong."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_step import MISSING, EcsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws import judge_part
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_ecs_read import read_closer
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_ecs import RENEW

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
# Of tasks that began while what they depend on was away, none of these says anything about their version.
_MAY_BE_THE_DEPENDENCY = ("release_crashing", "release_failing", "tasks_gone", "inconclusive")
_ACTIONS = {"rollback": "aws_ecs_rollback", "scale": "aws_ecs_scale"}


class ActionModule(EcsStepAction):
    """See plugins/modules/aws_ecs_recover.py."""

    STAGE = "workload"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "most": {"type": "int", "default": 4},
        "rollout_within": {"type": "float", "default": 600.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect_ecs(service, _CALL_SECONDS + arguments["rollout_within"])
        known = [str(name) for name in self._variables["groups"].get("codeblue_services", self.targets)]
        dependencies = list(self.services([each for each in service.depends_on if each in known]).values())
        treated: list[dict[str, str]] = []
        diffs: list[t.Any] = []
        waits = self._wait_for(dependencies, arguments["healthy_within"])
        if waits and self.check_mode:
            said = f"would look at {self._ecs} again when {', '.join(waits)} works"
            return {"changed": False, "treated": [], "codeblue": {"summary": said}}
        while True:
            found = self._next(service, dependencies, treated)
            if found["treatment"] == "none":
                break
            if len(treated) >= arguments["most"]:
                raise CodeblueError(
                    f"{self.target}: {found['cause']}: {found['evidence']}, after {len(treated)} treatments",
                    "see the logs of its tasks",
                )
            if found["treatment"] == RENEW:
                summary = self._renew_tasks(service, found, len(treated) + 1, arguments)
            else:
                summary = self._treat(found, arguments, diffs)
            treated.append({**found, "summary": summary})
            if self.check_mode:
                break
        return {
            "changed": self._changed or (self.check_mode and bool(treated)),
            "treated": treated,
            **({"diff": diffs} if diffs else {}),
            "codeblue": {"summary": "; ".join(each["summary"] for each in treated) or f"{self._ecs} works"},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _next(
        self, service: Service, dependencies: Sequence[Service], treated: Sequence[Mapping[str, str]]
    ) -> dict[str, str]:
        """What is to be done next, written down before it is, so that a resumed run does the same."""
        action = f"decide_{len(treated) + 1}"
        names = ("cause", "treatment", "evidence", "deployment")
        kept = None if self.check_mode else self.kept(action)
        if kept is not None:
            return {name: str(kept[name]) for name in names}
        found = self._judged(service, dependencies, [each["treatment"] for each in treated])
        if found["treatment"] == "person":
            done = "; ".join(each["summary"] for each in treated)
            raise CodeblueError(f"{self.target}: {found['cause']}: {found['evidence']}. {done}", found["next_step"])
        decided = {name: found[name] for name in names}
        if found["treatment"] != "none" and not self.check_mode:
            decision = {"cause": decided["cause"], "reason": decided["evidence"][:200]}
            self.local_change(action, decision, lambda _run: {"changed": False, **decided})
        return decided

    def _judged(self, service: Service, dependencies: Sequence[Service], done: Sequence[str]) -> dict[str, str]:
        look = read_closer(self._account, {service.name: self._waiter.read()})[service.name]
        checks = {each.name: each.checks for each in (service, *dependencies)}
        failing = [each for each in run_checks(plan_checks(checks, "deep")) if not each.ok]
        seen = AwsSeen({"ecs": look})
        said = judge_part("ecs", service, seen, failing, self.marked_bad, self.proven, time.time())
        told = {
            "cause": str(said["cause"]),
            "treatment": str(said["treatment"]),
            "evidence": "; ".join(said["evidence"]),
            "next_step": str(said["next_step"]),
            "deployment": look.primary.id if look is not None and look.primary is not None else "",
        }
        if told["cause"] in _MAY_BE_THE_DEPENDENCY and RENEW not in done:
            broken = self._broken_before(dependencies)
            if broken:
                why = f"its tasks began while {', '.join(broken)} did not work"
                return {**told, "treatment": RENEW, "evidence": why}
        if told["treatment"] in done:
            return {**told, "treatment": "person", "next_step": "That was treated already: see the logs of its tasks."}
        return told

    def _broken_before(self, dependencies: Sequence[Service]) -> list[str]:
        """Of what it depends on, what this run has found broken at its beginning."""
        if self.check_mode:
            return []
        run = self.open_run()
        broken = {each.target for each in run.store.steps(run.run_id) if each.stage == "diagnose"}
        return [each.name for each in dependencies if each.name in broken]

    def _wait_for(self, dependencies: Sequence[Service], given: float | None) -> list[str]:
        """Wait until everything works that it depends on; the names of what still does not.

        Whoever brings them back has done so before; what fails now is looked at again, not given up at once.
        """
        checks = {each.name: each.checks for each in dependencies}
        within = max((patience(each, given) for each in dependencies), default=0.0)
        ends = time.monotonic() + (0.0 if self.check_mode else within)
        while True:
            failing = sorted({each.target for each in run_checks(plan_checks(checks, "deep")) if not each.ok})
            if not failing or time.monotonic() >= ends:
                return failing
            self.renew()
            time.sleep(self.PAUSE)

    # -- acting ------------------------------------------------------------------------------------------------

    def _treat(self, found: Mapping[str, str], arguments: Mapping[str, t.Any], diffs: list[t.Any]) -> str:
        """Carry out the step of its own that a treatment is.

        :returns: its summary.
        :raises CodeblueError: it failed.
        """
        name = _ACTIONS[found["treatment"]]
        given: dict[str, t.Any] = {
            "reason": found["evidence"][:200],
            "rollout_within": arguments["rollout_within"],
            "healthy_within": arguments["healthy_within"],
        }
        if found["treatment"] == "scale":
            # It says that it did not help, and leaves that to the next look.
            given["when_unhealthy"] = "report"
        task = self._task.copy()
        task.args = {key: value for key, value in given.items() if value is not None}
        action = self._shared_loader_obj.action_loader.get(
            f"codeblue.recovery.{name}",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result = action.run(task_vars=self._variables)
        said = result["codeblue"]
        if said.get("accepted_at"):
            self._accepted_at.append(float(said["accepted_at"]))
        self._planned += said.get("plan") or []
        self._changed |= bool(result.get("changed"))
        if result.get("failed"):
            raise CodeblueError(str(said["error"]), said.get("hint"), int(said["exit_code"]))
        if result.get("diff"):
            diffs.append(result["diff"])
        return str(said["summary"]).partition("; steps: ")[0]

    def _renew_tasks(
        self, service: Service, found: Mapping[str, str], number: int, arguments: Mapping[str, t.Any]
    ) -> str:
        """Have ECS make all tasks anew, of the same task definition."""
        if self.check_mode:
            self._planned.append(f"{RENEW}_{number}")
            return f"would have ECS make the tasks of {self._ecs} anew ({found['evidence']})"

        def renew(_run: OpenRun) -> dict[str, t.Any]:
            look = self._waiter.read()
            self.refuse_other_controller(look)
            now = look.primary.id if look.primary is not None else ""
            if now != found["deployment"]:
                # In doubt and done: another deployment is there than the one that was decided on.
                return {"changed": True, "already_done": True}
            self._account.ask(
                "ecs",
                "update_service",
                about=look.name,
                repeat=False,
                cluster=look.cluster,
                service=look.name,
                forceNewDeployment=True,
            )
            return {"changed": True, "accepted_at": time.time(), "already_done": False}

        decision = {"reason": found["evidence"][:200], "undo": "none is needed"}
        self._changed |= bool(self.local_change(f"{RENEW}_{number}", decision, renew).get("changed"))
        wanted = self._waiter.read().task_definition
        waited = self._waiter.wait(wanted, Budget(arguments["rollout_within"]))
        problem = waited.problem or self.until_healthy(service, arguments["healthy_within"])
        said = f"the tasks of {self._ecs} were made anew"
        return f"{said}; {problem}" if problem else said
