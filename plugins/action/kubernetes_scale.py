# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives a workload on Kubernetes the number of pods back with which it worked, and proves it."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_quota import room_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_replicas import (
    REPLICAS_KIND,
    Replicas,
    ReplicaSources,
    replica_sources,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import cut_off
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import (
    MISSING,
    KubernetesStepAction,
    NotProven,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_change import Field, change_field
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
        AUTOSCALERS,
        QUOTAS,
        WORKLOAD_RESOURCES,
        Budget,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Forbidden
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import RolloutWaiter, progress
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import SeenWorkload
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_journal import PROOF

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# For everything but waiting for pods.
_CALL_SECONDS = 120.0
_SCALE = "scale"


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_scale.py."""

    STAGE = "scale"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "replicas": {"type": "int"},
        "temporary": {"type": "bool", "default": False},
        "reason": {"type": "str", "default": ""},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
        "when_unhealthy": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["rollout_within"])
        if self._place.workload.kind == "DaemonSet":
            raise BadInput(f"{self._place}: has a pod on each node that fits, not a number of them")
        if arguments["replicas"] is not None and arguments["replicas"] < 1:
            raise BadInput(f"replicas: {arguments['replicas']} is no number of pods that serve", "give 1 or more")
        self._temporary = bool(arguments["temporary"])
        if self._temporary and arguments["replicas"] is None:
            raise BadInput("temporary: for the time being of what number of pods is not said", "give replicas")
        seen = self._workload.read()
        sources = self._sources(seen)
        chosen = self._choice(seen, sources, arguments)
        before, after = int(chosen["from"]), int(chosen["to"])
        idle = before == after and not progress(seen.manifest) and not self.complaint(service)
        if before != after:
            self._scale(seen, sources, chosen, arguments["reason"])
        problem = "" if self.check_mode or idle else self._prove(seen, before, after, arguments)
        return {
            "changed": self._changed or (self.check_mode and before != after),
            "before": before,
            "after": after,
            "why": chosen["why"],
            "problem": problem,
            "due": self._due,
            "reconcilers": self._told,
            "calls": self._client.calls,
            **({"diff": self._diff(before, after)} if self._task.diff and before != after else {}),
            "codeblue": {"summary": self._summary(before, after, chosen["why"], problem)},
        }

    # -- deciding ----------------------------------------------------------------------------------------------

    def _sources(self, seen: SeenWorkload) -> ReplicaSources:
        try:
            scalers = self._client.list_all(AUTOSCALERS, self._place.namespace)
        except Forbidden as error:
            # One that owns the number would undo this; without the right to look nobody knows.
            self._told.append(f"{error.message}: an autoscaler that keeps the number of pods may set it again")
            scalers = []
        return replica_sources(seen.manifest, scalers)

    def _choice(self, seen: SeenWorkload, sources: ReplicaSources, arguments: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """From how many to how many, written down before the change, so that a resumed run does the same."""

        def decide(_run: OpenRun | None = None) -> dict[str, t.Any]:
            held = cut_off(seen.manifest)
            if held:
                raise Refused(f"{self._place} is cut off on purpose ({held})", "codeblue run release_service first")
            given = arguments["replicas"]
            known = (
                Replicas(given, "it was asked for")
                if given is not None
                else sources.known(self.proven(REPLICAS_KIND), self._place.replicas)
            )
            if known is None:
                raise CodeblueError(
                    f"{self._place}: nobody has written down how many pods it had",
                    "give codeblue_kubernetes.replicas, or the argument replicas",
                )
            # Never less: who made it more knew why.
            wanted = known.count if given is not None else max(known.count, sources.present)
            if self._temporary:
                wanted = self._within_quota(seen, sources.present, wanted)
            return {"changed": False, "from": sources.present, "to": wanted, "reason": known.why}

        kept = decide() if self.check_mode else self.local_change("choose", _decision(arguments["reason"]), decide)
        return {"from": kept["from"], "to": kept["to"], "why": str(kept["reason"])}

    def _within_quota(self, seen: SeenWorkload, present: int, wanted: int) -> int:
        """As many as the quotas of the namespace leave room for.

        :raises Refused: not one more.
        """
        try:
            quotas = self._client.list_all(QUOTAS, self._place.namespace)
        except Forbidden:
            # What a quota refuses is seen when the pods are made.
            return wanted
        room = room_for(seen.manifest["spec"]["template"], quotas)
        if room is not None and room.pods < 1:
            raise Refused(
                f"{self._place}: {room.why} leaves no room for another pod, nothing was changed", "raise it by hand"
            )
        return wanted if room is None else min(wanted, present + room.pods)

    # -- acting ------------------------------------------------------------------------------------------------

    def _scale(self, seen: SeenWorkload, sources: ReplicaSources, chosen: Mapping[str, t.Any], reason: str) -> None:
        # Of this run's own change an autoscaler is the owner by now, when it is taken up again.
        done = not self.check_mode and self.begun(_SCALE)
        if sources.owner and not done:
            raise Refused(
                f"{self._place}: {sources.owner} sets the number of its pods, nothing was changed",
                "change its bounds instead: the least that it may have",
            )
        before, after = str(chosen["from"]), str(chosen["to"])
        suspended = self.meet(self._workload.reconcilers(seen), str(self._place))
        if self.check_mode:
            self.plan(suspended, f"{_SCALE} from {before} to {after}")
            return
        run = self.open_run()
        for each in suspended:
            self.suspend(run, each, str(self._place))
        place, field = self._place, self._field()
        undo = f"kubectl -n {place.namespace} scale {place.workload.kind.lower()} {place.workload.name}"

        def scale(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = change_field(self._client, field, before, after, int(after))
            if self._temporary:
                self.give_back(self.open_run(), f"{undo} --replicas={before} (it was scaled out for the time being)")
            said = {"from": before, "to": after, "already_done": accepted_at is None}
            changed = accepted_at is not None or done
            return {"changed": changed, **said, **({"accepted_at": accepted_at} if accepted_at else {})}

        decision = {**_decision(reason), "from": before, "to": after, "undo": f"{undo} --replicas={before}"}
        self._changed |= bool(self.local_change(_SCALE, decision, scale).get("changed"))

    def _field(self) -> Field:
        place = self._place
        resource = WORKLOAD_RESOURCES[place.workload.kind]
        return Field(resource, place.namespace, place.workload.name, "/spec/replicas", _replicas)

    def _prove(self, seen: SeenWorkload, before: int, wanted: int, arguments: Mapping[str, t.Any]) -> str:
        """Wait until so many pods serve and the checks of the service pass; then the number is one that works.

        :returns: what does not work, empty when everything does.
        :raises NotProven: it does not work, and that is to fail.
        """

        def prove(_run: OpenRun) -> dict[str, t.Any]:
            waiter = RolloutWaiter(self._client, self._place, self.renew, lambda _pods: ())
            waited = waiter.wait(seen.rollout.current, Budget(arguments["rollout_within"]))
            if waited.problem and self._temporary:
                self._scale_back(before, wanted)
                raise NotProven(f"{self._place} cannot be scaled out and has {before} pods again: {waited.problem}")
            problem = waited.problem or self.until_healthy(self.service(), arguments["healthy_within"])
            if problem:
                raise NotProven(
                    f"{self._place} is scaled to {wanted} and does not work: {problem}",
                    "run the runbook again: it looks at the pods that are there now",
                )
            seconds = round(waited.seconds, 3)
            # A number for the time being is none to go back to.
            kind = f"{REPLICAS_KIND}_for_now" if self._temporary else REPLICAS_KIND
            return {"changed": False, "kind": kind, "version": str(wanted), "seconds": seconds}

        work = functools.partial(self.local_change, f"{PROOF}{_SCALE}", {"version": str(wanted)}, prove)
        return self.proved(work, arguments["when_unhealthy"])

    def _scale_back(self, before: int, wanted: int) -> None:
        """Take back what did not come up: pods that wait for a place keep it from others."""

        def back(_run: OpenRun) -> dict[str, t.Any]:
            accepted_at = change_field(self._client, self._field(), str(wanted), str(before), before)
            return {"changed": accepted_at is not None, "from": str(wanted), "to": str(before)}

        self.local_change("scale_back", {"reason": "the pods did not come up"}, back)

    # -- telling -----------------------------------------------------------------------------------------------

    def _diff(self, before: int, after: int) -> dict[str, str]:
        return {
            "before": f"replicas: {before}\n",
            "after": f"replicas: {after}\n",
            "before_header": str(self._place),
            "after_header": str(self._place),
        }

    def _summary(self, before: int, after: int, why: str, problem: str) -> str:
        if before == after:
            return f"{self._place} has {after} pods already ({why}){self.afterwards()}"
        if self.check_mode:
            return f"would scale {self._place} from {before} to {after} pods ({why}){self.afterwards()}"
        ended = problem or "all of them serve"
        return f"scaled {self._place} from {before} to {after} pods ({why}); {ended}{self.afterwards()}"


def _replicas(manifest: Mapping[str, t.Any]) -> str:
    return str(manifest["spec"].get("replicas", 1))


def _decision(reason: str) -> dict[str, str]:
    return {"reason": reason[:200] or "it has fewer pods than it needs"}
