"""Route 53 as it takes changes: a batch is done as a whole or not at all, and a name is simple or routed, not both.

Moto does one change after the other, lets both kinds stand side by side, and deletes every record with an identifier,
whatever its name.
"""

from __future__ import annotations

import copy
import typing as t

from moto.route53.exceptions import Route53ClientError
from moto.route53.models import RecordSet, Route53Backend

_ROUTED = ("weight", "region", "failover", "geo_location", "multi_value_answer")


class InvalidChangeBatch(Route53ClientError):
    """A batch that Route 53 refuses."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidChangeBatch", f"[{message}]")


class LabRoute53(Route53Backend):
    """Moto's Route 53 with that."""

    def change_resource_record_sets(self, zoneid: str, change_list: list[dict[str, t.Any]]) -> None:
        zone = self.get_hosted_zone(zoneid)
        before = list(zone.rrsets)
        try:
            for change in copy.deepcopy(change_list):
                _apply(zone, change["Action"], change["ResourceRecordSet"])
            _check(zone)
        except InvalidChangeBatch:
            zone.rrsets = before
            raise
        for change in change_list:
            zone.rr_changes.append(copy.deepcopy(change))


def _apply(zone: t.Any, action: str, wanted: dict[str, t.Any]) -> None:
    wanted["Name"] = wanted["Name"].rstrip(".") + "."
    if not wanted["Name"].endswith(zone.name.rstrip(".") + "."):
        raise InvalidChangeBatch(f"RRSet with DNS name {wanted['Name']} is not permitted in zone {zone.name}")
    if "ResourceRecords" in wanted:
        wanted["ResourceRecords"] = [each["Value"] for each in wanted["ResourceRecords"]]
    record = t.cast("type[t.Any]", RecordSet)(wanted)
    same = [each for each in zone.rrsets if _key(each) == _key(record)]
    what = f"resource record set {record.name} {record.type}" + (
        f" with SetIdentifier {record.set_identifier}" if record.set_identifier else ""
    )
    if action == "CREATE" and same:
        raise InvalidChangeBatch(f"Tried to create {what} but it already exists")
    if action == "DELETE":
        if not same or _values(same[0]) != _values(record):
            why = "the values provided do not match the current values" if same else "it was not found"
            raise InvalidChangeBatch(f"Tried to delete {what} but {why}")
        zone.rrsets = [each for each in zone.rrsets if each is not same[0]]
        return
    zone.rrsets = [*(each for each in zone.rrsets if each not in same), record]


def _check(zone: t.Any) -> None:
    kinds: dict[tuple[str, str], set[bool]] = {}
    types: dict[str, set[str]] = {}
    for each in zone.rrsets:
        kinds.setdefault((each.name, each.type), set()).add(any(getattr(each, name) is not None for name in _ROUTED))
        types.setdefault(each.name, set()).add(each.type)
    for (name, kind), both in kinds.items():
        if len(both) > 1:
            raise InvalidChangeBatch(
                f"RRSet with DNS name {name}, type {kind} cannot be created as other RRSets exist with the same name"
                " and type"
            )
    for name, found in types.items():
        if "CNAME" in found and len(found) > 1:
            raise InvalidChangeBatch(f"RRSet of type CNAME with DNS name {name} conflicts with other types there")


def _key(record: t.Any) -> tuple[t.Any, ...]:
    return record.name, record.type, record.set_identifier


def _values(record: t.Any) -> tuple[t.Any, ...]:
    alias = record.alias_target or {}
    ttl = int(record.ttl) if record.ttl is not None else None
    weight = int(record.weight) if record.weight is not None else None
    return tuple(record.records or ()), ttl, weight, alias.get("DNSName"), alias.get("HostedZoneId")
