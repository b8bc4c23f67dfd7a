# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Cuts the pods of a service off by NetworkPolicies, and gives everything back exactly as it was.

What is proven of it is said, and no more: from the controller nobody can see what a node lets through.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
import typing as t
from collections.abc import Mapping

import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._acceptance import accepted
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import WorkloadCheck, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_step import MISSING, KubernetesStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._quarantine_changes import ACCEPTANCE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_policies as policies
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import PODS, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_enforcement import look_for_enforcement
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import kept_by_controller
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_quarantine import NamespaceQuarantine
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_reconcilers import (
        REFUSE,
        TELL,
        Reconciler,
        find_reconcilers,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_waiter import (
        RolloutWaiter,
        selector_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_workload import SeenWorkload

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
_PAUSE = 0.2
# How long the ways from here may still answer after the policy is there.
_PROOF_SECONDS = 8.0


class ActionModule(KubernetesStepAction):
    """See plugins/modules/kubernetes_quarantine.py."""

    STAGE = "quarantine"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "reason": {"type": "str", "default": ""},
        "gone_within": {"type": "float", "default": 60.0},
        "rollout_within": {"type": "float", "default": 300.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS + arguments["gone_within"] + arguments["rollout_within"])
        self._quarantine = NamespaceQuarantine(self._client, self._place)
        self._diffs: list[dict[str, str]] = []
        self._proof = "not_proven"
        said = (
            self._release(service, arguments)
            if arguments["state"] == "absent"
            else self._close(service, self._workload.read(), arguments)
        )
        return {
            "changed": self._changed or (self.check_mode and bool(self._planned)),
            **said,
            "due": self._due,
            "calls": self._client.calls,
            **({"diff": self._diffs} if self._task.diff and self._diffs else {}),
        }

    # -- closing -----------------------------------------------------------------------------------------------

    def _close(self, service: Service, seen: SeenWorkload, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self._accepted(service)
        pods = seen.manifest["spec"]["selector"]
        labels = (seen.manifest["spec"]["template"].get("metadata") or {}).get("labels") or {}
        every = self._quarantine.policies()
        aside = policies.policies_that_select(every, labels)
        reason = arguments["reason"] or "asked for by a person"
        deny = policies.deny_all(pods, self._place.management, self._place, reason)
        suspended = self._keepers(aside)
        enforcement = look_for_enforcement(self._client, self._place.namespace)
        before = self._ways(service)
        for each in aside:
            after = {**each["spec"], "podSelector": policies.narrowed(each, pods)[0]}
            self._show(f"NetworkPolicy {each['metadata']['name']}", each["spec"], after)
        self._show(f"NetworkPolicy {policies.deny_name(self._place)}", None, deny["spec"])
        if self.check_mode:
            self._planned += [f"set_aside_{each['metadata']['name']}" for each in aside]
            self.plan(suspended, "deny_all")
            self._planned.append("replace_pods")
            return self._told_of_closing([str(each["metadata"]["name"]) for each in aside], enforcement.said, "")
        self._mark(seen, reason)
        names = self._set_aside(aside, pods, suspended)
        undo = {"reason": reason, "undo": "codeblue run release_service"}
        denied_now = self._step("deny_all", undo, lambda: self._quarantine.put(deny))
        gone = self._replace_pods(seen, arguments["gone_within"], denied_now)
        proof = self._prove(service, seen, before)
        return self._told_of_closing(names, f"{gone}; {enforcement.said}", proof)

    def _keepers(self, aside: list[Mapping[str, t.Any]]) -> list[Reconciler]:
        """Those who keep a policy and are to be suspended.

        One that cannot be is told, for most of a quarantine is better than none.
        """
        found = [
            dataclasses.replace(each, treatment=TELL, advice=f"it may open it again: {each.advice}")
            if each.treatment == REFUSE
            else each
            for policy in aside
            for each in find_reconcilers(self._client, {**policy, "kind": policies.POLICY}, [])
        ]
        return self.meet(found, f"a NetworkPolicy of {self._place}")

    def _accepted(self, service: Service) -> None:
        """Isolation of a clinical service needs a person's word, but for a lab.

        :raises Refused: nobody accepted it.
        """
        if self.check_mode or service.environment == "lab":
            return
        if ACCEPTANCE not in accepted(self.open_run(), ()):
            raise Refused(
                f"{self.target} would be cut off from everybody, and its users with it.",
                f"its manual fallback has to be announced first; then: --accept {ACCEPTANCE}",
            )

    def _mark(self, seen: SeenWorkload, reason: str) -> None:
        """So that no other runbook takes it for broken and scales or routes it back."""
        self._step("mark", {"reason": reason}, lambda: self._quarantine.mark(self.open_run().run_id))

    def _set_aside(
        self, aside: list[Mapping[str, t.Any]], pods: Mapping[str, t.Any], suspended: list[Reconciler]
    ) -> list[str]:
        """Narrow the policies that let something through; what an earlier attempt narrowed is among the names."""
        run = self.open_run()
        for reconciler in suspended:
            self.suspend(run, reconciler, f"a NetworkPolicy of {self._place}")
        for each in aside:
            name = str(each["metadata"]["name"])
            decision = {
                "reason": f"NetworkPolicy {name} lets traffic to or from the pods",
                # Labels and keys: what a person needs to put it back without this program.
                "before": json.dumps(each["spec"].get("podSelector") or {}, sort_keys=True)[:1000],
                "undo": f"kubectl -n {self._place.namespace} edit networkpolicy {name}",
            }
            self._step(f"set_aside_{name}", decision, functools.partial(self._quarantine.set_aside, name, pods))
        now = self._quarantine.policies()
        return sorted(str(each["metadata"]["name"]) for each in now if policies.is_set_aside(each, self._place))

    def _replace_pods(self, seen: SeenWorkload, seconds: float, denied_now: bool) -> str:
        """Delete the pods that were there before, so that their connections end; says how that ended.

        :param denied_now: the policy is of this run; else pods that were made behind it are left alone.
        """
        found = self._client.list_all(PODS, self._place.namespace, labels=selector_of(seen.manifest))
        since = "" if denied_now else self._quarantine.denied_since()
        old = [
            each
            for each in found
            if not each["metadata"].get("deletionTimestamp")
            # What nobody makes anew is evidence, or somebody's only one: it is cut off and stays.
            and kept_by_controller(each)
            and (not since or str(each["metadata"]["creationTimestamp"]) < since)
        ]
        names = sorted(str(each["metadata"]["name"]) for each in old)

        def replace(_run: OpenRun) -> dict[str, t.Any]:
            deleted = self._workload.delete_pods(old)
            return {"changed": bool(deleted), "machines": deleted, "accepted_at": time.time()}

        decision = {"machines": names, "reason": "a policy may leave connections that are open already alone"}
        done = self.local_change("replace_pods", decision, replace)
        self._changed |= bool(done.get("changed"))
        gone = set(done.get("machines") or ())
        uids = {each["metadata"]["uid"] for each in found if each["metadata"]["name"] in gone}
        budget = Budget(seconds)
        while True:
            left = [
                str(each["metadata"]["name"])
                for each in self._client.list_all(PODS, self._place.namespace, labels=selector_of(seen.manifest))
                if each["metadata"]["uid"] in uids
            ]
            if not left:
                alone = [str(each["metadata"]["name"]) for each in found if not kept_by_controller(each)]
                told = f"; {', '.join(alone[:5])} without a controller still run, behind the policy" if alone else ""
                return f"{len(gone)} pods were replaced{told}"
            if budget.left <= 0:
                raise CodeblueError(
                    f"{self._place}: pod {left[0]} does not end in {seconds:.0f} s, its connections may be open",
                    "look at its node; end it there, and resume",
                )
            self.renew()
            time.sleep(_PAUSE)

    # -- proving -----------------------------------------------------------------------------------------------

    def _ways(self, service: Service) -> list[str]:
        """Checks that reach the service over the network from here, and pass; by their id."""
        plan = [
            each
            for each in plan_checks({service.name: service.checks}, "deep")
            if not isinstance(each.check, WorkloadCheck)
        ]
        return [each.id for each in run_checks(plan) if each.ok] if plan else []

    def _prove(self, service: Service, seen: SeenWorkload, before: list[str]) -> str:
        """What is proven, as the end of a sentence.

        :raises CodeblueError: the service still answers.
        """
        unproven = "that its traffic ends is not proven: nobody here sees what the nodes let through"
        if seen.manifest["spec"]["template"]["spec"].get("hostNetwork"):
            raise CodeblueError(
                f"{self._place} is not cut off: its pods use the network of their nodes, no policy applies to them",
                "scale it to 0: kubectl scale, or close the nodes' ports",
            )
        if not before or self._place.management:
            return unproven
        budget = Budget(_PROOF_SECONDS)
        while through := [each for each in self._ways(service) if each in before]:
            if budget.left <= 0:
                raise CodeblueError(
                    f"{self.target} is not cut off: {through[0]} still passes, so nothing enforces the policies",
                    "scale it to 0: kubectl scale, and find out which network plugin the cluster has",
                )
            self.renew()
            time.sleep(_PAUSE)
        self._proof = "from_here"
        return f"{len(before)} ways to it from here fail now; traffic inside of the cluster is not proven to end"

    # -- opening -----------------------------------------------------------------------------------------------

    def _release(self, service: Service, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        every = self._quarantine.policies()
        own = policies.label_of(self._place)
        aside = [each for each in every if policies.is_set_aside(each, self._place)]
        made = [each for each in every if (each["metadata"].get("labels") or {}).get(policies.OF) == own]
        names = [str(each["metadata"]["name"]) for each in aside]
        for each in aside:
            after = {**each["spec"], "podSelector": policies.noted(each)["podSelector"]}
            self._show(f"NetworkPolicy {each['metadata']['name']}", each["spec"], after)
        for each in made:
            self._show(f"NetworkPolicy {each['metadata']['name']}", each["spec"], None)
        if not aside and not made and not self._quarantine.is_marked():
            summary = f"{self._place} is not in quarantine, nothing was changed"
            return {"set_aside": [], "proof": "not_proven", "codeblue": {"summary": summary}}
        if self.check_mode:
            self._planned += [f"give_back_{name}" for name in names]
            self._planned += [f"remove_{each['metadata']['name']}" for each in made] + ["unmark"]
            said = f"would give {self._place} back, with {len(names)} NetworkPolicies"
            return {"set_aside": names, "proof": "not_proven", "codeblue": {"summary": said}}
        # First what allows, then what denies: in between nothing is open that was not before.
        for name in names:
            self._step(
                f"give_back_{name}", {"reason": "as it was"}, functools.partial(self._quarantine.give_back, name)
            )
        for each in made:
            remove = functools.partial(self._quarantine.remove, each)
            self._step(f"remove_{each['metadata']['name']}", {"reason": "it was made for the quarantine"}, remove)
        self._step("unmark", {"reason": "the quarantine is over"}, self._quarantine.unmark)
        before = {str(each["metadata"]["name"]): policies.noted(each) for each in aside}
        now = {str(each["metadata"]["name"]): each for each in self._quarantine.policies()}
        others = [
            name
            for name, note in before.items()
            if name in now and not policies.noted(now[name]) and not policies.is_as_before(now[name], note)
        ]
        self._until_it_works(service, arguments)
        said = f"gave {self._place} back with {len(names)} NetworkPolicies as they were; its pods and checks work"
        said += f"; somebody has changed {', '.join(others)} meanwhile in other fields, which stay" if others else ""
        return {"set_aside": names, "proof": "not_proven", "codeblue": {"summary": said}}

    def _until_it_works(self, service: Service, arguments: dict[str, t.Any]) -> None:
        def prove(_run: OpenRun) -> dict[str, t.Any]:
            current = self._workload.read().rollout.current
            waited = RolloutWaiter(self._client, self._place, self.renew, lambda _pods: ()).wait(
                current, Budget(arguments["rollout_within"])
            )
            problem = waited.problem or self.until_healthy(service, arguments["healthy_within"])
            if problem:
                raise CodeblueError(
                    f"{self.target} is given back and does not work: {problem}", "see the logs of its pods"
                )
            return {"changed": False, "seconds": round(waited.seconds, 3)}

        self.local_change("prove_release", {"reason": "whether it works again"}, prove)

    # -- both --------------------------------------------------------------------------------------------------

    def _step(self, action: str, decision: dict[str, t.Any], work: t.Callable[[], bool]) -> bool:
        """One journalled change of one object, by this run; `work` says whether it changed anything."""
        in_doubt = self.begun(action)

        def change(_run: OpenRun) -> dict[str, t.Any]:
            done = work()
            # In doubt and done is this run's own change, of which the answer was lost.
            return {"changed": done or in_doubt, **({"accepted_at": time.time()} if done else {})}

        done = self.local_change(action[:120], {"machine": f"the cluster of {self.target}", **decision}, change)
        self._changed |= bool(done.get("changed"))
        return bool(done.get("changed"))

    def _show(self, header: str, before: t.Any, after: t.Any) -> None:
        self._diffs.append(
            {
                "before": yaml.safe_dump(before) if before is not None else "",
                "after": yaml.safe_dump(after) if after is not None else "",
                "before_header": header,
                "after_header": header,
            }
        )

    def _told_of_closing(self, names: list[str], said: str, proof: str) -> dict[str, t.Any]:
        verb = "would cut" if self.check_mode else "cut"
        aside = f", {len(names)} NetworkPolicies set aside" if names else ""
        way_in = f", open for {', '.join(self._place.management)}" if self._place.management else ""
        summary = f"{verb} the pods of {self._place} off by NetworkPolicy {policies.deny_name(self._place)}"
        summary += f"{aside}{way_in}; {said}{f'; {proof}' if proof else ''}{self.afterwards()}"
        return {
            "set_aside": names,
            "proof": self._proof,
            "codeblue": {"summary": summary},
        }
