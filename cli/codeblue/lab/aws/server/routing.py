"""Where a name leads: Route 53's records, then the load balancer, distribution or bucket that they name."""

from __future__ import annotations

import fnmatch
import random
import re
import typing as t

from codeblue.lab.aws.server.behaviour import backend

_MOST_STEPS = 8
_BUCKET = re.compile(r"(?P<name>[a-z0-9][-.a-z0-9]+?)\.s3[.-](?:(?P<region>[-a-z0-9]+)\.)?amazonaws\.com")
# What a path or a name is compared with stands in one of these.
_CONDITIONS = {"path-pattern": "PathPatternConfig", "host-header": "HostHeaderConfig"}

Found = tuple[str, str, t.Any]


class Unresolved(Exception):
    """No record leads to anything of the account."""


def resolve(host: str, regions: t.Sequence[str]) -> Found:
    """What a name stands for: `balancer` with its region, `distribution`, or `bucket` with its name.

    :raises Unresolved: it stands for nothing.
    """
    name = host.lower().rstrip(".")
    for _step in range(_MOST_STEPS):
        found = _endpoint(name, regions)
        if found is not None:
            return found
        name = _next_name(name)
    raise Unresolved("its records lead round in a circle")


def chosen_action(balancer: t.Any, region: str, path: str) -> dict[str, t.Any] | None:
    """What a load balancer does with a request: the action of its first rule that meets it."""
    for listener in backend("elbv2", region).load_balancers[balancer.arn].listeners.values():
        rules = sorted(listener.rules.values(), key=_priority)
        for rule in rules:
            if all(_meets(each, path) for each in rule.conditions):
                return t.cast("dict[str, t.Any]", _plain(rule.actions[-1]))
    return None


def _priority(rule: t.Any) -> int:
    return 1_000_000 if rule.priority == "default" else int(rule.priority)


def _plain(action: t.Any) -> t.Any:
    return getattr(action, "data", action)


def _meets(condition: t.Mapping[str, t.Any], path: str) -> bool:
    field = condition.get("Field", "")
    values = condition.get("Values") or condition.get(_CONDITIONS.get(field, ""), {}).get("Values", [])
    # The lab has one name for each load balancer, so what is asked for by name is met.
    return field != "path-pattern" or any(fnmatch.fnmatchcase(path, each) for each in values)


def _endpoint(name: str, regions: t.Sequence[str]) -> Found | None:
    for region in regions:
        for balancer in backend("elbv2", region).load_balancers.values():
            if balancer.dns_name.lower() == name:
                return "balancer", region, balancer
    for distribution in backend("cloudfront", "aws").distributions.values():
        if distribution.domain_name.lower() == name:
            return "distribution", "", distribution
    bucket = _BUCKET.fullmatch(name)
    if bucket is not None:
        known = backend("s3", "aws").buckets.get(bucket["name"])
        if known is None:
            raise Unresolved("there is no such bucket")
        return "bucket", known.region_name, known.name
    return None


def _next_name(name: str) -> str:
    records = [
        record
        for zone in backend("route53", "aws").zones.values()
        for record in zone.rrsets
        if record.name.lower().rstrip(".") == name and record.type in ("A", "AAAA", "CNAME")
    ]
    if not records:
        raise Unresolved("no record has this name")
    weights = [float(each.weight) if each.weight is not None else 1.0 for each in records]
    if not any(weights):
        # As Route 53 does when all weights are zero.
        weights = [1.0] * len(records)
    chosen = random.choices(records, weights)[0]
    if chosen.alias_target:
        return str(chosen.alias_target["DNSName"]).lower().rstrip(".")
    if not chosen.records:
        raise Unresolved("its record has no value")
    return str(chosen.records[0]).lower().rstrip(".")
