# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at databases in RDS: themselves, their replicas, where consumers look for them, and why nobody gets in."""

from __future__ import annotations

import dataclasses
import datetime
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_endpoints import ConsumerEndpoints
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_failover_choice import PROMOTED_TAG
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import (
    DatabaseLook,
    look_at_cluster,
    look_at_instance,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_promotion import Promotion
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import (
    AwsDatabase,
    DatabasePlace,
    Endpoint,
)

# Of more than these in one region, all are listed: a list of a hundred takes as long as asking for two.
_MOST_SINGLE = 3
# A region that gives no answer for so much of the time is silent; the rest is for what follows from that.
_PART_OF_TIME = 0.6
_LONGEST_PATIENCE = 8.0
_EVENT_MINUTES = 24 * 60
_MOST_EVENTS = 5
_PERIOD = 60
_CONNECTION_SECONDS = 600
# What RDS says when somebody changed the password of the master user: RDS-EVENT-0016.
_PASSWORD_EVENTS = ("reset master credentials", "master user password")


@dataclass(frozen=True)
class DatabaseSeen:
    """What was seen of the database of one service.

    :param primary: None when there is none, or its region is silent.
    :param silent: why its region could not be asked; empty when it could.
    :param replicating: the replica is one still.
    :param wrong: endpoints that lead consumers elsewhere, with the address that they name, as text.
    :param events: what RDS says of it, the latest first.
    :param password_changed: RDS says that the password of its master user was changed.
    :param connections: the most of the last minutes; None when CloudWatch has none.
    :param most_connections: as its parameters say; None when they do not say a number.
    :param lets_in: a rule of its security groups lets somebody in at its port; None when that is not known.
    """

    primary: DatabaseLook | None
    silent: str = ""
    replica: DatabaseLook | None = None
    replicating: bool = False
    wrong: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    password_changed: bool = False
    connections: int | None = None
    most_connections: int | None = None
    lets_in: bool | None = None
    groups: tuple[str, ...] = field(default_factory=tuple)

    @property
    def acting(self) -> DatabaseLook | None:
        """The one that is the primary now: the replica, once a run has promoted it."""
        promoted = self.replica is not None and not self.replicating and PROMOTED_TAG in self.replica.tags
        return self.replica if promoted else self.primary


def look_at_databases(account: AwsAccount, databases: Mapping[str, AwsDatabase]) -> dict[str, DatabaseSeen]:
    """The state of the databases and of their replicas, by service."""
    places = [each.place for each in databases.values()]
    places += [each.replica.place for each in databases.values() if each.replica is not None]
    # At once: a region that is silent would use up the time of the other.
    looks = _look_at_all(account, places)
    return {name: _seen(account, each, looks) for name, each in databases.items()}


def look_closer(
    account: AwsAccount, databases: Mapping[str, AwsDatabase], seen: Mapping[str, DatabaseSeen]
) -> dict[str, DatabaseSeen]:
    """With what else tells why nobody works with them, each asked for side by side."""
    names = list(databases)
    found = account.side_by_side(names, lambda name: _closer(account, databases[name], seen[name]))
    return dict(zip(names, found, strict=True))


def _seen(
    account: AwsAccount,
    database: AwsDatabase,
    looks: Mapping[DatabasePlace, DatabaseLook | str | None],
) -> DatabaseSeen:
    primary = looks[database.place]
    silent, primary = (primary, None) if isinstance(primary, str) else ("", primary)
    if database.replica is None:
        return DatabaseSeen(primary, silent)
    replica = looks[database.replica.place]
    if isinstance(replica, str) or replica is None:
        return DatabaseSeen(primary, silent)
    promotion = Promotion(RdsDatabases(account), database.replica, database.backup_days)
    return DatabaseSeen(primary, silent, replica, promotion.replicates(replica))


def _look_at_all(
    account: AwsAccount, places: Sequence[DatabasePlace]
) -> dict[DatabasePlace, DatabaseLook | str | None]:
    """Each of them; None where there is none, a text where its region does not answer."""
    groups: dict[tuple[str, bool], list[DatabasePlace]] = {}
    for each in places:
        groups.setdefault((each.region, each.cluster), []).append(each)

    def look(key: tuple[str, bool]) -> dict[DatabasePlace, DatabaseLook | str | None]:
        region, cluster = key
        try:
            return _look_at_region(account, region, cluster, groups[key])
        except AwsUnavailable:
            return {place: f"{region} gives no answer" for place in groups[key]}

    return {place: seen for found in account.side_by_side(list(groups), look) for place, seen in found.items()}


def _look_at_region(
    account: AwsAccount, region: str, cluster: bool, places: Sequence[DatabasePlace]
) -> dict[DatabasePlace, DatabaseLook | str | None]:
    patience = min(account.left * _PART_OF_TIME, _LONGEST_PATIENCE)
    if len(places) <= _MOST_SINGLE:
        databases = RdsDatabases(account)
        return {each: databases.look(each, patience) for each in places}
    operation, key = ("describe_db_clusters", "DBClusters") if cluster else ("describe_db_instances", "DBInstances")
    about = f"{len(places)} databases"
    listed = account.ask_all("rds", operation, key, region=region, about=about, patience=patience)
    looks = [(look_at_cluster if cluster else look_at_instance)(region, each) for each in listed]
    known = {each.place: each for each in looks}
    return {each: known.get(each) for each in places}


# -- closer ----------------------------------------------------------------------------------------------------


def _closer(account: AwsAccount, database: AwsDatabase, seen: DatabaseSeen) -> DatabaseSeen:
    acting = seen.acting
    if acting is None:
        return seen
    if not acting.serves:
        # What RDS says of it is the cause; the rest would only cost time.
        return dataclasses.replace(seen, events=tuple(_events(account, acting)[:_MOST_EVENTS]))
    questions: tuple[Callable[[], t.Any], ...] = (
        lambda: _events(account, acting),
        lambda: tuple(_wrong(account, database.endpoints, acting, seen.silent)),
        lambda: _connections(account, acting),
        lambda: _most_connections(account, acting),
        lambda: _lets_in(account, acting),
    )
    events, wrong, connections, most, lets_in = account.side_by_side(questions, lambda question: question())
    return dataclasses.replace(
        seen,
        wrong=wrong,
        events=tuple(events[:_MOST_EVENTS]),
        password_changed=any(word in each.lower() for each in events for word in _PASSWORD_EVENTS),
        connections=connections,
        most_connections=most,
        lets_in=lets_in,
        groups=acting.groups,
    )


def _wrong(account: AwsAccount, endpoints: Sequence[Endpoint], acting: DatabaseLook, silent: str) -> list[str]:
    consumers = ConsumerEndpoints(account, "", acting.place.region)
    found = []
    for each in endpoints:
        if silent and each.region == account.region and each.kind != "record":
            continue
        try:
            address = consumers.read(each)
        except CodeblueError as error:
            found.append(f"{each} cannot be read: {error.message}"[:300])
            continue
        if address != acting.address:
            found.append(f"{each} leads to {address}")
    return found


def _events(account: AwsAccount, seen: DatabaseLook) -> list[str]:
    kind = "db-cluster" if seen.place.cluster else "db-instance"
    try:
        found = account.ask_all(
            "rds",
            "describe_events",
            "Events",
            region=seen.place.region,
            about=seen.place.identifier,
            SourceIdentifier=seen.place.identifier,
            SourceType=kind,
            Duration=_EVENT_MINUTES,
        )
    except AwsError:
        # A diagnosis does without them.
        return []
    latest = sorted(found, key=lambda each: str(each.get("Date") or ""), reverse=True)
    return [str(each.get("Message") or "") for each in latest]


def _connections(account: AwsAccount, seen: DatabaseLook) -> int | None:
    name = "DBClusterIdentifier" if seen.place.cluster else "DBInstanceIdentifier"
    now = time.time()
    try:
        answer = account.ask(
            "cloudwatch",
            "get_metric_statistics",
            region=seen.place.region,
            about="DatabaseConnections",
            Namespace="AWS/RDS",
            MetricName="DatabaseConnections",
            Dimensions=[{"Name": name, "Value": seen.place.identifier}],
            StartTime=datetime.datetime.fromtimestamp(now - _CONNECTION_SECONDS, datetime.UTC),
            EndTime=datetime.datetime.fromtimestamp(now + _PERIOD, datetime.UTC),
            Period=_PERIOD,
            Statistics=["Maximum"],
        )
    except AwsError:
        return None
    points = answer.get("Datapoints") or ()
    return max((int(each.get("Maximum") or 0) for each in points), default=None)


def _most_connections(account: AwsAccount, seen: DatabaseLook) -> int | None:
    """RDS has a formula of the memory there, unless somebody has set a number."""
    if not seen.parameter_group:
        return None
    kind = "db_cluster" if seen.place.cluster else "db"
    word = "DBClusterParameterGroupName" if seen.place.cluster else "DBParameterGroupName"
    try:
        found = account.ask_all(
            "rds",
            f"describe_{kind}_parameters",
            "Parameters",
            region=seen.place.region,
            about=seen.parameter_group,
            **{word: seen.parameter_group},
        )
    except AwsError:
        return None
    value = next((each.get("ParameterValue") for each in found if each.get("ParameterName") == "max_connections"), None)
    return int(value) if value is not None and str(value).isdigit() else None


def _lets_in(account: AwsAccount, seen: DatabaseLook) -> bool | None:
    if not seen.groups or not seen.port:
        return None
    try:
        found = account.ask(
            "ec2",
            "describe_security_groups",
            region=seen.place.region,
            about=", ".join(seen.groups),
            GroupIds=list(seen.groups),
        )
    except AwsError:
        return None
    rules = [rule for group in found.get("SecurityGroups") or () for rule in group.get("IpPermissions") or ()]
    return any(_leads_to(rule, seen.port) for rule in rules)


def _leads_to(rule: Mapping[str, t.Any], port: int) -> bool:
    if rule.get("IpProtocol") not in ("-1", "tcp", "6"):
        return False
    first, last = rule.get("FromPort"), rule.get("ToPort")
    named = first is None or last is None or first == -1 or first <= port <= last
    sources = ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds")
    return named and any(rule.get(each) for each in sources)
