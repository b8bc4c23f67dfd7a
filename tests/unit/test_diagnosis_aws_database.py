# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why nobody works with a database in RDS, by what was seen of it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_failover_choice import PROMOTED_TAG
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import AwsFindings
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import (
    ClusterMember,
    DatabaseLook,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_survey import DatabaseSeen
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import WRITES_TAG
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_database import PART, _finding
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

PRIMARY = DatabasePlace("us-east-1", "clinic-prod", cluster=False)
REPLICA = DatabasePlace("us-west-2", "clinic-dr", cluster=False)


def look(place: DatabasePlace = PRIMARY, status: str = "available", **more: t.Any) -> DatabaseLook:
    return DatabaseLook(place, place.identifier, "", status, "postgres", address=f"{place.identifier}.rds", **more)


def failing(error_class: str = "timeout") -> CheckResult:
    return CheckResult("patient_db", "login", "shallow", "postgresql", False, 1.0, error_class, "", at=1000.0)


def judged(
    seen: DatabaseSeen | None, *failures: CheckResult, silent: str = "", replica: bool = True
) -> dict[str, t.Any]:
    database = {"instance": "clinic-prod", **({"replica": {"instance": "clinic-dr"}} if replica else {})}
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "database",
        "codeblue_objectives": {"rto": "30m", "rpo": "15m"},
        "codeblue_aws": {"region": "us-east-1", "standby_region": "us-west-2", "database": database},
    }
    service = load_service("patient_db", variables, ["patient_db"])
    return PART.judge(AwsFindings(service, seen, silent, failures), 2000.0)


@pytest.mark.parametrize(
    ("seen", "cause", "treatment"),
    [
        (DatabaseSeen(look()), "healthy", "none"),
        (DatabaseSeen(look(status="stopped")), "database_stopped", "failover"),
        (DatabaseSeen(look(status="failed")), "database_failed", "failover"),
        (DatabaseSeen(look(status="storage-full")), "database_failed", "person"),
        (DatabaseSeen(look(status="incompatible-parameters")), "database_failed", "person"),
        (DatabaseSeen(look(status="rebooting")), "database_changing", "person"),
        (DatabaseSeen(look(members=(ClusterMember("clinic-2", False, 1),))), "database_failed", "failover"),
        (DatabaseSeen(None, replica=look(REPLICA), replicating=True), "database_missing", "failover"),
        (DatabaseSeen(None, silent="us-east-1 gives no answer"), "region_silent", "failover"),
        (DatabaseSeen(look(), wrong=("parameter /host leads to elsewhere",)), "endpoint_wrong", "failover"),
        (DatabaseSeen(look(tags={WRITES_TAG: "group sg-1 sg-2"}), lets_in=False), "writes_stopped", "person"),
        (DatabaseSeen(look(port=5432), lets_in=False, groups=("sg-1",)), "network_closed", "person"),
    ],
)
def test_what_rds_says_names_the_cause(seen: DatabaseSeen, cause: str, treatment: str) -> None:
    found = judged(seen, *((failing(),) if cause != "healthy" else ()))
    assert (found["cause"], found["treatment"]) == (cause, treatment), found["evidence"]
    assert bool(found["next_step"]) == (treatment == "person")


@pytest.mark.parametrize(
    ("seen", "error_class", "cause"),
    [
        (DatabaseSeen(look(), connections=96, most_connections=100), "timeout", "connections_exhausted"),
        (DatabaseSeen(look(), connections=50, most_connections=100), "too_many_connections", "connections_exhausted"),
        (DatabaseSeen(look()), "credentials_refused", "credentials_refused"),
        (DatabaseSeen(look(), password_changed=True), "unavailable", "credentials_refused"),
        (DatabaseSeen(look(), connections=50, most_connections=100), "timeout", "inconclusive"),
    ],
)
def test_where_rds_serves_the_way_in_is_looked_at(seen: DatabaseSeen, error_class: str, cause: str) -> None:
    found = judged(seen, failing(error_class))
    assert (found["cause"], found["treatment"], found["down_since"]) == (cause, "person", 1000.0)


def test_a_silent_region_without_a_replica_needs_a_person() -> None:
    assert judged(None, silent="us-east-1 gives no answer", replica=False)["treatment"] == "person"
    assert judged(DatabaseSeen(None, "us-east-1 gives no answer"), replica=False)["treatment"] == "person"


def test_a_replica_that_a_run_promoted_is_the_one_that_counts() -> None:
    promoted = look(REPLICA, tags={PROMOTED_TAG: "run"})
    seen = DatabaseSeen(look(status="failed"), replica=promoted)
    assert judged(seen)["cause"] == "healthy" and _finding(seen).error_class is None
    # One that somebody else has promoted is not.
    assert judged(DatabaseSeen(look(status="failed"), replica=look(REPLICA)))["cause"] == "database_failed"


def test_the_check_says_what_rds_says() -> None:
    assert _finding(DatabaseSeen(look(status="stopped"))).error_class == "database_down"
    assert _finding(DatabaseSeen(None)).error_class == "database_down"
    assert _finding(DatabaseSeen(None, "us-east-1 gives no answer")).error_class == "api_unavailable"
