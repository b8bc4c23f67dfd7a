# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done about a database in RDS that serves nobody, and at what loss."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_failover_choice import (
    FENCED_TAG,
    PROMOTED_TAG,
    DatabaseChoice,
    DatabaseState,
    choose,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import ClusterMember, DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_database import DatabasePlace

NOW, RPO = 10_000.0, 900.0
PRIMARY = DatabasePlace("us-east-1", "clinic-prod", cluster=False)
REPLICA = DatabasePlace("us-west-2", "clinic-dr", cluster=False)
SILENT = "us-east-1 gives no answer"


def look(place: DatabasePlace, status: str = "available", **more: t.Any) -> DatabaseLook:
    return DatabaseLook(place=place, resource=place.identifier, arn="", status=status, engine="postgres", **more)


def chosen(
    primary: DatabaseLook | None,
    replica: DatabaseLook | None = None,
    silent: str = "",
    until: float | None = NOW - 60,
    replicating: bool = True,
    endpoints: bool = True,
    failing: bool = False,
    down_since: float | None = None,
) -> DatabaseChoice:
    state = DatabaseState(primary, silent, replica, replicating and replica is not None, until, endpoints, failing)
    return choose(state, RPO, down_since, NOW)


def test_one_that_was_stopped_is_started() -> None:
    assert chosen(look(PRIMARY, "stopped"), look(REPLICA)).path == "start"
    # But not one that was closed for good, in favour of another.
    fenced = look(PRIMARY, "stopped", tags={FENCED_TAG: "run"})
    assert chosen(fenced, look(REPLICA)).path == "promote"


def test_a_loss_is_bounded_by_what_the_replica_surely_has() -> None:
    found = chosen(look(PRIMARY, "failed"), look(REPLICA), until=NOW - 400, down_since=NOW - 300)
    assert (found.path, found.loss_seconds, found.acceptances, found.must_fence) == ("promote", 101.0, (), False)
    # It may still take writes: up to now.
    found = chosen(look(PRIMARY), look(REPLICA), until=NOW - 400, down_since=NOW - 300)
    assert (found.loss_seconds, found.must_fence) == (401.0, True)


@pytest.mark.parametrize("until", [None, NOW - RPO - 1])
def test_a_loss_that_is_unknown_or_beyond_the_rpo_has_to_be_accepted(until: float | None) -> None:
    found = chosen(look(PRIMARY, "failed"), look(REPLICA), until=until)
    assert (found.path, found.acceptances) == ("promote", ("data_loss",))
    assert ("not known" if until is None else "beyond the RPO of 900 s") in found.reason


def test_a_silent_region_is_left_when_consumers_can_be_led_away() -> None:
    found = chosen(None, look(REPLICA), silent=SILENT, down_since=NOW - 3000)
    # When the last write was there is not known, whenever the checks began to fail.
    assert (found.path, found.loss_seconds, found.acceptances) == ("promote", 61.0, ())
    found = chosen(None, look(REPLICA), silent=SILENT, endpoints=False)
    assert found.acceptances == ("data_loss",) and "names no way" in found.reason
    assert chosen(None, None, silent=SILENT).path == "refuse"


def test_without_a_replica_only_backups_are_left() -> None:
    assert chosen(look(PRIMARY, "failed")).path == "restore"
    assert chosen(None).path == "restore"
    assert chosen(look(PRIMARY, "failed"), look(REPLICA, "storage-full")).path == "refuse"


def test_one_that_a_run_promoted_is_led_to_and_another_is_not_trusted() -> None:
    promoted = look(REPLICA, tags={PROMOTED_TAG: "run"})
    assert chosen(look(PRIMARY, "stopped", tags={FENCED_TAG: "run"}), promoted, replicating=False).path == "lead"
    found = chosen(look(PRIMARY, "failed"), look(REPLICA), replicating=False)
    assert (found.path, found.acceptances) == ("lead", ("data_loss",))
    # Somebody has promoted it for a test while everybody works with the primary.
    assert chosen(look(PRIMARY), look(REPLICA), replicating=False).path == "refuse"


def test_in_a_cluster_another_instance_writes_and_a_global_database_switches_roles() -> None:
    cluster = DatabasePlace("us-east-1", "clinic", cluster=True)
    members = (ClusterMember("clinic-1", True, 0), ClusterMember("clinic-2", False, 1))
    assert chosen(look(cluster, members=members), look(REPLICA), failing=True).path == "fail_over"
    lost = (ClusterMember("clinic-2", False, 1),)
    assert chosen(look(cluster, members=lost), look(REPLICA)).path == "fail_over"
    elsewhere = look(DatabasePlace("us-west-2", "clinic", cluster=True), global_cluster="world")
    found = chosen(look(cluster, members=members[:1]), elsewhere)
    assert (found.path, found.planned, found.must_fence, found.acceptances) == ("promote", True, False, ())
    found = chosen(None, elsewhere, silent=SILENT)
    assert (found.path, found.planned) == ("promote", False)
