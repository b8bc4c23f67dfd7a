# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shares of traffic by the weights of target groups in a load balancer (ELBv2)."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import name_of_arn, region_of_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_forwarding import (
    ForwardedShares,
    sendable,
    target_complaint,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import Moved
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import LoadBalancer


class LoadBalancerTraffic:
    """The listener or rule of one service.

    A target group that no rule names has no health: before its first percent it is named with the weight 0, so that the
    load balancer looks at its targets.
    """

    def __init__(self, account: AwsAccount, balancer: LoadBalancer) -> None:
        if not balancer.target_groups:
            raise BadInput("codeblue_aws.load_balancer.target_groups is missing", "name the target groups")
        self._account = account
        self._balancer = balancer
        self.what = str(balancer)
        self.sides = tuple(balancer.target_groups)

    def look(self) -> ForwardedShares:
        """The actions as they are; see `TrafficWay.look`."""
        if self._balancer.rule is not None:
            found = self._ask_forwarding("describe_rules", RuleArns=[self._balancer.rule])["Rules"][0]["Actions"]
        else:
            found = self._ask_forwarding("describe_listeners", ListenerArns=[self._balancer.listener])["Listeners"][0][
                "DefaultActions"
            ]
        return ForwardedShares(self.what, tuple(found), self._balancer.target_groups)

    def move(self, expected: int, side: str, percent: int, comment: str) -> Moved:
        """See `TrafficWay.move`; ELBv2 keeps no comment."""
        now = self.look()
        if now.at(side, percent):
            return Moved(None)
        if now.share(side) != expected:
            raise Refused(
                f"{self.what}: somebody has given {side} {now.share(side)} % meanwhile, nothing was overwritten",
                "look whether that works; start a new run to go on from there",
            )
        return self._change(now.with_share(side, percent))

    def join(self, side: str) -> Moved:
        """Have the load balancer look at the targets of a side before it gets traffic."""
        now = self.look()
        if self._balancer.target_groups[side] in now.weights:
            return Moved(None)
        return self._change(now.with_share(side, 0))

    def restore(self, text: str, comment: str) -> Moved:
        """See `TrafficWay.restore`."""
        actions = json.loads(text)
        if [sendable(each) for each in self.look().actions] == actions:
            return Moved(None)
        return self._change(actions)

    def settled(self, ticket: str | None, seconds: float, renew: Callable[[], None]) -> str:
        """See `TrafficWay.settled`: a load balancer answers when it has it."""
        return "the load balancer has it"

    def complaint(self, side: str) -> str:
        """See `TrafficWay.complaint`."""
        arn = self._balancer.target_groups[side]
        return group_complaint(self._account, arn)

    def way_back(self, text: str) -> str:
        """See `TrafficWay.way_back`."""
        rule = self._balancer.rule
        verb, option = (
            ("modify-rule --rule-arn", "actions") if rule else ("modify-listener --listener-arn", "default-actions")
        )
        return f"aws elbv2 {verb} {rule or self._balancer.listener} --{option} '{text}'"

    def afterwards(self, text: str) -> str:
        """See `TrafficWay.afterwards`."""
        before = ForwardedShares(self.what, tuple(json.loads(text)), self._balancer.target_groups)
        seconds = before.sticky_seconds
        return f"clients with a cookie stay where they are for up to {seconds} s" if seconds else ""

    def _change(self, actions: list[dict[str, t.Any]]) -> Moved:
        if self._balancer.rule is not None:
            self._ask_forwarding("modify_rule", RuleArn=self._balancer.rule, Actions=actions)
        else:
            self._ask_forwarding("modify_listener", ListenerArn=self._balancer.listener, DefaultActions=actions)
        return Moved(time.time())

    def _ask_forwarding(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        region = region_of_arn(self._balancer.listener)
        return self._account.ask("elbv2", operation, region, self.what, **parameters)


def group_complaint(account: AwsAccount, arn: str) -> str:
    """What speaks against traffic for a target group, with the reason that the load balancer has."""
    name = name_of_arn(arn)
    answer: Mapping[str, t.Any] = account.ask(
        "elbv2", "describe_target_health", region_of_arn(arn), f"target group {name}", TargetGroupArn=arn
    )
    return target_complaint(name, answer["TargetHealthDescriptions"])
