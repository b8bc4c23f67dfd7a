# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the distribution of a service takes its content from a region that answers."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_way import WayLook, judge_way, looks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import Distribution

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount


class DistributionPart:
    """See `AwsPart`."""

    def look(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, WayLook]:
        """From where the distributions take their content."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_distribution import (
            CdnDistribution,
            behaviours_of,
        )
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import region_for_all

        def one(place: AwsPlatform) -> tuple[str, int]:
            described = t.cast(Distribution, place.distribution)
            cdn = CdnDistribution(account, described, region_for_all(place))
            config, _tag = cdn.look()
            origins = set(behaviours_of(config).origins.values())
            return cdn.what, 100 if described.standby in origins and described.primary not in origins else 0

        return looks(account, services, one)

    def judge(self, found: AwsFindings, now: float) -> dict[str, t.Any]:
        """The judgement."""
        return judge_way(found)

    def check(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, Finding]:
        """A distribution works when requests do; they are checked as clients send them."""
        return {}


PART = DistributionPart()
