# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings one workload on Kubernetes back, whatever of its route, its number of pods and its version is wrong."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import RESTORE_OBJECTS, judge
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import look_at_platforms
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_rollouts import is_ready
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import RolloutWaiter, selector_of

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_PAUSE = 0.2
_ROUTED_SECONDS = 5.0
_RESTART = "restart"
# Of pods that began while what they depend on was away, none of these says anything about their version.
_MAY_BE_THE_DEPENDENCY = ("release_crashing", "release_failing", "inconclusive")
_ACTIONS = {
    "rollback": "kubernetes_rollback",
    "scale": "kubernetes_scale",
    "route": "kubernetes_route",
    RESTORE_OBJECTS: "kubernetes_restore",
}
# These say that they did not help, and leave it to the next look.
_REPORTING = ("kubernetes_scale", "kubernetes_route")


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_recover.py."""

    STAGE = "workload"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "most": {"type": "int", "default": 4},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
        "snapshot_identity": {"type": "path"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["rollout_within"])
        known = [str(name) for name in self._variables["groups"].get("codeblue_services", self.targets)]
        dependencies = list(self.services([each for each in service.depends_on if each in known]).values())
        treated: list[dict[str, str]] = []
        diffs: list[t.Any] = []
        waits = self._wait_for(dependencies, arguments["healthy_within"])
        if waits and self.check_mode:
            said = f"would look at {self._place} again when {', '.join(waits)} works"
            return {"changed": False, "treated": [], "codeblue": {"summary": said}}
        while True:
            found = self._next(service, dependencies, treated)
            if found["treatment"] == "none":
                break
            if len(treated) >= arguments["most"]:
                raise CodeblueError(
                    f"{self.target}: {found['cause']}: {found['evidence']}, after {len(treated)} treatments",
                    "see the logs of its pods",
                )
            if found["treatment"] == _RESTART:
                summary = self._restart(arguments)
            else:
                summary = self._treat(found, arguments, diffs)
            treated.append({**found, "summary": summary})
            if self.check_mode:
                break
        return {
            "changed": self._changed,
            "treated": treated,
            **({"diff": diffs} if diffs else {}),
            "codeblue": {"summary": "; ".join(each["summary"] for each in treated) or f"{self._place} works"},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _next(
        self, service: Service, dependencies: Sequence[Service], treated: Sequence[Mapping[str, str]]
    ) -> dict[str, str]:
        """What is to be done next, written down before it is, so that a resumed run does the same."""
        action = f"decide_{len(treated) + 1}"
        kept = None if self.check_mode else self.kept(action)
        if kept is not None:
            return {name: str(kept[name]) for name in ("cause", "treatment", "evidence")}
        found = self._judged(service, dependencies, [each["treatment"] for each in treated])
        if found["treatment"] == "person":
            done = "; ".join(each["summary"] for each in treated)
            raise CodeblueError(f"{self.target}: {found['cause']}: {found['evidence']}. {done}", found["next_step"])
        decided = {name: found[name] for name in ("cause", "treatment", "evidence")}
        if found["treatment"] != "none" and not self.check_mode:
            decision = {"cause": decided["cause"], "reason": decided["evidence"][:200]}
            self.local_change(action, decision, lambda _run: {"changed": False, **decided})
        return decided

    def _judged(self, service: Service, dependencies: Sequence[Service], done: Sequence[str]) -> dict[str, str]:
        seen = look_at_platforms({service.name: self._place})[service.name]
        checks = {each.name: each.checks for each in (service, *dependencies)}
        failing = [each for each in run_checks(plan_checks(checks, "deep")) if not each.ok]
        found = seen.findings(service, failing, self.marked(), self.proven)
        said = judge(found, time.time())
        told = {
            "cause": said["cause"],
            "treatment": said["treatment"],
            "evidence": "; ".join(said["evidence"]),
            "next_step": said["next_step"],
        }
        if found.cut_off or found.workload is None:
            return told
        if "route" not in done and found.route is not None and found.route.missed and found.selector:
            # First, whatever else is wrong: no version proves itself by a Service that leads elsewhere.
            missed = f"the selector of Service {found.route.name} wants another {', '.join(found.route.missed)}"
            return {**told, "cause": "traffic_misrouted", "treatment": "route", "evidence": missed}
        older = any(pod.ready and pod.revision != found.workload.revision for pod in found.workload.pods)
        if told["cause"] in _MAY_BE_THE_DEPENDENCY and _RESTART not in done and not older:
            broken = self._broken_before(dependencies)
            if broken and any(not pod.ready for pod in found.workload.pods):
                why = f"its pods began while {', '.join(broken)} did not work"
                return {**told, "treatment": _RESTART, "evidence": why}
        if told["treatment"] in done:
            return {**told, "treatment": "person", "next_step": "That was treated already: see the logs of its pods."}
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
            time.sleep(_PAUSE)

    # -- acting ------------------------------------------------------------------------------------------------

    def _treat(self, found: Mapping[str, str], arguments: Mapping[str, t.Any], diffs: list[t.Any]) -> str:
        """Carry out the step of its own that a treatment is.

        :returns: its summary.
        :raises CodeblueError: it failed.
        """
        name = _ACTIONS[found["treatment"]]
        given: dict[str, t.Any] = {"healthy_within": arguments["healthy_within"]}
        if name == "kubernetes_restore":
            given["identity"] = arguments["snapshot_identity"]
        else:
            given["reason"] = found["evidence"][:200]
        if name in _REPORTING:
            given["when_unhealthy"] = "report"
        if name == "kubernetes_route":
            # Pods may have to come back first; then nobody waits for addresses.
            given["routed_within"] = _ROUTED_SECONDS
        else:
            given["rollout_within"] = arguments["rollout_within"]
        result = self.carry_out(name, given)
        said = result["codeblue"]
        if result.get("diff"):
            diffs.append(result["diff"])
        return str(said["summary"]).partition("; steps: ")[0]

    def _restart(self, arguments: Mapping[str, t.Any]) -> str:
        """Delete the pods that do not serve: their controller makes others at once, a kubelet waits for minutes."""

        def restart(_run: OpenRun) -> dict[str, t.Any]:
            manifest = self._workload.read().manifest
            pods = self._client.list_all(PODS, self._place.namespace, labels=selector_of(manifest))
            broken = [each for each in pods if not is_ready(each) and not each["metadata"].get("deletionTimestamp")]
            deleted = self._workload.delete_pods(broken)
            return {"changed": bool(deleted), "machines": deleted, "accepted_at": time.time() if deleted else None}

        decision = {"reason": "they began while what they depend on did not work", "undo": "none is needed"}
        done = self.local_change(_RESTART, decision, restart)
        self._changed |= bool(done["changed"])
        waiter = RolloutWaiter(self._client, self._place, self.renew, lambda _pods: ())
        waited = waiter.wait(self._workload.read().rollout.current, Budget(arguments["rollout_within"]))
        problem = waited.problem or self.until_healthy(self.service(), arguments["healthy_within"])
        said = f"{len(done['machines'])} pods of {self._place} were made anew"
        return f"{said}; {problem}" if problem else said
