"""Whether a program can log in to a database of the account, where there is no database."""

from __future__ import annotations

import typing as t

REGIONS = ("us-east-1", "us-west-2")
_PORT = 5432


def login(values: t.Mapping[str, str], groups: t.Sequence[str], region: str) -> str:
    """Why a program cannot log in and write; empty when it can.

    :param values: its environment: `DATABASE_HOST`, `DATABASE_PASSWORD`.
    :param groups: the security groups that it is in.
    """
    host = values.get("DATABASE_HOST")
    if host is None:
        return ""
    found = find(host)
    if found is None:
        return "could not translate the host name of the database"
    where, database, writes = found
    if database.status != "available":
        return f"the database is {database.status}"
    if where == region and not admitted(groups, database.vpc_security_group_ids, where):
        return "the database cannot be reached"
    if values.get("DATABASE_PASSWORD") != database._master_user_password:
        return "password authentication failed"
    return "" if writes else "cannot execute INSERT in a read-only transaction"


def find(host: str) -> tuple[str, t.Any, bool] | None:
    """The instance or cluster at an address: its region, moto's object, and whether it takes writes."""
    from codeblue.lab.aws.server.behaviour import backend

    for region in REGIONS:
        rds = backend("rds", region)
        for instance in rds.databases.values():
            if instance.address == host:
                return region, instance, not instance.is_replica
        for cluster in rds.clusters.values():
            if cluster.endpoint == host:
                return region, cluster, not getattr(cluster, "replication_source_identifier", None)
    return None


def admitted(sources: t.Sequence[str], groups: t.Sequence[str], region: str, port: int = _PORT) -> bool:
    """Whether security groups let members of other ones in.

    Addresses are not looked at, but for a rule that lets everybody in.
    """
    from codeblue.lab.aws.server.behaviour import backend

    ec2 = backend("ec2", region)
    for group in (ec2.get_security_group_from_id(each) for each in groups):
        if group is None:
            continue
        for rule in group.ingress_rules:
            if rule.from_port is not None and not int(rule.from_port) <= port <= int(rule.to_port):
                continue
            if rule.ip_range.get("CidrIp") == "0.0.0.0/0" or rule.source_group.get("GroupId") in sources:
                return True
    return False
