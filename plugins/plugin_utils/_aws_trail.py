# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""CloudTrail's event history: what was done with a key, and from where.

The history holds calls that manage something, of the last 90 days, some minutes after they were made. What was done
with objects and rows is not in it. It answers twice a second in each region:
https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

from __future__ import annotations

import ipaddress
import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

_IN_A_PAGE = 50
_PATIENCE_SECONDS = 6.0
_MOST_NAMES = 10
# Reading these gives away what they hold.
_READS = frozenset({"GetSecretValue", "BatchGetSecretValue", "GetParameter", "GetParameters", "GetParametersByPath"})

Event = Mapping[str, t.Any]


@dataclass(frozen=True)
class ForeignUse:
    """How a key was used from outside of the known networks.

    :param user: whose key it is.
    :param key: its last letters.
    :param addresses: from where.
    :param operations: what was asked for.
    :param reads_secrets: whether secrets or parameters were read.
    """

    user: str
    key: str
    addresses: tuple[str, ...]
    operations: tuple[str, ...]
    calls: int
    reads_secrets: bool

    @property
    def said(self) -> str:
        """For people."""
        what = ", ".join(self.operations[:3])
        return (
            f"key {self.key} of user {self.user} was used {self.calls} times ({what}) from "
            f"{', '.join(self.addresses[:3])}, which is in no known network"
        )


def events(
    account: AwsAccount,
    attribute: str,
    value: str,
    since: float,
    most_pages: int = 1,
    region: str | None = None,
    until: float | None = None,
) -> list[dict[str, t.Any]]:
    """Events, the newest first, as CloudTrail has written them.

    :param attribute: as `AccessKeyId`, `Username`, `ResourceName`.
    :param since: Unix seconds.
    :raises AwsError: it cannot be asked.
    """
    found: list[dict[str, t.Any]] = []
    onward: dict[str, str] = {}
    for _page in range(most_pages):
        answer = account.ask(
            "cloudtrail",
            "lookup_events",
            region=region,
            about=f"events of {attribute}",
            patience=_PATIENCE_SECONDS,
            LookupAttributes=[{"AttributeKey": attribute, "AttributeValue": value}],
            StartTime=datetime.fromtimestamp(since, UTC),
            MaxResults=_IN_A_PAGE,
            **({"EndTime": datetime.fromtimestamp(until, UTC)} if until is not None else {}),
            **onward,
        )
        found += [_event(each) for each in answer.get("Events") or ()]
        if not answer.get("NextToken"):
            break
        onward = {"NextToken": str(answer["NextToken"])}
    return found


def foreign_use(user: str, key: str, found: Iterable[Event], known: Sequence[str]) -> ForeignUse | None:
    """How a key was used from elsewhere; None when it was not.

    :param key: its last letters.
    :param known: networks.
    """
    networks = [ipaddress.ip_network(each) for each in known]
    addresses: dict[str, None] = {}
    operations: dict[str, None] = {}
    calls = 0
    for event in found:
        source = str(event.get("sourceIPAddress") or "")
        # A refused call is one as well. What a service of AWS did for somebody has its name in place of an address.
        if _is_foreign(source, networks):
            addresses[source] = operations[str(event.get("eventName") or "")] = None
            calls += 1
    if not calls:
        return None
    names = tuple(operations)
    return ForeignUse(user, key, tuple(addresses)[:_MOST_NAMES], names[:_MOST_NAMES], calls, bool(_READS & set(names)))


def _is_foreign(source: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    return not any(address in network for network in networks)


def _event(entry: Event) -> dict[str, t.Any]:
    try:
        whole = json.loads(str(entry.get("CloudTrailEvent") or "{}"))
    except ValueError:
        whole = {}
    return whole if isinstance(whole, dict) else {}
