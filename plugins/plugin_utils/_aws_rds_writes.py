# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes a database in RDS for writes, and opens it again exactly as it was.

Two ways, in this order. The parameter makes new transactions read only and lets everybody read on; it needs a parameter
group that is this database's alone. A security group without rules lets nobody in; whoever is connected already stays
so until the connection ends.

What it was before stands in a tag of the database itself, written before anything is changed: it is there for a
resumed run, for another controller, and for whoever has lost the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds import RdsDatabases
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import AwsDatabase, DatabasePlace

#: Tag of a database whose writes are stopped for the time being, with what it was before.
WRITES_TAG = "codeblue:writes-before"
PARAMETER, GROUP = "parameter", "group"
# Dynamic in each of these engines: no restart.
_PARAMETERS: Mapping[str, tuple[str, str]] = {
    "postgres": ("default_transaction_read_only", "1"),
    "aurora-postgresql": ("default_transaction_read_only", "1"),
    "mysql": ("read_only", "1"),
    "mariadb": ("read_only", "1"),
}
# RDS owns these, nobody can change them.
_DEFAULT = re.compile(r"default[.:]")
_FORM = re.compile(r"(?P<way>parameter|group) (?P<where>\S+)(?: (?P<value>.*))?")
_UNSET = "-"


@dataclass(frozen=True)
class Before:
    """How a database was before its writes were stopped.

    :param way: by which they are stopped.
    :param where: the parameter group, or the security group that closes it.
    :param value: the parameter's value, None when it was not set; or the former security groups, with blanks between.
    """

    way: str
    where: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.way} {self.where} {_UNSET if self.value is None else self.value}"

    @classmethod
    def parse(cls, text: str) -> Before:
        """What a tag holds.

        :raises CodeblueError: somebody has changed it.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise CodeblueError(f"the tag {WRITES_TAG} says {text[:80]!r}, which is not understood", "resume by hand")
        value = found["value"] or _UNSET
        return cls(found["way"], found["where"], None if value == _UNSET else value)


class WriteGate:
    """Of one database.

    :param database: as the inventory describes it.
    :param tag: that keeps how it was before.
    """

    def __init__(self, databases: RdsDatabases, database: AwsDatabase, tag: str = WRITES_TAG) -> None:
        self._databases = databases
        self._account = databases.account
        self._closed_group = database.closed_group
        self._tag = tag

    def before(self, seen: DatabaseLook) -> Before | None:
        """How it was before its writes were stopped; None when they are not."""
        text = seen.tags.get(self._tag)
        return Before.parse(text) if text else None

    def choose(self, seen: DatabaseLook) -> Before:
        """By which way its writes can be stopped, and what is to be remembered for that.

        :raises Refused: there is no way.
        """
        lacking = self._lacks(seen)
        if not lacking:
            return Before(PARAMETER, seen.parameter_group, self._value(seen))
        if self._closed_group is None:
            raise Refused(
                f"{seen.place}: its writes cannot be stopped: {lacking}",
                "give it a parameter group of its own, or codeblue_aws.database.closed_group",
            )
        if seen.groups == (self._closed_group,):
            raise Refused(f"{seen.place} has only {self._closed_group} and no other group to go back to", "look why")
        return Before(GROUP, self._closed_group, " ".join(seen.groups))

    def mark(self, seen: DatabaseLook, before: Before) -> None:
        """Write down how it was, at the database."""
        self._databases.tag(seen, self._tag, str(before))

    def unmark(self, seen: DatabaseLook) -> None:
        """Its writes are not stopped any more."""
        self._databases.untag(seen, self._tag)

    def close(self, seen: DatabaseLook, before: Before) -> bool:
        """Stop its writes; False when they are stopped that way already."""
        if before.way == GROUP:
            return self._regroup(seen, (before.where,))
        name, closed = _PARAMETERS[seen.engine]
        if self._value(seen) == closed:
            return False
        self._set(seen.place, before.where, name, closed)
        return True

    def open(self, seen: DatabaseLook, before: Before) -> bool:
        """Give it back what it had; False when it has that already."""
        if before.way == GROUP:
            return self._regroup(seen, tuple(str(before.value or "").split()))
        name, _closed = _PARAMETERS[seen.engine]
        if self._value(seen) == before.value:
            return False
        if before.value is None:
            self._reset(seen.place, before.where, name)
        else:
            self._set(seen.place, before.where, name, before.value)
        return True

    def until_applied(self, place: DatabasePlace, before: Before, closed: bool, seconds: float) -> DatabaseLook:
        """Wait until RDS has carried it out.

        :param closed: it was closed, else opened.
        :raises NotReady: it has not in time.
        """
        groups = (before.where,) if closed else tuple(sorted(str(before.value or "").split()))

        def waiting(seen: DatabaseLook | None) -> str:
            if seen is None:
                return "it is not there"
            if before.way == GROUP:
                return seen.unsettled if seen.groups == groups else f"its security groups are {', '.join(seen.groups)}"
            applying = seen.parameters not in ("", "in-sync")
            return f"its parameters are {seen.parameters}" if applying else seen.unsettled

        return self._databases.until(place, waiting, seconds, "closed for writes" if closed else "open for writes")

    # -- inner -------------------------------------------------------------------------------------------------

    def _lacks(self, seen: DatabaseLook) -> str:
        """Why the parameter is no way; empty when it is one."""
        if seen.engine not in _PARAMETERS:
            return f"no parameter of engine {seen.engine} does that"
        if not seen.parameter_group or _DEFAULT.match(seen.parameter_group):
            return "its parameter group is the default one, which nobody can change"
        others = self._others(seen)
        return f"its parameter group is that of {', '.join(others[:3])} as well" if others else ""

    def _others(self, seen: DatabaseLook) -> list[str]:
        """Which databases have the same parameter group, but for what replicates this one."""
        place = seen.place
        if place.cluster:
            found = self._account.ask_all(
                "rds", "describe_db_clusters", "DBClusters", region=place.region, about="all clusters"
            )
            named = [(each["DBClusterIdentifier"], [each.get("DBClusterParameterGroup")]) for each in found]
        else:
            found = self._account.ask_all(
                "rds", "describe_db_instances", "DBInstances", region=place.region, about="all instances"
            )
            named = [
                (each["DBInstanceIdentifier"], [one.get("DBParameterGroupName") for one in each["DBParameterGroups"]])
                for each in found
            ]
        own = {place.identifier, *seen.replicas}
        return sorted(str(name) for name, groups in named if name not in own and seen.parameter_group in groups)

    def _value(self, seen: DatabaseLook) -> str | None:
        """The parameter as somebody set it; None when nobody did."""
        kind = "db_cluster" if seen.place.cluster else "db"
        word = "DBClusterParameterGroupName" if seen.place.cluster else "DBParameterGroupName"
        found = self._account.ask_all(
            "rds",
            f"describe_{kind}_parameters",
            "Parameters",
            region=seen.place.region,
            about=seen.parameter_group,
            Source="user",
            **{word: seen.parameter_group},
        )
        name, _closed = _PARAMETERS[seen.engine]
        value = next((each.get("ParameterValue") for each in found if each.get("ParameterName") == name), None)
        return str(value) if value is not None else None

    def _set(self, place: DatabasePlace, group: str, name: str, value: str) -> None:
        self._parameter("modify", place, group, {"ParameterName": name, "ParameterValue": value})

    def _reset(self, place: DatabasePlace, group: str, name: str) -> None:
        self._parameter("reset", place, group, {"ParameterName": name})

    def _parameter(self, verb: str, place: DatabasePlace, group: str, values: Mapping[str, str]) -> None:
        word = "DBClusterParameterGroupName" if place.cluster else "DBParameterGroupName"
        self._account.ask(
            "rds",
            f"{verb}_db_cluster_parameter_group" if place.cluster else f"{verb}_db_parameter_group",
            region=place.region,
            about=group,
            Parameters=[{**values, "ApplyMethod": "immediate"}],
            **{word: group},
        )

    def _regroup(self, seen: DatabaseLook, groups: tuple[str, ...]) -> bool:
        if seen.groups == tuple(sorted(groups)):
            return False
        self._databases.modify(seen.place, {"VpcSecurityGroupIds": list(groups)})
        return True
