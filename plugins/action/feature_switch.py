# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Switches a feature off or on in every place that holds its flags."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._feature_changes import (
    OFF,
    FeatureState,
    feature_of,
    flag_changes,
    normal_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._flag_action import FlagAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Changed


class ActionModule(FlagAction):
    """See plugins/modules/feature_switch.py."""

    STAGE = "feature"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "feature": {"type": "str"},
        "state": {"type": "str", "choices": ["off", "on"], "required": True},
        "share": {"type": "float"},
        "reason": {"type": "str", "default": ""},
        "when_put_back": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.ready_for(service)
        feature = feature_of(service, arguments["feature"])
        wanted = self._wanted(arguments, feature.share is not None)
        action = f"{feature.name}_{arguments['state']}"
        ended = self.switch_flags(flag_changes(service, feature, wanted, action, arguments["reason"]))
        problems = {each.change.machine: problem for each in ended if (problem := _problem(each))}
        if problems and (arguments["when_put_back"] == "fail" or len(problems) == len(ended)):
            # Nobody is told to go on with a fallback that is on nowhere.
            self._raise_first(ended)
        normal = normal_of(feature, ended)
        changed = any(bool((each.answer.result or {}).get("changed")) for each in ended)
        return {
            "changed": changed,
            "feature": feature.name,
            "normal": normal.as_dict(),
            "problems": problems,
            "codeblue": {"summary": self._summary(feature, wanted, changed, problems) + self.afterwards()},
        }

    @staticmethod
    def _wanted(arguments: dict[str, t.Any], has_share: bool) -> FeatureState:
        share = arguments["share"]
        if arguments["state"] == "off":
            return OFF if has_share else FeatureState(enabled=False)
        if share is not None and not has_share:
            raise BadInput("share: this feature is on or off only", "leave share out, or name its flag")
        if share is not None and not 0 < share <= 100:
            raise BadInput(f"share: {share:g} is not above 0 and at most 100", "say how many of a hundred requests")
        return FeatureState(enabled=True, share=share if share is not None else 100.0 if has_share else None)

    @staticmethod
    def _raise_first(ended: list[Changed]) -> None:
        for each in ended:
            problem = _problem(each)
            if problem is not None:
                raise CodeblueError(problem, each.answer.hint, each.answer.exit_code)

    def _summary(self, feature: Feature, wanted: FeatureState, changed: bool, problems: dict[str, str]) -> str:
        what = "off" if wanted.enabled is False else f"on for {wanted.percent:g} %"
        if changed:
            verb = "would switch" if self.check_mode else "switched"
            said = f"{verb} {feature.name} of {feature.used_by} {what}"
        else:
            said = f"{feature.name} of {feature.used_by} is {what} already"
        return f"{said}; not on {', '.join(problems)}: {next(iter(problems.values()))}" if problems else said


def _problem(ended: Changed) -> str | None:
    if ended.answer.unreachable is not None:
        return f"{ended.change.machine} cannot be reached: {ended.answer.unreachable}"
    return f"{ended.change.machine}: {ended.answer.failure}" if ended.answer.failure is not None else None
