# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database that runs in RDS: an instance or an Aurora cluster, its replica, and how its consumers find it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# What RDS takes as an identifier; it stores it in lower case.
_IDENTIFIER = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){0,61}[a-z0-9]|[a-z]")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,2}-\d")
_PARAMETER = re.compile(r"[-a-zA-Z0-9_./]{1,1011}")
_RECORD = re.compile(r"[-a-zA-Z0-9_.]{1,254}")
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_LONGEST_RETENTION = 35


@dataclass(frozen=True)
class DatabasePlace:
    """One instance or one cluster in one region.

    :param cluster: it is an Aurora cluster, else an instance.
    """

    region: str
    identifier: str
    cluster: bool

    def __str__(self) -> str:
        return f"{'cluster' if self.cluster else 'instance'} {self.identifier} in {self.region}"


@dataclass(frozen=True)
class ReplicaPlace:
    """Where a copy is kept that can be made the primary.

    :param global_cluster: the global database that both clusters belong to; None for a replica of its own.
    """

    place: DatabasePlace
    global_cluster: str | None = None

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True)
class Endpoint:
    """One place in which consumers look where the database is.

    :param kind: `parameter` of SSM, `secret` of Secrets Manager or `record` of Route 53.
    :param name: of the parameter, secret or record.
    :param region: in which it is; Route 53 has none.
    :param key: of the secret's JSON that holds the host's name; empty for the others.
    :param zone: identifier of the hosted zone; empty for the others.
    """

    kind: str
    name: str
    region: str
    key: str = ""
    zone: str = ""

    def __str__(self) -> str:
        where = "" if self.kind == "record" else f" in {self.region}"
        return f"{self.kind} {self.name}{where}"


@dataclass(frozen=True)
class AwsDatabase:
    """What `codeblue_aws.database` says.

    :param endpoints: what is changed when another database takes over.
    :param credentials: name of the secret of Secrets Manager with the login of consumers; None when not said.
    :param copies: regions that each snapshot is copied to.
    :param keys: region to the KMS key that copies in it are encrypted with.
    :param closed_group: a security group without rules, which the database gets when nobody may reach it; None for
        no such way.
    :param backup_days: for how long a promoted replica keeps its automated backups.
    """

    place: DatabasePlace
    replica: ReplicaPlace | None = None
    endpoints: tuple[Endpoint, ...] = ()
    credentials: str | None = None
    copies: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    closed_group: str | None = None
    backup_days: int = 7

    def __str__(self) -> str:
        kind = "Aurora cluster" if self.place.cluster else "RDS instance"
        return f"{kind} {self.place.identifier}"


def read_database(values: TypedMapping, region: str, standby_region: str | None) -> AwsDatabase:
    """Read `codeblue_aws.database`; what is wrong goes to the problems of the mapping.

    :param region: of the service.
    :param standby_region: of its replica, unless that says another one.
    """
    place = _place(values, region)
    replica = values.optional_child("replica")
    found = AwsDatabase(
        place=place,
        replica=_replica(replica, place, standby_region) if replica is not None else None,
        endpoints=tuple(_endpoint(each, region) for each in values.listed("endpoints")),
        credentials=values.optional_text("credentials"),
        copies=tuple(_region(values, "copies", each) for each in values.texts("copies")),
        keys=_keys(values),
        closed_group=_matching(values, "closed_group", _GROUP, "write it like sg-0123456789abcdef0"),
        backup_days=values.integer("backup_days", default=7, least=1, most=_LONGEST_RETENTION),
    )
    if region in found.copies:
        values.problem("copies", f"{region} is the region itself, name another one")
    values.finish()
    return found


def _place(values: TypedMapping, region: str) -> DatabasePlace:
    """The instance or the cluster; exactly one of them."""
    given = [key for key in ("instance", "cluster") if key in values]
    if len(given) != 1:
        values.problem("instance", "name either an instance or an Aurora cluster, exactly one of the keys")
    found = {key: _matching(values, key, _IDENTIFIER, "write small letters, digits and single '-'") for key in _KINDS}
    return DatabasePlace(region, found["instance"] or found["cluster"] or "", cluster=given == ["cluster"])


_KINDS = ("instance", "cluster")


def _replica(values: TypedMapping, primary: DatabasePlace, standby_region: str | None) -> ReplicaPlace:
    region = _region(values, "region", values.text("region", default=standby_region or primary.region))
    place = _place(values, region)
    if place == primary:
        values.problem("instance", "is the database itself, name its replica")
    elif place.cluster != primary.cluster and place.identifier:
        kind = "Aurora cluster" if primary.cluster else "instance"
        values.problem("cluster" if place.cluster else "instance", f"must be an {kind}, as the database itself is one")
    global_cluster = _matching(values, "global_cluster", _IDENTIFIER, "write small letters, digits and single '-'")
    if global_cluster and not place.cluster:
        values.problem("global_cluster", "is for Aurora clusters, leave it out")
    values.finish()
    return ReplicaPlace(place, global_cluster)


def _endpoint(values: TypedMapping, region: str) -> Endpoint:
    given = [key for key in ("parameter", "secret", "record") if key in values]
    if len(given) != 1:
        values.problem("parameter", "name a parameter, a secret or a record, exactly one of the keys")
    names = {
        "parameter": _matching(values, "parameter", _PARAMETER, "write it as SSM does"),
        "secret": values.optional_text("secret"),
        "record": _matching(values, "record", _RECORD, "write the name of the record"),
    }
    kind = given[0] if given else "parameter"
    found = Endpoint(
        kind=kind,
        name=names[kind] or "",
        region=_region(values, "region", values.text("region", default=region)),
        key=values.text("key", default="host") if kind == "secret" else "",
        zone=values.text("zone") if kind == "record" else "",
    )
    values.finish()
    return found


def _keys(values: TypedMapping) -> dict[str, str]:
    child = values.optional_child("keys")
    if child is None:
        return {}
    found = {_region(child, region, region): child.text(region) for region in child.names()}
    child.finish()
    return found


def _region(values: TypedMapping, key: str, text: str) -> str:
    if text and not _REGION.fullmatch(text):
        values.problem(key, f"{quote(text)} is no region of AWS, write it like us-east-1")
    return text


def _matching(values: TypedMapping, key: str, form: re.Pattern[str], advice: str) -> str | None:
    text = values.optional_text(key)
    if text and not form.fullmatch(text):
        values.problem(key, f"{quote(text)} cannot be one, {advice}")
    return text or None
