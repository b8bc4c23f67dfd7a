# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The actions of a listener or rule of a load balancer (ELBv2), and which of them share traffic. Pure.

A listener or rule is given all its actions at once; those before the one that forwards, such as a login, are given back
as they were.
"""

from __future__ import annotations

import copy
import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import name_of_arn

#: Weights of all target groups add up to this; ELBv2 takes up to 999 for each.
WHOLE = 100

Action = Mapping[str, t.Any]


@dataclass(frozen=True)
class ForwardedShares:
    """How one listener or rule shares traffic between target groups.

    :param what: it is, for people.
    :param actions: as ELBv2 describes them.
    :param groups: what a side is called, to its ARN.
    """

    what: str
    actions: tuple[Action, ...]
    groups: Mapping[str, str]

    @property
    def weights(self) -> dict[str, int]:
        """ARN to weight."""
        return forward_weights(self._forward())

    @property
    def sticky_seconds(self) -> int:
        """How long a client stays with the target group that it was given first; 0 when it does not."""
        settings = (self._forward().get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
        return int(settings.get("DurationSeconds") or 0) if settings.get("Enabled") else 0

    def share(self, side: str) -> int:
        """See `Shared.share`."""
        weights = self.weights
        total = sum(weights.values())
        return round(100 * weights.get(self.groups[side], 0) / total) if total else 0

    def at(self, side: str, percent: int) -> bool:
        """See `Shared.at`."""
        weights = self.weights
        return weights.get(self.groups[side]) == percent and sum(weights.values()) == WHOLE

    def text(self) -> str:
        """See `Shared.text`."""
        return json.dumps([sendable(each) for each in self.actions], sort_keys=True, separators=(",", ":"))

    def with_share(self, side: str, percent: int) -> list[dict[str, t.Any]]:
        """All actions, with so many percent for a side and the rest for the others as they shared it.

        :raises Refused: a group that is no side takes traffic.
        """
        known, weights = set(self.groups.values()), self.weights
        strange = next((arn for arn, weight in weights.items() if weight and arn not in known), None)
        if strange is not None:
            raise Refused(
                f"{self.what} forwards to target group {name_of_arn(strange)} too, which codeblue_aws does not name:"
                " nothing was changed",
                "add it to codeblue_aws.load_balancer.target_groups",
            )
        own = self.groups[side]
        others = {arn: weight for arn, weight in weights.items() if arn != own}
        total, rest = sum(others.values()), WHOLE - percent
        if rest and not others:
            raise Refused(f"{self.what} forwards to {side} only: nothing was changed", "there is nobody else to share")
        shares = {arn: (rest * w // total if total else rest // len(others)) for arn, w in others.items()}
        if others:
            largest = max(others, key=lambda arn: others[arn])
            shares[largest] += rest - sum(shares.values())
        config = copy.deepcopy(dict(self._forward().get("ForwardConfig") or {}))
        config["TargetGroups"] = [
            *({"TargetGroupArn": arn, "Weight": weight} for arn, weight in shares.items()),
            {"TargetGroupArn": own, "Weight": percent},
        ]
        made = []
        for each in self.actions:
            sent = sendable(each)
            if each["Type"] == "forward":
                sent["ForwardConfig"] = config
                sent.pop("TargetGroupArn", None)
            made.append(sent)
        return made

    def _forward(self) -> Action:
        found = next((each for each in self.actions if each["Type"] == "forward"), None)
        if found is None:
            kinds = ", ".join(str(each["Type"]) for each in self.actions) or "nothing"
            raise Refused(f"{self.what} does not forward but has {kinds}: nothing was changed", "end maintenance first")
        return found


def forward_weights(action: Action) -> dict[str, int]:
    """ARN to weight of an action that forwards; a single target group has all traffic without one."""
    groups: Sequence[Mapping[str, t.Any]] = (action.get("ForwardConfig") or {}).get("TargetGroups") or ()
    if not groups:
        return {str(action["TargetGroupArn"]): 1} if action.get("TargetGroupArn") else {}
    return {str(each["TargetGroupArn"]): int(each.get("Weight", 1)) for each in groups}


def sendable(action: Action) -> dict[str, t.Any]:
    """An action as it is described, in the form in which it can be given again."""
    sent = copy.deepcopy(dict(action))
    if len((sent.get("ForwardConfig") or {}).get("TargetGroups") or ()) > 1:
        sent.pop("TargetGroupArn", None)
    if sent.get("AuthenticateOidcConfig"):
        # It is described without its secret, and keeps the one that it has.
        sent["AuthenticateOidcConfig"]["UseExistingClientSecret"] = True
        sent["AuthenticateOidcConfig"].pop("ClientSecret", None)
    return sent


def target_complaint(name: str, targets: Sequence[Mapping[str, t.Any]]) -> str:
    """What speaks against traffic for a target group; empty when every target works and there is one.

    :param name: of the group.
    :param targets: `TargetHealthDescriptions` of ELBv2.
    """
    # What leaves takes no new requests.
    staying = [each for each in targets if each["TargetHealth"]["State"] != "draining"]
    if not staying:
        return f"target group {name} has no targets"
    for each in staying:
        health = each["TargetHealth"]
        if health["State"] != "healthy":
            return f"target {target_name(each)} of {name} is {health['State']}{_reason(health)}"
    return ""


def target_name(target: Mapping[str, t.Any]) -> str:
    """For people."""
    port = target["Target"].get("Port")
    return f"{target['Target']['Id']}{f':{port}' if port else ''}"


def _reason(health: Mapping[str, t.Any]) -> str:
    said = [str(health[key]) for key in ("Reason", "Description") if health.get(key)]
    return f" ({': '.join(said)})" if said else ""
