# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ways by which requests reach a service on AWS: a DNS record, a load balancer, a distribution of CloudFront."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import read_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

PRIMARY = "primary"
STANDBY = "standby"
# Route 53: how long answers may be kept; a minute is what AWS advises for records that fail over.
_TTL = 60
_LONGEST_TTL = 172800
_ZONE = re.compile(r"[A-Z0-9]{1,32}")
_HOST = re.compile(
    r"(?=.{1,255}\Z)(\*\.)?[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?)*"
)
_DISTRIBUTION = re.compile(r"[A-Z0-9]{7,32}")
# ELBv2: a fixed response has at most so many characters, and one of these types.
_LONGEST_BODY = 1024
CONTENT_TYPES = ("text/plain", "text/html", "text/css", "application/javascript", "application/json")
_LAST_PRIORITY = 50000
_BODY = "This service is down for maintenance and will be back soon."


@dataclass(frozen=True)
class DnsSide:
    """One of the two places that a name can lead to.

    :param target: host name that the record leads to.
    :param alias_zone: hosted zone of the target when the record is an alias, as each kind of load balancer has one for
        each region; None for a CNAME.
    :param health_check: id of a health check of Route 53 on the record; None for none.
    :param answers_at: `host` or `host:port` at which this side answers by itself, for proofs; the target when None.
    """

    target: str
    alias_zone: str | None = None
    health_check: str | None = None
    answers_at: str | None = None

    @property
    def address(self) -> str:
        """Where this side answers by itself."""
        return self.answers_at or self.target


@dataclass(frozen=True)
class DnsRoute:
    """What `codeblue_aws.dns` says.

    :param zone: id of the hosted zone.
    :param name: of the record, without a dot at the end.
    :param ttl: seconds that an answer may be kept; an alias has that of its target.
    """

    zone: str
    name: str
    ttl: int
    primary: DnsSide
    standby: DnsSide

    def side(self, name: str) -> DnsSide:
        """The one of the two sides with that name."""
        return self.standby if name == STANDBY else self.primary

    @property
    def alias(self) -> bool:
        """Whether the records are aliases."""
        return self.primary.alias_zone is not None

    def __str__(self) -> str:
        return f"DNS record {self.name}"


@dataclass(frozen=True)
class FixedResponse:
    """What a load balancer answers by itself.

    :param priority: of the rule; it has to come before all rules that forward.
    """

    priority: int = 1
    status: str = "503"
    content_type: str = "text/plain"
    body: str = _BODY


@dataclass(frozen=True)
class LoadBalancer:
    """What `codeblue_aws.load_balancer` says.

    :param listener: ARN.
    :param rule: ARN of the rule that forwards; None for the default action of the listener.
    :param target_groups: what each side is called, to its ARN.
    """

    listener: str
    rule: str | None = None
    target_groups: Mapping[str, str] = field(default_factory=dict)
    maintenance: FixedResponse = FixedResponse()

    def __str__(self) -> str:
        return f"{'rule' if self.rule else 'listener'} {(self.rule or self.listener).rpartition('/')[2]}"


@dataclass(frozen=True)
class Distribution:
    """What `codeblue_aws.distribution` says.

    :param primary: id of an origin or of an origin group.
    :param standby: the same; None when there is nothing to switch to.
    :param paths: that are invalidated after a change.
    """

    id: str
    primary: str | None = None
    standby: str | None = None
    paths: tuple[str, ...] = ("/*",)

    def origin(self, side: str) -> str | None:
        """The origin of one side."""
        return self.standby if side == STANDBY else self.primary

    def __str__(self) -> str:
        return f"distribution {self.id}"


def read_dns(values: TypedMapping) -> DnsRoute:
    """Read `codeblue_aws.dns`; what is wrong goes to the problems of the mapping."""
    zone = values.text("zone").removeprefix("/hostedzone/")
    if zone and not _ZONE.fullmatch(zone):
        values.problem("zone", f"{quote(zone)} is no id of a hosted zone, write it like Z0123456789ABC")
    found = DnsRoute(
        zone=zone,
        name=_host(values, "name", values.text("name")),
        ttl=values.integer("ttl", default=_TTL, least=1, most=_LONGEST_TTL),
        primary=_read_side(values.child(PRIMARY)),
        standby=_read_side(values.child(STANDBY)),
    )
    if (found.primary.alias_zone is None) != (found.standby.alias_zone is None):
        values.problem(PRIMARY, "is an alias and the other side is none, write alias_zone for both or for neither")
    if found.primary.target and found.primary.target == found.standby.target:
        values.problem(STANDBY, "has the target of the primary, name another one")
    values.finish()
    return found


def _read_side(values: TypedMapping) -> DnsSide:
    zone = values.optional_text("alias_zone")
    if zone is not None and not _ZONE.fullmatch(zone):
        values.problem("alias_zone", f"{quote(zone)} is no id of a hosted zone, write it like Z35SXDOTRQ7X7K")
    found = DnsSide(
        target=_host(values, "target", values.text("target")),
        alias_zone=zone,
        health_check=values.optional_text("health_check"),
        answers_at=read_address(values, "answers_at"),
    )
    values.finish()
    return found


def read_address(values: TypedMapping, key: str) -> str | None:
    """`host` or `host:port`; None when it is left out."""
    text = values.optional_text(key)
    if text is None:
        return None
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host) or (colon and not (port.isdigit() and 0 < int(port) < 65536)):
        values.problem(key, f"{quote(text)} is no address, write it like host or host:443")
    return text


def _host(values: TypedMapping, key: str, text: str) -> str:
    name = text.removesuffix(".").lower()
    if name and not _HOST.fullmatch(name):
        values.problem(key, f"{quote(text)} is no host name")
    return name


def read_load_balancer(values: TypedMapping) -> LoadBalancer:
    """Read `codeblue_aws.load_balancer`; what is wrong goes to the problems of the mapping."""
    service = "elasticloadbalancing"
    listener = read_arn(values, "listener", values.text("listener"), service, "listener/")
    rule = values.optional_text("rule")
    groups: dict[str, str] = {}
    child = values.optional_child("target_groups")
    if child is not None:
        groups = {name: read_arn(child, name, child.text(name), service, "targetgroup/") for name in child.names()}
        child.finish()
    maintenance = values.optional_child("maintenance")
    found = LoadBalancer(
        listener=listener,
        rule=read_arn(values, "rule", rule, service, "listener-rule/") if rule is not None else None,
        target_groups=groups,
        maintenance=_read_response(maintenance) if maintenance is not None else FixedResponse(),
    )
    if len(set(groups.values())) != len(groups):
        values.problem("target_groups", "names one target group twice")
    values.finish()
    return found


def _read_response(values: TypedMapping) -> FixedResponse:
    status = str(values.integer("status", default=503, least=200, most=599))
    # ELBv2 takes 2XX, 4XX and 5XX.
    if status.startswith("3"):
        values.problem("status", f"is {status}, write one from 200 to 299 or from 400 to 599")
    found = FixedResponse(
        priority=values.integer("priority", default=1, least=1, most=_LAST_PRIORITY),
        status=status,
        content_type=values.choice("content_type", CONTENT_TYPES, default="text/plain"),
        body=values.text("body", default=_BODY),
    )
    if len(found.body) > _LONGEST_BODY:
        values.problem("body", f"has {len(found.body)} characters, a load balancer takes {_LONGEST_BODY}")
    values.finish()
    return found


def read_distribution(values: TypedMapping) -> Distribution:
    """Read `codeblue_aws.distribution`; what is wrong goes to the problems of the mapping."""
    name = values.text("id")
    if name and not _DISTRIBUTION.fullmatch(name):
        values.problem("id", f"{quote(name)} is no id of a distribution, write it like E1EXAMPLE2ABC")
    paths = values.texts("paths") or ("/*",)
    for path in paths:
        if not path.startswith("/"):
            values.problem("paths", f"{quote(path)} does not begin with '/'")
    found = Distribution(
        id=name, primary=values.optional_text(PRIMARY), standby=values.optional_text(STANDBY), paths=paths
    )
    if (found.primary is None) != (found.standby is None):
        values.problem(PRIMARY, "and standby belong together, name both origins or neither")
    elif found.primary is not None and found.primary == found.standby:
        values.problem(STANDBY, "is the origin of the primary, name another one")
    values.finish()
    return found
