# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How features are switched: the changes to their flags, and what they were before."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed

_SECONDS = 20.0
#: In place of a module's name: the flags are in a ConfigMap or a parameter, behind an API.
BEHIND_API = "behind_api"
_ALL = 100.0


@dataclass(frozen=True)
class FeatureState:
    """A feature as its flags have it.

    :param enabled: None when no flag says so, which services take for on.
    :param share: percent of requests; None when no flag says so, which services take for all.
    """

    enabled: bool | None = None
    share: float | None = None

    @property
    def percent(self) -> float:
        """Percent of requests that use it."""
        if self.enabled is False:
            return 0.0
        return _ALL if self.share is None else self.share

    def flags(self, feature: Feature) -> dict[str, t.Any]:
        """As the module `feature_flag` takes them; None takes a flag away."""
        flags: dict[str, t.Any] = {feature.enabled: self.enabled}
        if feature.share is not None:
            share = self.share
            flags[feature.share] = int(share) if share is not None and float(share).is_integer() else share
        return flags

    def as_dict(self) -> dict[str, t.Any]:
        return {"enabled": self.enabled, "share": self.share}

    @classmethod
    def of(cls, feature: Feature, flags: Mapping[str, t.Any]) -> FeatureState:
        """Out of flags; one that is no truth or number counts as not there."""
        enabled = flags.get(feature.enabled)
        share = flags.get(feature.share) if feature.share is not None else None
        usable = isinstance(share, (int, float)) and not isinstance(share, bool)
        return cls(
            enabled if isinstance(enabled, bool) else None,
            min(_ALL, max(0.0, float(share))) if usable and share is not None else None,
        )


OFF = FeatureState(enabled=False, share=0.0)


def feature_of(service: Service, name: str | None) -> Feature:
    """The feature of a name, or the only one.

    :raises BadInput: the service has none of that name, or several and none was named.
    """
    features = service.features
    place = f"codeblue_{service.platform}.features"
    known = ", ".join(features) or "none"
    if name is None and len(features) == 1:
        return next(iter(features.values()))
    if name is None or name not in features:
        raise BadInput(
            f"{service.name}: feature {name!r} is not in {place}"
            if name
            else f"{service.name}: which feature is meant cannot be told",
            f"known: {known}",
        )
    return features[name]


def flag_changes(
    service: Service,
    feature: Feature,
    wanted: FeatureState,
    action: str,
    reason: str,
    expect: FeatureState | None = None,
    settle: float = 0.5,
) -> list[Change]:
    """One change for each place.

    :param action: the part of the step key; the number of the place is added.
    :param expect: what the flags must be right now.
    :param settle: seconds after which each place looks whether the flags stayed.
    """
    expected = expect.flags(feature) if expect is not None else {}
    return [
        Change(
            action=f"{action}_{number}_{(place.behind_api.name if place.behind_api else place.machine).strip('/')}",
            machine=str(place.behind_api or place.machine),
            module=BEHIND_API if place.behind_api else "feature_flag",
            arguments={
                **({"place": place.behind_api} if place.behind_api else {**place.as_arguments(), "settle": settle}),
                "flags": wanted.flags(feature),
                **({"expect": expected} if expected else {}),
            },
            decision={"feature": feature.name, **wanted.as_dict(), "reason": reason},
            seconds=_SECONDS + settle,
            target=service.name,
        )
        for number, place in enumerate(feature.places, start=1)
    ]


def normal_of(feature: Feature, ended: Sequence[Changed]) -> FeatureState:
    """What the flags were before they were changed; where places differ, what lets the fewest requests in."""
    states = [FeatureState.of(feature, each.result["before"]) for each in ended if each.answer.result is not None]
    return min(states, key=lambda state: state.percent, default=FeatureState())
