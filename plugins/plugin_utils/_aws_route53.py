# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The records of one name in Route 53, and which changes lead its traffic elsewhere. Pure.

Route 53 refuses a weighted record beside a simple one of the same name and type, so a simple record is taken away in
the same change batch that brings the weighted ones: a batch is carried out whole or not at all, and no resolver meets a
name without a record. What is taken away is named as it was seen, for which Route 53 wants all of it to be right: when
somebody has changed it meanwhile, the batch is refused.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import (
    PRIMARY,
    STANDBY,
    DnsRoute,
    DnsSide,
)

#: Weights of both sides add up to this, so that one is a percent; Route 53 takes up to 255.
WHOLE = 100
# Of these types a name leads to a load balancer; a CNAME has no other record beside it.
_TYPES = ("A", "AAAA", "CNAME")
# Fields of record sets that stand for a routing policy other than simple and weighted.
_POLICIES = {
    "Failover": "failover",
    "Region": "latency",
    "MultiValueAnswer": "multivalue answer",
    "GeoLocation": "geolocation",
    "GeoProximityLocation": "geoproximity",
    "CidrRoutingConfig": "IP-based",
    "TrafficPolicyInstanceId": "traffic policy",
}
_SIDES = (PRIMARY, STANDBY)

RecordSet = Mapping[str, t.Any]


@dataclass(frozen=True)
class NameRecords:
    """The record sets by which a name leads to its two sides.

    :param sets: as Route 53 lists them.
    :param weighted: whether they share traffic; else there is a simple one of each type.
    """

    route: DnsRoute
    sets: tuple[RecordSet, ...]
    weighted: bool

    @property
    def types(self) -> list[str]:
        """The types that there are; A and AAAA move together."""
        return sorted({str(each["Type"]) for each in self.sets})

    @property
    def ttl(self) -> int | None:
        """Seconds that an answer may be kept; None for aliases, which have that of their target (60 s of a load
        balancer)."""
        found = [int(each["TTL"]) for each in self.sets if "TTL" in each]
        return max(found) if found else None

    def share(self, side: str) -> int:
        """The percent of answers that lead to a side; of several types that of the first."""
        return self._share(side, self.types[0])

    def at(self, side: str, percent: int) -> bool:
        """Whether all types are shared so; a simple record has all of its side."""
        return all(self._share(side, each) == percent for each in self.types)

    def _share(self, side: str, kind: str) -> int:
        own = [each for each in self.sets if each["Type"] == kind]
        weights = {name: 0 for name in _SIDES}
        for each in own:
            weights[t.cast(str, self.side_of(each))] += int(each["Weight"]) if self.weighted else 1
        total = sum(weights.values())
        # Route 53 gives every record the same chance when all weights are 0.
        if not total:
            weights = {name: sum(self.side_of(each) == name for each in own) for name in _SIDES}
            total = len(own)
        return round(100 * weights[side] / total)

    def side_of(self, record: RecordSet) -> str | None:
        """The side that a record set leads to."""
        return next((name for name in _SIDES if _leads_to(record, self.route.side(name))), None)

    def text(self) -> str:
        """All of it on one line, for the record."""
        return json.dumps(list(self.sets), sort_keys=True, separators=(",", ":"))


def records_of(sets: Sequence[RecordSet], route: DnsRoute) -> NameRecords:
    """What leads traffic at a name.

    :param sets: of the zone; others may be among them.
    :raises CodeblueError: there is nothing.
    :raises Refused: it is led by a policy, or to a place, that weights do not fit.
    """
    own = tuple(each for each in sets if _same_name(str(each["Name"]), route.name) and each["Type"] in _TYPES)
    if not own:
        raise CodeblueError(f"there is no {route} in zone {route.zone}", "make it first, or look at codeblue_aws.dns")
    for each in own:
        policy = next((said for key, said in _POLICIES.items() if each.get(key)), None)
        if policy is not None:
            raise Refused(
                f"{route} has the routing policy {policy}, nothing was changed",
                "traffic is shifted by weights; move it by that policy, or make the record simple or weighted",
            )
    found = NameRecords(route, own, weighted=any("Weight" in each for each in own))
    wanted = "AliasTarget" if route.alias else "ResourceRecords"
    for each in own:
        if wanted not in each or (not route.alias and each["Type"] != "CNAME"):
            raise Refused(
                f"{route} is a record of type {each['Type']}{' and an alias' if 'AliasTarget' in each else ''},"
                f" codeblue_aws.dns describes {'an alias' if route.alias else 'a CNAME'}: nothing was changed",
                "write alias_zone for both sides when the record is an alias, and for neither when it is a CNAME",
            )
        if found.side_of(each) is None:
            raise Refused(
                f"{route} leads to {target_of(each)} too, which is neither side: nothing was changed",
                "look whether codeblue_aws.dns is right",
            )
    return found


def shared(records: NameRecords, side: str, percent: int) -> list[RecordSet]:
    """The weighted record sets that give a side so many percent of the answers, and the other one the rest."""
    wanted: list[RecordSet] = []
    for kind in records.types:
        for name in _SIDES:
            weight = percent if name == side else WHOLE - percent
            wanted += _weighted(records, kind, name, weight)
    return wanted


def simple_again(records: NameRecords, side: str) -> list[RecordSet]:
    """Simple record sets that lead to one side."""
    found: list[RecordSet] = []
    for kind in records.types:
        model = next(each for each in records.sets if each["Type"] == kind)
        own = next((each for each in records.sets if each["Type"] == kind and records.side_of(each) == side), None)
        made = dict(own) if own is not None else _made(records.route, model, side)
        found.append({key: value for key, value in made.items() if key not in ("SetIdentifier", "Weight")})
    return found


def batch(before: Sequence[RecordSet], after: Sequence[RecordSet], comment: str) -> dict[str, t.Any]:
    """The change batch from one state to another, without what stays.

    :param comment: Route 53 keeps up to 256 characters of it.
    """
    known = {_identity(each) for each in before}
    kept = {_identity(each) for each in after}
    changes = [{"Action": "DELETE", "ResourceRecordSet": dict(each)} for each in before if _identity(each) not in kept]
    for each in after:
        if each not in before:
            action = "UPSERT" if _identity(each) in known else "CREATE"
            changes.append({"Action": action, "ResourceRecordSet": dict(each)})
    return {"Comment": comment[:256], "Changes": changes}


def same_sets(one: Sequence[RecordSet], other: Sequence[RecordSet]) -> bool:
    """Whether two states are the same, in whatever order."""
    return len(one) == len(other) and all(each in other for each in one)


def target_of(record: RecordSet) -> str:
    """Where a record leads, for people."""
    if "AliasTarget" in record:
        return str(record["AliasTarget"]["DNSName"]).rstrip(".")
    return ", ".join(str(each["Value"]).rstrip(".") for each in record.get("ResourceRecords") or ())


def _identity(record: RecordSet) -> tuple[str, str, str]:
    return str(record["Name"]), str(record["Type"]), str(record.get("SetIdentifier") or "")


def _weighted(records: NameRecords, kind: str, side: str, weight: int) -> list[RecordSet]:
    own = [each for each in records.sets if each["Type"] == kind and records.side_of(each) == side]
    if records.weighted and own:
        # A side may have several records; they share its part as they did.
        parts = _parts(weight, [int(each["Weight"]) for each in own])
        return [{**each, "Weight": part} for each, part in zip(own, parts, strict=True)]
    model = next(each for each in records.sets if each["Type"] == kind)
    made = dict(own[0]) if own else _made(records.route, model, side)
    if not records.route.alias:
        # All weighted records of a name have one TTL.
        made["TTL"] = int(model["TTL"]) if records.weighted else records.route.ttl
    taken = {str(each.get("SetIdentifier")) for each in records.sets}
    name = f"{records.route.name.partition('.')[0]}-{side}"
    return [{**made, "SetIdentifier": name if name not in taken else f"codeblue-{name}", "Weight": weight}]


def _parts(weight: int, old: Sequence[int]) -> list[int]:
    total = sum(old)
    shares = [each / total if total else 1 / len(old) for each in old]
    found = [int(weight * share) for share in shares]
    found[0] += weight - sum(found)
    return found


def _made(route: DnsRoute, model: RecordSet, side: str) -> dict[str, t.Any]:
    place = route.side(side)
    made: dict[str, t.Any] = {"Name": model["Name"], "Type": model["Type"]}
    if route.alias:
        made["AliasTarget"] = {
            "HostedZoneId": place.alias_zone,
            "DNSName": f"{place.target}.",
            # As the other side has it: one that looks at its targets and one that does not would be no fair share.
            "EvaluateTargetHealth": bool(model["AliasTarget"].get("EvaluateTargetHealth")),
        }
    else:
        made |= {"TTL": route.ttl, "ResourceRecords": [{"Value": place.target}]}
    if place.health_check is not None:
        made["HealthCheckId"] = place.health_check
    return made


def _leads_to(record: RecordSet, side: DnsSide) -> bool:
    return _plain_host(target_of(record)) == _plain_host(side.target)


def _plain_host(name: str) -> str:
    # The console puts this before the name of a load balancer; it leads to the same one.
    return name.rstrip(".").lower().removeprefix("dualstack.")


def _same_name(listed: str, name: str) -> bool:
    # Route 53 writes an asterisk as its octal code.
    return listed.rstrip(".").lower().replace("\\052", "*") == name
