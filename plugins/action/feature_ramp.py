# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Gives a feature back to those who use it, a few requests first, with a gate at each step."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._feature_changes import (
    OFF,
    FeatureState,
    feature_of,
    flag_changes,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._flag_action import FlagAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._health_gate import HealthGate, ramp_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ramp import (
    STEPS,
    GateClosed,
    Ramp,
    hold_step,
    read_steps,
    share_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_BACK = "back_to_off"
_SETTLE = 0.1


class ActionModule(FlagAction):
    """See plugins/modules/feature_ramp.py."""

    STAGE = "ramp"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "feature": {"type": "str"},
        "normal": {"type": "dict", "required": True},
        "begin": {"type": "str", "choices": ["off", "as_it_is"], "default": "off"},
        "steps": {"type": "list", "elements": "int", "default": list(STEPS)},
        "hold": {"type": "str", "default": "1m"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.ready_for(service)
        feature = feature_of(service, arguments["feature"])
        ramp = ramp_for(service, read_steps(arguments["steps"]), parse_duration(arguments["hold"], "hold"))
        normal = _normal(arguments["normal"])
        if normal.percent == 0:
            return _result(False, [], f"{feature.name} was off before and stays off")
        before = self._before(service, feature, arguments["begin"])
        if before.percent >= normal.percent:
            return _result(False, [], f"{feature.name} is on for {before.percent:g} % already")
        # Without a share it is given at once, behind the same gate.
        steps = ramp.steps if feature.share is not None else (100,)
        states = {percent: _state(percent, normal) for percent in steps}
        states = {percent: state for percent, state in states.items() if state.percent > before.percent}
        if self.check_mode:
            first, state = next(iter(states.items()))
            planned = self.switch_flags(flag_changes(service, feature, state, f"to_{first}", "", settle=0.0))
            shares = ", ".join(f"{state.percent:g} %" for state in states.values())
            return _result(any(each.checked().result["changed"] for each in planned), [], f"would give {shares}")
        self._refuse_after_failure(feature)
        held = []
        gate = HealthGate(service, self.services([service.name, feature.used_by]), self.look, self._secrets.add)
        changed = False
        # Nothing is given to a service that does not work for itself; one failed look can be the look.
        if reason := gate.instances() and gate.instances():
            self._back(service, feature, GateClosed(0, reason))
        for percent, state in states.items():
            try:
                wanted = flag_changes(service, feature, state, f"to_{percent}", "traffic back", before, _SETTLE)
                changed |= self._set_share(percent, wanted)
                held.append(self._held(feature, ramp, percent, gate))
            except GateClosed as closed:
                self._back(service, feature, closed)
            before = state
        return _result(changed, held, f"{feature.name} is back for {normal.percent:g} %, {len(held)} gates passed")

    def _set_share(self, percent: int, wanted: Sequence[Change]) -> bool:
        """Set one step's share in every place.

        :raises GateClosed: a place did not get there; half of them on is no step.
        :raises CodeblueError: somebody else has changed a flag, and it is left as it is.
        """
        ended = self.switch_flags(wanted, seen_by_all=True)
        for each in ended:
            if each.answer.result is None and each.answer.exit_code != Refused.exit_code:
                raise GateClosed(percent, f"{each.change.machine}: {each.answer.failure or each.answer.unreachable}")
        return any(each.checked().result["changed"] for each in ended)

    def _before(self, service: Service, feature: Feature, begin: str) -> FeatureState:
        """Where the ramp begins; what is looked up is kept, so that a resumed run begins there too."""
        if begin == "off":
            return OFF if feature.share is not None else FeatureState(enabled=False)

        def look(_run: t.Any = None) -> dict[str, t.Any]:
            states = [FeatureState.of(feature, each) for each in self.flags_now(feature)]
            return {"changed": False, **min(states, key=lambda state: state.percent).as_dict()}

        found = look() if self.check_mode else self.local_change(f"look_at_{feature.name}", {}, look)
        return FeatureState(found["enabled"], found["share"])

    def _held(self, feature: Feature, ramp: Ramp, percent: int, gate: HealthGate) -> dict[str, t.Any]:
        def watch(_run: t.Any) -> dict[str, t.Any]:
            self.until_refreshed(feature)
            step = hold_step(ramp, percent, gate, time.monotonic, time.sleep)
            return {"changed": False, "percent": percent, "looks": step.looks, "seconds": round(step.seconds, 2)}

        return self.local_change(f"gate_{feature.name}_{percent}", {"percent": percent, "hold": ramp.hold}, watch)

    def _back(self, service: Service, feature: Feature, closed: GateClosed) -> t.NoReturn:
        """Off again, in every place, before anybody is told."""
        wanted = OFF if feature.share is not None else FeatureState(enabled=False)
        ended = self.switch_flags(flag_changes(service, feature, wanted, _BACK, closed.reason))
        for each in ended:
            each.checked()
        raise CodeblueError(
            f"{feature.name} is off again: {closed.reason} at {closed.percent} %",
            f"{feature.used_by} goes on with its manual fallback; find out what is wrong, then run the runbook again",
        )

    def _refuse_after_failure(self, feature: Feature) -> None:
        """A run that is taken up after its gate was closed does not open it again."""
        run = self.open_run()
        for step in run.store.steps(run.run_id):
            if step.target == self.target and step.stage == self.STAGE and step.action.startswith(_BACK):
                reason = str(step.decision.get("reason") or "its gate was closed")
                raise CodeblueError(
                    f"{feature.name} was switched off again by this run: {reason}",
                    f"{feature.used_by} goes on with its manual fallback; find out what is wrong, then start a new run",
                )


def _normal(value: dict[str, t.Any]) -> FeatureState:
    enabled, share = value.get("enabled"), value.get("share")
    if not isinstance(enabled, bool | None) or not isinstance(share, int | float | None) or isinstance(share, bool):
        raise BadInput("normal: must hold enabled and share as feature_switch returns them")
    return FeatureState(enabled, None if share is None else float(share))


def _state(percent: int, normal: FeatureState) -> FeatureState:
    """The last step is exactly what was there before."""
    return normal if percent == 100 else FeatureState(enabled=True, share=share_at(percent, normal.percent))


def _result(changed: bool, held: list[dict[str, t.Any]], summary: str) -> dict[str, t.Any]:
    return {"changed": changed, "gates": held, "codeblue": {"summary": summary}}
