# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the DNS record of a service leads to a region that answers."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_way import WayLook, judge_way, looks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import STANDBY, DnsRoute

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount


class DnsPart:
    """See `AwsPart`."""

    def look(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, WayLook]:
        """Where the records lead."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_dns_traffic import DnsTraffic
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import region_for_all

        def one(place: AwsPlatform) -> tuple[str, int]:
            way = DnsTraffic(account, t.cast(DnsRoute, place.dns), region_for_all(place))
            return way.what, way.look().share(STANDBY)

        return looks(account, services, one)

    def judge(self, found: AwsFindings, now: float) -> dict[str, t.Any]:
        """The judgement."""
        return judge_way(found)

    def check(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, Finding]:
        """A record works when requests do; they are checked as clients send them."""
        return {}


PART = DnsPart()
