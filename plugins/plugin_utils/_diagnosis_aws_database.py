# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why nobody works with a database in RDS, by what RDS itself says and by where its consumers are led."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import Finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import AwsDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_survey import DatabaseSeen

FAILOVER, PERSON, NONE = "failover", "person", "none"
#: Cause to the treatment that runs by itself; every other cause needs a person. The role `failover` decides whether it
#: is started, another one promoted, or consumers led to the right one, and at what loss.
TREATMENTS: Mapping[str, str] = {
    "healthy": NONE,
    "database_stopped": FAILOVER,
    "database_failed": FAILOVER,
    "database_missing": FAILOVER,
    "region_silent": FAILOVER,
    "endpoint_wrong": FAILOVER,
}
# States in which another one taking over is no help, or makes it worse, with what is.
_BY_HAND: Mapping[str, str] = {
    "storage-full": "Give it more storage: aws rds modify-db-instance --allocated-storage.",
    "insufficient-disk-space": "Give it more storage: aws rds modify-db-instance --allocated-storage.",
    "incompatible-parameters": "Reset the parameter that does not fit, then reboot it.",
    "incompatible-option-group": "Give it its former option group.",
    "incompatible-credentials": "Give it another master password.",
}
_NEXT_STEPS: Mapping[str, str] = {
    "database_changing": "RDS is at work on it: see aws rds describe-events, and run again when it is available.",
    "connections_exhausted": (
        "End what holds its connections: restart the service that has most of them, or raise max_connections."
    ),
    "credentials_refused": "Give it the password of the secret again, or the secret a new one: codeblue run"
    " rotate_secrets.",
    "network_closed": "Give its security group the rule back that lets its consumers in: CloudTrail has who took it.",
    "writes_stopped": "When its data are whole: the role isolate with its entry point resume_writes.",
    "inconclusive": "RDS says that all is well: see the logs of its consumers, and try a login from where they are.",
}
# The part of its connections from which on there is none for a new one: RDS keeps some for itself.
_EXHAUSTED = 0.95
_MOST_EVIDENCE = 10

_Cause = tuple[str, float, list[str]]


class DatabasePart:
    """See `AwsPart`."""

    def look(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, DatabaseSeen]:
        """How the databases and their replicas are."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_survey import (
            look_at_databases,
            look_closer,
        )

        databases = _named(services)
        return look_closer(account, databases, look_at_databases(account, databases))

    def judge(self, found: AwsFindings, now: float) -> dict[str, t.Any]:
        """The judgement; `database` in it says which one is the primary and in which state."""
        del now
        seen: DatabaseSeen | None = found.look
        cause, confidence, evidence = _cause(found, seen)
        treatment = TREATMENTS.get(cause, PERSON)
        status = seen.acting.status if seen is not None and seen.acting is not None else ""
        if cause == "database_failed" and status in _BY_HAND:
            treatment = PERSON
        if cause == "region_silent" and _no_replica(found):
            treatment = PERSON
        next_step = ""
        if treatment == PERSON:
            next_step = _BY_HAND.get(status) or _NEXT_STEPS.get(cause) or _NEXT_STEPS["inconclusive"]
        return {
            "cause": cause,
            "confidence": confidence,
            "evidence": tuple(evidence[:_MOST_EVIDENCE]),
            "treatment": treatment,
            "next_step": next_step,
            "down_since": min((each.at for each in found.own_failures), default=None),
            "database": {
                "primary": str(seen.acting.place) if seen is not None and seen.acting is not None else "",
                "status": status,
                "writer_fails": bool(seen is not None and seen.acting is not None and _without_writer(seen.acting)),
            },
        }

    def check(self, account: AwsAccount, services: Mapping[str, AwsPlatform]) -> Mapping[str, Finding]:
        """Whether RDS serves clients with each."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_survey import look_at_databases

        return {name: _finding(each) for name, each in look_at_databases(account, _named(services)).items()}


def _named(services: Mapping[str, AwsPlatform]) -> dict[str, AwsDatabase]:
    return {name: t.cast(AwsDatabase, platform.database) for name, platform in services.items()}


def _finding(seen: DatabaseSeen) -> Finding:
    acting = seen.acting
    if acting is None:
        return Finding("api_unavailable" if seen.silent else "database_down", seen.silent or "there is no database")
    if not acting.serves:
        return Finding("database_down", f"{acting.place} is {acting.status}")
    return Finding(None, f"{acting.place} is {acting.status}")


def _no_replica(found: AwsFindings) -> bool:
    return found.platform.database is None or found.platform.database.replica is None


def _without_writer(acting: DatabaseLook) -> bool:
    return bool(acting.members) and not acting.writer


def _cause(found: AwsFindings, seen: DatabaseSeen | None) -> _Cause:
    own = [f"{each.id} fails ({each.error_class})" for each in found.own_failures[:3]]
    if seen is None or found.silent:
        return "region_silent", PROVEN, [found.silent, *own]
    acting = seen.acting
    if acting is None:
        if seen.silent:
            return "region_silent", PROVEN, [seen.silent, *_replica(seen), *own]
        return "database_missing", PROVEN, [f"{found.platform.database} does not exist", *_replica(seen), *own]
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import STOPPED, STUCK

    status = f"{acting.place} is {acting.status}"
    if acting.status in STOPPED:
        return "database_stopped", PROVEN, [status, *seen.events[:2], *own]
    if acting.status in STUCK:
        return "database_failed", PROVEN, [status, STUCK[acting.status], *_replica(seen), *seen.events[:2], *own]
    if _without_writer(acting):
        return "database_failed", PROVEN, [f"no instance of {acting.place} writes", *seen.events[:2], *own]
    if not acting.serves:
        return "database_changing", PROVEN, [status, *seen.events[:2], *own]
    if seen.wrong:
        return "endpoint_wrong", PROVEN, [*seen.wrong[:4], f"{acting.place} has {acting.address}", *own]
    return _by_way(found, seen, acting, own, status)


def _by_way(found: AwsFindings, seen: DatabaseSeen, acting: DatabaseLook, own: list[str], status: str) -> _Cause:
    """RDS serves: is there a way in, a connection left, a login that is taken?"""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import WRITES_TAG

    if own and WRITES_TAG in acting.tags:
        return "writes_stopped", PROVEN, [f"a run has stopped its writes: {acting.tags[WRITES_TAG]}", *own]
    if seen.lets_in is False:
        groups = ", ".join(seen.groups)
        return "network_closed", PROVEN, [f"no rule of {groups} lets anybody in at port {acting.port}", status, *own]
    if not own:
        return "healthy", PROVEN, [status]
    classes = {each.error_class for each in found.own_failures}
    most, present = seen.most_connections, seen.connections
    full = most is not None and present is not None and present >= _EXHAUSTED * most
    if full or "too_many_connections" in classes:
        figures = f"{present} of {most} connections are used" if full else "it refuses further connections"
        return "connections_exhausted", PROVEN, [figures, *own]
    if "credentials_refused" in classes or seen.password_changed:
        confidence = PROVEN if "credentials_refused" in classes else LIKELY
        return "credentials_refused", confidence, [*seen.events[:2], *own, status]
    return "inconclusive", UNDECIDED, [*own, status, *seen.events[:3]]


def _replica(seen: DatabaseSeen) -> list[str]:
    if seen.replica is None:
        return []
    role = "replica" if seen.replicating else "former replica"
    return [f"its {role} {seen.replica.place} is {seen.replica.status}"]


PART = DatabasePart()
