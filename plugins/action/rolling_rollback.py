# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rolls the release of a service that still works back, one instance after the other, without an outage."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import gateway_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import (
    complaint,
    probe_calls,
    probe_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Instance
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    KIND,
    candidate_of,
    list_call,
    restart_change,
    switch_change,
    with_releases,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_LEAST_PATIENCE = 5.0
_PAUSE = 0.1


class ActionModule(StepAction):
    """See plugins/modules/rolling_rollback.py."""

    STAGE = "rollback"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "version": {"type": "str", "required": True},
        "reason": {"type": "str", "default": ""},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        bad, reason = arguments["version"], arguments["reason"][:200] or "the service was late with it"
        instances = with_releases(service)
        if not instances:
            raise BadInput(f"{self.target}: no instance has a release_root", "name it in codeblue_host.instances")
        good, late = self._choice(service, instances, bad, reason)
        if not self.check_mode:
            # Marked before the first switch: a crash in between must not make the bad version look good.
            run = self.open_run()
            run.store.mark_bad(service.name, KIND, bad, run.run_id, reason)
        if good is None:
            return {
                "changed": False,
                "rolled_back": {"service": service.name, "from": bad, "to": None},
                "instances": [],
                "codeblue": {"summary": f"no instance of {service.name} runs {bad}"},
            }
        self._changed = False
        for instance in late:
            self._one(service, instance, bad, good, reason, arguments["healthy_within"], len(instances) > 1)
        verb = "would roll back" if self.check_mode else "rolled back"
        return {
            "changed": self._changed,
            "rolled_back": {"service": service.name, "from": bad, "to": good},
            "instances": [instance.machine for instance in late],
            "codeblue": {
                "summary": f"{verb} {service.name} from {bad} to {good}, {len(late)} instances one after the other"
            },
        }

    def _choice(
        self, service: Service, instances: list[Instance], bad: str, reason: str
    ) -> tuple[str | None, list[Instance]]:
        """To which version, and which instances: those that run the bad one now.

        Written down before the first change, so that a resumed run does not go on from what it has changed itself.

        :returns: None and nobody when no instance runs the bad version.
        """

        def choose(_run: t.Any = None) -> dict[str, t.Any]:
            asked = self.look([list_call(each) for each in instances])
            answers = {answer.machine: answer.result_or_raise() for answer in asked}
            late = [machine for machine, answer in answers.items() if answer["before"]["current"] == bad]
            good = self._previous(service, list(answers.values()), bad) if late else None
            return {"changed": False, "to": good, "machines": late}

        decision = {"from": bad, "reason": reason}
        kept = choose() if self.check_mode else self.local_change("choose", decision, choose)
        return kept["to"], [each for each in instances if each.machine in kept["machines"]]

    def _previous(self, service: Service, answers: list[dict[str, t.Any]], bad: str) -> str:
        """The version that ran before, is on every instance, and is not marked bad.

        :raises CodeblueError: there is none.
        """
        marked: set[str] = set()
        if not self.check_mode:
            run = self.open_run()
            marked = {each.version for each in run.store.bad_versions(service.name, KIND)}
        found = [candidate_of(service.name, answer, marked | {bad}) for answer in answers]
        for candidate in found:
            if candidate is not None and all(candidate.good in answer["available"] for answer in answers):
                return candidate.good
        raise CodeblueError(
            f"{self.target}: no release to go back to is on every instance, ran before and is not marked bad",
            "deploy a good release by hand; codeblue bad-version list shows what is marked",
        )

    def _one(
        self,
        service: Service,
        instance: Instance,
        bad: str,
        good: str,
        reason: str,
        given: float | None,
        others: bool,
    ) -> None:
        """Traffic away, roll back, wait until it works, traffic back."""
        machine = instance.machine
        steps: list[Change] = [
            switch_change(service, instance, bad, good, reason),
            restart_change(service, instance, f"restart_{machine}_on_{good}"),
        ]
        gateway = service.require_host().gateway
        if gateway is not None and others and machine in gateway.servers:
            steps.insert(0, gateway_change(gateway, {machine: "drain"}, f"drain_{machine}", None, reason))
        for step in steps:
            self._changed |= bool(self.change(step).result.get("changed"))
        if not self.check_mode:
            self._wait_well(service, machine, given)
        if gateway is not None and others and machine in gateway.servers:
            back = gateway_change(gateway, {machine: "ready"}, f"ready_{machine}", None, f"{good} answers in time")
            self._changed |= bool(self.change(back).result.get("changed"))

    def _wait_well(self, service: Service, machine: str, given: float | None) -> None:
        """Until the instance answers everything that its checks ask, in time.

        :raises CodeblueError: it does not; it stays without traffic, and the others go on as they are.
        """
        call = probe_calls(service, self._secrets.add).get(machine)
        if call is None:
            return
        deadline = time.monotonic() + max(_LEAST_PATIENCE, patience(service, given))
        while True:
            problem = complaint(service, {machine: probe_of(self.look([call])[0])})
            if not problem:
                return
            if time.monotonic() >= deadline:
                raise CodeblueError(
                    f"{self.target}: {problem}; it is kept without traffic, the other instances still work",
                    f"see its log on {machine}; give it traffic again with the gateway's state ready",
                )
            time.sleep(_PAUSE)
