# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether services of ECS run in their standby region, asked when their own region gives no answer.

A few tasks that wait there for a failover are no service yet: as many have to run as the inventory wants there.
"""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby_tasks import counts_of, service_in
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform


def found_in_standby(account: AwsAccount, services: Mapping[str, AwsPlatform], silent: str) -> dict[str, Finding]:
    """The findings, by service.

    :param silent: why their own region gives no answer.
    """

    def look(name: str) -> Finding:
        place = services[name]
        tasks, region = place.standby.ecs or place.ecs, place.standby_region
        if tasks is None or region is None:
            return Finding("api_unavailable", silent)
        wanted = tasks.desired or (place.ecs.desired if place.ecs is not None else None) or 1
        try:
            running = counts_of(service_in(account, tasks, region)).running
        except AwsError as error:
            return Finding("api_unavailable", f"{silent}; {error.message}")
        if running >= wanted:
            return Finding(None, f"{running} tasks run in {region}")
        return Finding("api_unavailable", f"{silent}; {running} of {wanted} tasks run in {region}")

    names = list(services)
    return dict(zip(names, account.side_by_side(names, look), strict=True))
