# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves the weights of a service's servers in its gateway, step by step, with a gate at each."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import dependents_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import (
    gateway_answer,
    gateway_looks,
    server_changes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._health_gate import HealthGate, ramp_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Gateway
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ramp import (
    STEPS,
    GateClosed,
    Ramp,
    between,
    hold_step,
    read_steps,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_BACK = "weights_back"
_LARGEST = 256


class ActionModule(StepAction):
    """See plugins/modules/gateway_ramp.py."""

    STAGE = "ramp"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "weights": {"type": "dict", "required": True},
        "steps": {"type": "list", "elements": "int", "default": list(STEPS)},
        "hold": {"type": "str", "default": "1m"},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        gateway = service.require_host().gateway
        if gateway is None:
            raise BadInput(f"{self.target}: codeblue_host.gateway is missing", "name the gateway in front of it")
        final = self._final(gateway, arguments["weights"])
        ramp = ramp_for(service, read_steps(arguments["steps"]), parse_duration(arguments["hold"], "hold"))
        start = self._start(gateway, final)
        plan = {percent: {name: between(start[name], final[name], percent) for name in final} for percent in ramp.steps}
        if start == final:
            return self._result(False, start, final, [], "the weights are so already")
        if self.check_mode:
            ended = self.change(server_changes(gateway, self._states(plan[ramp.steps[0]]), "weights", ""))
            said = "; ".join(_words(weights) for weights in plan.values())
            return self._result(bool(ended.checked().result["changed"]), start, final, [], f"would set {said}")
        self._refuse_after_failure()
        gate = HealthGate(service, self.services([service.name, *self._users()]), self.look, self._secrets.add)
        key = "_".join(f"{name}_{weight}" for name, weight in sorted(final.items()))
        held: list[dict[str, t.Any]] = []
        changed = False
        for percent, weights in plan.items():
            change = server_changes(gateway, self._states(weights), f"{key}_at_{percent}", arguments["reason"])
            try:
                changed |= self._changed(percent, change)
                held.append(self._held(key, ramp, percent, gate))
            except GateClosed as closed:
                self._back(gateway, start, closed)
        return self._result(changed, start, final, held, f"traffic is at {_words(final)}, {len(held)} gates passed")

    def _changed(self, percent: int, change: Change) -> bool:
        """Set one step's weights.

        :raises GateClosed: the gateway did not get there, such as for a server that its own checks have down.
        """
        answer = self.change(change).answer
        if answer.result is None:
            raise GateClosed(percent, answer.failure or answer.unreachable or "no answer")
        return bool(answer.result.get("changed"))

    def _final(self, gateway: Gateway, given: Mapping[str, t.Any]) -> dict[str, int]:
        final: dict[str, int] = {}
        for name, value in given.items():
            if name not in gateway.servers:
                raise BadInput(
                    f"{self.target}: {name!r} is no server of its gateway", f"known: {', '.join(gateway.servers)}"
                )
            weight = value if isinstance(value, int) and not isinstance(value, bool) else -1
            if isinstance(value, str) and value.isdigit():
                weight = int(value)
            if not 0 <= weight <= _LARGEST:
                raise BadInput(f"{self.target}: weight {value!r} of {name} is no whole number from 0 to {_LARGEST}")
            final[name] = weight
        if not any(final.values()) and set(final) == set(gateway.servers):
            raise BadInput(
                f"{self.target}: no server would take traffic", "use the role isolate to take a service out of traffic"
            )
        return final

    def _start(self, gateway: Gateway, final: Mapping[str, int]) -> dict[str, int]:
        """The weights before the first step, which a run that is taken up finds in its journal."""

        def look(_run: t.Any = None) -> dict[str, t.Any]:
            seen = gateway_answer(gateway, self.look(gateway_looks(gateway, final))).result_or_raise()["before"]
            found = {name: seen[f"{gateway.backend}/{gateway.servers[name]}"] for name in final}
            # A server that is taken out has no traffic, whatever its weight says.
            weights = {name: int(each["weight"]) if each["state"] == "ready" else 0 for name, each in found.items()}
            return {"changed": False, "weights": weights}

        if self.check_mode:
            return dict(look()["weights"])
        key = "_".join(f"{name}_{weight}" for name, weight in sorted(final.items()))
        kept = self.local_change(f"look_before_{key}", {"final": dict(final)}, look)
        return {str(name): int(weight) for name, weight in kept["weights"].items()}

    @staticmethod
    def _states(weights: Mapping[str, int]) -> dict[str, dict[str, t.Any]]:
        # A server with a weight takes traffic; one without keeps its state, so that it can be looked at.
        return {name: {"weight": weight, **({"state": "ready"} if weight else {})} for name, weight in weights.items()}

    def _users(self) -> list[str]:
        names = [str(name) for name in self._variables["groups"].get("codeblue_services", [])]
        return dependents_of([self.target], self._variables["hostvars"], names)

    def _held(self, key: str, ramp: Ramp, percent: int, gate: HealthGate) -> dict[str, t.Any]:
        def watch(_run: t.Any) -> dict[str, t.Any]:
            step = hold_step(ramp, percent, gate, time.monotonic, time.sleep)
            return {"changed": False, "percent": percent, "looks": step.looks, "seconds": round(step.seconds, 2)}

        return self.local_change(f"gate_{key}_{percent}", {"percent": percent, "hold": ramp.hold}, watch)

    def _back(self, gateway: Gateway, start: Mapping[str, int], closed: GateClosed) -> t.NoReturn:
        """The weights from before, and then the failure."""
        states = {name: {"weight": weight} for name, weight in start.items()}
        self.change(server_changes(gateway, states, _BACK, closed.reason)).checked()
        raise CodeblueError(
            f"{self.target}: the weights are as before again: {closed.reason} at {closed.percent} %",
            "find out what is wrong with the servers that were to take traffic, then start a new run",
        )

    def _refuse_after_failure(self) -> None:
        run = self.open_run()
        for step in run.store.steps(run.run_id):
            if step.target == self.target and step.stage == self.STAGE and step.action == _BACK:
                raise CodeblueError(
                    f"{self.target}: this run has taken the weights back: {step.decision.get('reason')}",
                    "find out what is wrong, then start a new run",
                )

    @staticmethod
    def _result(
        changed: bool, before: dict[str, int], after: dict[str, int], held: list[dict[str, t.Any]], summary: str
    ) -> dict[str, t.Any]:
        return {
            "changed": changed,
            "before": before,
            "after": after,
            "gates": held,
            "codeblue": {"summary": summary},
        }


def _words(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight}" for name, weight in weights.items())
