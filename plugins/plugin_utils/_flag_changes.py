# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flags of a service: which earlier state to go back to at each place, and the changes that bring them there."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Set

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import FlagPlace
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import WayBack, came_at

#: Under which kind bad flags are marked in the state store.
KIND = "flags"
LOOK_SECONDS = 20.0
_SETTLE_SECONDS = 0.2
_SECONDS = 20.0


def with_flag_history(service: Service) -> list[FlagPlace]:
    """The places whose flags have a history."""
    return [place for place in service.require_host().flags if place.has_history]


def flag_history_call(place: FlagPlace) -> MachineCall:
    """Asks a place which states its flags had."""
    return MachineCall(
        place.machine, "codeblue.recovery.feature_flag", place.as_arguments(), LOOK_SECONDS, check_mode=True
    )


def flags_back(number: int, place: FlagPlace, seen: Mapping[str, t.Any], marked: Set[str]) -> WayBack | None:
    """The newest earlier state of one place that is not marked bad; None when there is none, or when nobody knows
    since when the flags are as they are.

    :param number: of the place, from 0.
    :param seen: the result of `flag_history_call`.
    """
    history = list(seen.get("history") or [])
    if not history:
        return None
    present = history[0]
    changed_at = came_at(history, present["version"], "changed_at")
    good = next(
        (each for each in history[1:] if each["version"] != present["version"] and each["version"] not in marked), None
    )
    if good is None or not changed_at:
        return None
    before, now = good["flags"], present["flags"]
    wanted = {name: before.get(name) for name in {*before, *now} if name not in before or before[name] != now.get(name)}
    expected = {name: now.get(name) for name in wanted}
    details = {"place": number, "flags": wanted, "expect": expected}
    return WayBack(place.machine, present["version"], good["version"], changed_at, details)


def flags_change(service: Service, way: WayBack, why: str) -> Change:
    """Sets the flags of one place as they were."""
    number = int(way.details["place"])
    place = service.require_host().flags[number]
    return Change(
        action=f"flags_{number}_{place.machine}_to_{way.good}",
        machine=place.machine,
        module="feature_flag",
        arguments={
            **place.as_arguments(),
            "flags": dict(way.details["flags"]),
            "expect": dict(way.details["expect"]),
            "settle": _SETTLE_SECONDS,
            "reason": why,
        },
        decision={"from": way.bad, "to": way.good, "flags": dict(way.details["flags"]), "reason": why},
        seconds=_SECONDS,
        target=service.name,
    )
