# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shares of traffic by weighted records in Route 53."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_route53 import (
    NameRecords,
    RecordSet,
    batch,
    records_of,
    same_sets,
    shared,
    simple_again,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_traffic import Moved
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY, DnsRoute

# A name has at most a hundred weighted records of each type; more pages than that are another name's.
_MOST_PAGES = 20
# Route 53 allows five questions a second for the whole account.
_PAUSE = 2.0
_FIRST_PAUSE = 0.3
_INSYNC = "INSYNC"
# What an alias of a load balancer has.
_ALIAS_TTL = 60


class DnsTraffic:
    """The record of one service.

    :param region: whose endpoint is asked. Route 53 is one service for all regions; the endpoint of a laboratory or
        proxy for a region that is gone would not answer.
    """

    def __init__(self, account: AwsAccount, route: DnsRoute, region: str) -> None:
        self._account = account
        self._route = route
        self._region = region
        self._private = False
        self.what = str(route)
        self.sides = (PRIMARY, STANDBY)

    def look(self) -> NameRecords:
        """The records as they are; see `TrafficWay.look`."""
        return records_of(self._sets(), self._route)

    def check_zone(self) -> None:
        """See that the name belongs to the zone.

        :raises BadInput: it does not.
        """
        zone = self._ask_route53("get_hosted_zone", Id=self._route.zone)["HostedZone"]
        name = str(zone["Name"]).rstrip(".")
        if self._route.name != name and not self._route.name.endswith(f".{name}"):
            raise BadInput(f"{self._route} is not in zone {self._route.zone}, which is {name}", "codeblue_aws.dns.zone")
        self._private = bool((zone.get("Config") or {}).get("PrivateZone"))

    def move(self, expected: int, side: str, percent: int, comment: str) -> Moved:
        """See `TrafficWay.move`."""
        now = self.look()
        if now.weighted and now.at(side, percent):
            return Moved(None)
        # Types that are shared differently are so from before; all of them are given the same now.
        if not now.at(side, expected) and now.share(side) != expected:
            raise self._changed(now, side)
        return self._change(now, shared(now, side, percent), comment)

    def restore(self, text: str, comment: str) -> Moved:
        """See `TrafficWay.restore`."""
        return self._change(self.look(), json.loads(text), comment)

    def simplify(self, side: str, comment: str) -> Moved:
        """Lead the name to one side by simple records, as it may have been before it was shared.

        :raises Refused: the side does not have all traffic.
        """
        now = self.look()
        if not now.weighted:
            return Moved(None)
        if not now.at(side, 100):
            raise self._changed(now, side)
        return self._change(now, simple_again(now, side), comment)

    def _change(self, now: NameRecords, after: Sequence[RecordSet], comment: str) -> Moved:
        if same_sets(now.sets, after):
            return Moved(None)
        changes = batch(now.sets, after, comment)
        try:
            answer = self._ask_route53(
                "change_resource_record_sets", HostedZoneId=self._route.zone, ChangeBatch=changes
            )
        except AwsError as error:
            # An answer that was lost, and the same batch once more: what it deletes is gone.
            if error.code != "InvalidChangeBatch":
                raise
            seen = self.look()
            if same_sets(seen.sets, after):
                return Moved(time.time())
            if same_sets(seen.sets, now.sets):
                raise
            raise Refused(
                f"{self.what}: somebody has changed it meanwhile, nothing was overwritten",
                "look what it is now, then run again",
            ) from None
        return Moved(time.time(), str(answer["ChangeInfo"]["Id"]).removeprefix("/change/"))

    def settled(self, ticket: str | None, seconds: float, renew: Callable[[], None]) -> str:
        """See `TrafficWay.settled`."""
        if ticket is None:
            return "it is not known since when all name servers have it"
        ends, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while True:
            status = self._ask_route53("get_change", Id=ticket)["ChangeInfo"]["Status"]
            if status == _INSYNC:
                return "all name servers have it"
            if time.monotonic() >= ends:
                raise CodeblueError(
                    f"{self.what}: not all name servers of Route 53 have the change {ticket} after {seconds:g} s",
                    "look at the AWS health page; codeblue resume waits on",
                )
            renew()
            time.sleep(min(pause, max(0.0, ends - time.monotonic())))
            pause = min(pause * 1.5, _PAUSE)

    def complaint(self, side: str) -> str:
        """See `TrafficWay.complaint`: a health check of Route 53 that fails takes a side out of the answers."""
        check = self._route.side(side).health_check
        if check is None:
            return ""
        seen = self._ask_route53("get_health_check_status", HealthCheckId=check).get("HealthCheckObservations") or []
        failing = [each for each in seen if not _succeeds(each)]
        # Route 53 counts a side as well while more than 18 % of its checkers say so.
        if seen and len(failing) >= len(seen) * (1 - 0.18):
            return f"health check {check} of Route 53 fails for {len(failing)} of {len(seen)} checkers"
        return ""

    def way_back(self, text: str) -> str:
        """See `TrafficWay.way_back`."""
        return (
            f"aws route53 change-resource-record-sets --hosted-zone-id {self._route.zone} with a batch that deletes"
            f" what is there for {self._route.name} and creates {text}"
        )

    def afterwards(self, text: str) -> str:
        """See `TrafficWay.afterwards`."""
        ttl = max((int(each.get("TTL", _ALIAS_TTL)) for each in json.loads(text)), default=_ALIAS_TTL)
        private = ", inside the networks of the private zone only" if self._private else ""
        return f"answers from before live for up to {ttl} s more, and longer where a TTL is not kept to{private}"

    def _sets(self) -> list[RecordSet]:
        found: list[RecordSet] = []
        onward: dict[str, t.Any] = {"StartRecordName": self._route.name}
        for _page in range(_MOST_PAGES):
            answer = self._ask_route53(
                "list_resource_record_sets", HostedZoneId=self._route.zone, MaxItems="100", **onward
            )
            found += answer["ResourceRecordSets"]
            names = {str(each["Name"]) for each in answer["ResourceRecordSets"]}
            if not answer.get("IsTruncated") or answer.get("NextRecordName") not in names:
                break
            given = {"NextRecordName": "StartRecordName", "NextRecordType": "StartRecordType"}
            given["NextRecordIdentifier"] = "StartRecordIdentifier"
            onward = {start: answer[key] for key, start in given.items() if answer.get(key)}
        return found

    def _ask_route53(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        return self._account.ask("route53", operation, self._region, self._route.name, **parameters)

    def _changed(self, now: NameRecords, side: str) -> Refused:
        return Refused(
            f"{self.what}: somebody has given {side} {now.share(side)} % meanwhile, nothing was overwritten",
            "look whether that works; start a new run to go on from there",
        )


def _succeeds(observation: t.Mapping[str, t.Any]) -> bool:
    return str((observation.get("StatusReport") or {}).get("Status") or "").lower().startswith("success")
