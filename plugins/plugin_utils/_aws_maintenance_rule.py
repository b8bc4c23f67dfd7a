# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rule of a load balancer (ELBv2) that answers by itself while a service is in maintenance."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import region_of_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import Moved
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import LoadBalancer

#: By this tag a rule is known as one of these.
TAG = "codeblue-maintenance"
# What of a condition ELBv2 takes again: each kind has a part of its own, and the older form beside it.
_CONFIGS = (
    "HostHeaderConfig",
    "PathPatternConfig",
    "HttpHeaderConfig",
    "QueryStringConfig",
    "HttpRequestMethodConfig",
    "SourceIpConfig",
)
_EVERYTHING = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["*"]}}

Rule = Mapping[str, t.Any]


class MaintenanceRule:
    """The rule of one service."""

    def __init__(self, account: AwsAccount, balancer: LoadBalancer) -> None:
        self._account = account
        self._balancer = balancer
        self.what = f"maintenance rule of listener {balancer.listener.rpartition('/')[2]}"

    def look(self) -> str | None:
        """The ARN of the rule; None when there is none.

        :raises Refused: another rule has its place.
        """
        return self._own(self._rules())

    def put(self, run_id: str) -> Moved:
        """Have the load balancer answer by itself, for what would reach the service.

        :param run_id: for who looks at the rule.
        """
        rules = self._rules()
        if self._own(rules) is not None:
            return Moved(None)
        response = self._balancer.maintenance
        self._ask_rules(
            "create_rule",
            ListenerArn=self._balancer.listener,
            Conditions=self._conditions(rules),
            Priority=response.priority,
            Actions=[
                {
                    "Type": "fixed-response",
                    "FixedResponseConfig": {
                        "StatusCode": response.status,
                        "ContentType": response.content_type,
                        "MessageBody": response.body,
                    },
                }
            ],
            Tags=[{"Key": TAG, "Value": run_id}],
        )
        return Moved(time.time())

    def take_away(self) -> Moved:
        """Have it forward again."""
        own = self.look()
        if own is None:
            return Moved(None)
        self._ask_rules("delete_rule", RuleArn=own)
        return Moved(time.time())

    def _own(self, rules: list[Rule]) -> str | None:
        priority = str(self._balancer.maintenance.priority)
        found = next((each for each in rules if str(each["Priority"]) == priority), None)
        if found is None:
            return None
        arn = str(found["RuleArn"])
        tags = self._ask_rules("describe_tags", ResourceArns=[arn]).get("TagDescriptions") or ()
        if any(each["Key"] == TAG for one in tags for each in one.get("Tags") or ()):
            return arn
        raise Refused(
            f"{self.what}: another rule has the priority {priority}, nothing was changed",
            "name a free one before all that forward in codeblue_aws.load_balancer.maintenance.priority",
        )

    def _conditions(self, rules: list[Rule]) -> list[dict[str, t.Any]]:
        """Those of the service's own rule, so that others behind the same listener go on; else everything.

        :raises Refused: the rule of the service comes first.
        """
        wanted = self._balancer.rule
        if wanted is None:
            return [_EVERYTHING]
        own = next((each for each in rules if each["RuleArn"] == wanted), None)
        if own is None:
            raise Refused(
                f"{self.what}: the rule of the service is not among its rules", "codeblue_aws.load_balancer.rule"
            )
        if str(own["Priority"]).isdigit() and int(own["Priority"]) <= self._balancer.maintenance.priority:
            raise Refused(
                f"{self.what}: the rule of the service has the priority {own['Priority']} and would come first,"
                " nothing was changed",
                "name a smaller one in codeblue_aws.load_balancer.maintenance.priority",
            )
        return [_sendable(each) for each in own["Conditions"]] or [_EVERYTHING]

    def _rules(self) -> list[Rule]:
        region = region_of_arn(self._balancer.listener)
        return self._account.ask_all(
            "elbv2", "describe_rules", "Rules", region, self.what, ListenerArn=self._balancer.listener
        )

    def _ask_rules(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        return self._account.ask("elbv2", operation, region_of_arn(self._balancer.listener), self.what, **parameters)


def _sendable(condition: Mapping[str, t.Any]) -> dict[str, t.Any]:
    config = {key: condition[key] for key in _CONFIGS if condition.get(key)}
    return {"Field": condition["Field"], **(config or {"Values": list(condition.get("Values") or ())})}
