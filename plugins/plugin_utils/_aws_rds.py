# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instances and Aurora clusters of RDS: looked at, waited for and changed by the same calls.

The waiters of botocore end when an instance is `available`, which it still is for seconds after it was told to change.
These ask for what was wanted itself: another role, another name, nothing pending.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import (
    STUCK,
    DatabaseLook,
    look_at_cluster,
    look_at_instance,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

# RDS takes minutes; its own waiters ask twice a minute.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0

#: Looks at a database, None when it is not there; what is still to come, empty when it is as wanted.
Waiting = Callable[[DatabaseLook | None], str]


class NotReady(CodeblueError):
    """A database did not become what it was to become in time, or cannot any more."""


class RdsDatabases:
    """The databases of an account.

    :param sleep: how to wait.
    """

    def __init__(
        self,
        account: AwsAccount,
        renew: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.account = account
        self.renew = renew
        self.sleep = sleep

    def look(self, place: DatabasePlace, patience: float | None = None) -> DatabaseLook | None:
        """What is there under this name; None when nothing is.

        :param patience: seconds for a region that does not answer.
        :raises AwsError: it cannot be asked.
        """
        kind, key = ("cluster", "DBClusters") if place.cluster else ("instance", "DBInstances")
        try:
            answer = self.account.ask(
                "rds",
                f"describe_db_{kind}s",
                region=place.region,
                about=place.identifier,
                patience=patience,
                **{_identifier(place): place.identifier},
            )
        except NotFound:
            return None
        found = next(iter(answer.get(key) or ()), None)
        if found is None:
            return None
        return (look_at_cluster if place.cluster else look_at_instance)(place.region, found)

    def require(self, place: DatabasePlace) -> DatabaseLook:
        """What is there.

        :raises NotFound: nothing is.
        """
        seen = self.look(place)
        if seen is None:
            raise NotFound(f"{place}: there is none", "look at codeblue_aws.database in the inventory")
        return seen

    def until(self, place: DatabasePlace, waiting: Waiting, seconds: float, what: str) -> DatabaseLook:
        """Wait until a database is as wanted.

        :param what: it is to become, for people.
        :raises NotReady: it is not in time, or it is stuck.
        """
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            seen = self.look(place)
            problem = waiting(seen)
            if not problem and seen is not None:
                return seen
            if seen is not None and seen.status in STUCK:
                raise NotReady(f"{place} is {seen.status} and does not become {what}", STUCK[seen.status])
            if time.monotonic() >= deadline:
                raise NotReady(
                    f"{place} did not become {what} within {seconds:g} s: {problem or 'it is not there'}",
                    "RDS goes on with it: codeblue resume this run waits again",
                )
            self.renew()
            self.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def until_settled(self, place: DatabasePlace, seconds: float, what: str) -> DatabaseLook:
        """Wait until it is available and nothing is pending.

        :param what: it is to become, for people.
        """
        return self.until(place, settled, seconds, what)

    def modify(self, place: DatabasePlace, values: Mapping[str, t.Any]) -> None:
        """Change it at once, not in its maintenance window.

        :param values: by the names of `modify_db_instance` or `modify_db_cluster`.
        """
        self._do("modify", place, {"ApplyImmediately": True, **values})

    def start(self, place: DatabasePlace) -> None:
        """Start it again.

        :raises Conflict: it is not stopped.
        """
        self._do("start", place, {})

    def stop(self, place: DatabasePlace) -> None:
        """Stop it. RDS starts it again by itself after seven days.

        :raises Conflict: it does not run, or has replicas.
        """
        self._do("stop", place, {})

    def tag(self, seen: DatabaseLook, name: str, value: str) -> None:
        """Give it a tag, or the tag another value."""
        self.account.ask(
            "rds",
            "add_tags_to_resource",
            region=seen.place.region,
            about=seen.place.identifier,
            ResourceName=seen.arn,
            Tags=[{"Key": name, "Value": value}],
        )

    def untag(self, seen: DatabaseLook, name: str) -> None:
        """Take a tag away; nothing happens when it has none."""
        self.account.ask(
            "rds",
            "remove_tags_from_resource",
            region=seen.place.region,
            about=seen.place.identifier,
            ResourceName=seen.arn,
            TagKeys=[name],
        )

    def _do(self, verb: str, place: DatabasePlace, values: Mapping[str, t.Any]) -> None:
        operation = f"{verb}_db_{'cluster' if place.cluster else 'instance'}"
        self.account.ask(
            "rds",
            operation,
            region=place.region,
            about=place.identifier,
            **{_identifier(place): place.identifier, **values},
        )


def settled(seen: DatabaseLook | None) -> str:
    """What a database still waits for until it is available and nothing is pending; empty for nothing."""
    return seen.unsettled if seen is not None else "it is not there"


def _identifier(place: DatabasePlace) -> str:
    return "DBClusterIdentifier" if place.cluster else "DBInstanceIdentifier"
