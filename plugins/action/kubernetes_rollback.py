# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings a workload on Kubernetes back to its last good version, and proves it by its pods and the service's checks."""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Mapping, Sequence

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import VERSION_KIND
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import (
    MISSING,
    KubernetesStepAction,
    NotProven,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import Revision, choose
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import shown
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import RolloutWaiter, progress
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import SeenWorkload
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import PROOF

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# For everything but waiting for pods.
_CALL_SECONDS = 120.0
# Of a service that is closed on purpose no check can pass.
_PODS = "pods"


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_rollback.py."""

    STAGE = "release"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "reason": {"type": "str", "default": ""},
        "leave": {"type": "str"},
        "most": {"type": "int", "default": 3},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
        "prove_by": {"type": "str", "choices": ["checks", _PODS], "default": "checks"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["most"] * arguments["rollout_within"])
        seen = self._workload.read()
        rolled: list[dict[str, str]] = []
        diff: dict[str, str] = {}
        idle = self._nothing_to_do(service, seen, arguments["leave"])
        problem = "" if idle else arguments["reason"] or "the service did not work with it"
        while problem:
            if len(rolled) >= arguments["most"]:
                raise CodeblueError(
                    f"{self.target}: {problem}, after {len(rolled)} rollbacks", "see the logs of its pods"
                )
            seen = self._workload.read() if rolled else seen
            chosen = self._choice(seen, len(rolled) + 1, problem)
            rolled.append(chosen)
            if self._task.diff and not diff:
                diff = self._diff(seen, chosen)
            self._roll_back(seen, chosen, len(rolled), problem)
            problem = "" if self.check_mode else self._prove(service, chosen, len(rolled), arguments)
        return {
            "changed": self._changed or (self.check_mode and bool(rolled)),
            "rolled_back": rolled,
            "due": self._due,
            "reconcilers": self._told,
            "calls": self._client.calls,
            **({"diff": diff} if diff else {}),
            "codeblue": {"summary": self._summary(rolled, idle)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _nothing_to_do(self, service: Service, seen: SeenWorkload, leave: str | None) -> str:
        """Why nothing is to be rolled back; empty when something is. What this run has begun is finished."""
        if not self.check_mode and self.begun("choose_1"):
            return ""
        current = seen.rollout.current.version
        if leave is not None:
            return f"it runs {current}, not {leave}" if current != leave else ""
        proven, marked = self.proven(VERSION_KIND), self.marked()
        if proven[:1] != [current] or current in marked or progress(seen.manifest) or self.complaint(service):
            return ""
        return f"it runs {current}, which an earlier run went back to, and works"

    def _choice(self, seen: SeenWorkload, number: int, problem: str) -> dict[str, str]:
        """From which version to which, written down before the first change, so that a resumed run does not go on."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            choice = choose(seen.rollout, self.proven(VERSION_KIND), self.marked(), str(self._place))
            said = {"from": choice.bad.version, "to": choice.good.version, "why": choice.reason}
            return {"changed": False, **said, "reason": choice.reason}

        kept = decide() if self.check_mode else self.local_change(f"choose_{number}", _decision(problem), decide)
        return {name: str(kept[name]) for name in ("from", "to", "why")}

    # -- acting ------------------------------------------------------------------------------------------------

    def _roll_back(self, seen: SeenWorkload, chosen: Mapping[str, str], number: int, problem: str) -> None:
        suspended = self.meet(self._workload.reconcilers(seen), str(self._place))
        action = f"roll_back_{number}"
        if self.check_mode:
            self.plan(suspended, f"{action} to {chosen['to']}")
            return
        # Marked before the switch: a crash in between must not make the bad version look good.
        run = self.open_run()
        run.store.mark_bad(self.target, VERSION_KIND, chosen["from"], run.run_id, problem[:200])
        for each in suspended:
            self.suspend(run, each, str(self._place))
        in_doubt = self.begun(action)

        def switch(_run: OpenRun) -> dict[str, t.Any]:
            good = self._kept(seen, chosen["to"])
            ended = self._workload.switch(seen, chosen["from"], good)
            if ended.paused:
                self.give_back(run, f"pause {self._place} again if it was paused on purpose")
            said = {"from": chosen["from"], "to": chosen["to"], "already_done": ended.accepted_at is None}
            accepted = {"accepted_at": ended.accepted_at} if ended.accepted_at is not None else {}
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": ended.accepted_at is not None or in_doubt, **said, **accepted}

        decision = {
            **_decision(problem),
            "from": chosen["from"],
            "to": chosen["to"],
            "undo": "roll the other out again",
        }
        self._changed |= bool(self.local_change(action, decision, switch).get("changed"))

    def _kept(self, seen: SeenWorkload, version: str) -> Revision:
        revision = seen.rollout.revision(version)
        if revision is None:
            raise CodeblueError(f"{self._place}: {version} is not kept any more", "deploy it by hand")
        return revision

    # -- proving -----------------------------------------------------------------------------------------------

    def _prove(self, service: Service, chosen: Mapping[str, str], number: int, arguments: Mapping[str, t.Any]) -> str:
        """Wait for pods and checks; why the version does not prove itself, empty when it does."""

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            good = self._kept(self._workload.read(), chosen["to"])
            waiter = RolloutWaiter(self._client, self._place, self.renew, lambda pods: self._replace(pods, number))
            waited = waiter.wait(good, Budget(arguments["rollout_within"]))
            by_pods = arguments["prove_by"] == _PODS
            problem = waited.problem
            problem = problem or ("" if by_pods else self.until_healthy(service, arguments["healthy_within"]))
            if problem:
                raise NotProven(problem)
            return {
                "changed": False,
                # A version of which nobody saw the checks pass is none to go back to before others.
                "kind": f"{VERSION_KIND}_by_pods" if by_pods else VERSION_KIND,
                "version": good.version,
                "seconds": round(waited.seconds, 3),
            }

        try:
            self.local_change(f"{PROOF}{number}", {"version": chosen["to"]}, prove)
        except NotProven as error:
            return f"{chosen['to']} does not work either: {error.message}"
        return ""

    def _replace(self, pods: Sequence[Mapping[str, t.Any]], number: int) -> Sequence[str]:
        """Delete pods that their controller would keep for ever; each set of them is a step."""
        names = sorted(str(each["metadata"]["name"]) for each in pods)
        uids = "-".join(sorted(str(each["metadata"]["uid"])[:8] for each in pods))
        decision = {"machines": names, "reason": "their controller does not replace them by itself"}

        def replace(_run: OpenRun) -> dict[str, t.Any]:
            deleted = self._workload.delete_pods(pods)
            return {"changed": bool(deleted), "machines": deleted}

        done = self.local_change(f"replace_pods_{number}_{uids}"[:120], decision, replace)
        self._changed |= bool(done["changed"])
        return list(done["machines"])

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, seen: SeenWorkload, chosen: Mapping[str, str]) -> dict[str, str]:
        salt = secrets.token_bytes(16)
        before = yaml.safe_dump(shown(seen.rollout.current.template, salt))
        after = yaml.safe_dump(shown(self._kept(seen, chosen["to"]).template, salt))
        return {
            "before": before,
            "after": after,
            "before_header": f"{self._place}: {chosen['from']}",
            "after_header": f"{self._place}: {chosen['to']}",
        }

    def _summary(self, rolled: Sequence[Mapping[str, str]], idle: str) -> str:
        if not rolled:
            return f"nothing to roll back on {self._place}: {idle}"
        said = "; ".join(f"from {each['from']} to {each['to']} ({each['why']})" for each in rolled)
        if self.check_mode:
            return f"would roll {self._place} back {said}{self.afterwards()}"
        return f"rolled {self._place} back {said}; all its pods serve{self.afterwards()}"


def _decision(problem: str) -> dict[str, str]:
    return {"reason": problem[:200]}
