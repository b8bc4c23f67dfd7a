# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database in RDS is restored beside itself and put in its place, with its writes stopped meanwhile."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_database import DATABASE, described, make_instance, names, security_group, site
from regions import Regions, running_regions


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


def with_own_group(regions: Regions) -> None:
    """An instance with a parameter group and a security group of its own."""
    regions.client("rds").create_db_parameter_group(
        DBParameterGroupName="clinic", DBParameterGroupFamily="postgres16", Description="own"
    )
    named = {"ParameterName": "default_transaction_read_only", "ParameterValue": "0", "ApplyMethod": "immediate"}
    regions.client("rds").modify_db_parameter_group(DBParameterGroupName="clinic", Parameters=[named])
    make_instance(regions, DBParameterGroupName="clinic", VpcSecurityGroupIds=[security_group(regions)])
    regions.forget()


def read_only(regions: Regions) -> str:
    found = regions.client("rds").describe_db_parameters(DBParameterGroupName="clinic")["Parameters"]
    return str(
        next(each for each in found if each["ParameterName"] == "default_transaction_read_only")["ParameterValue"]
    )


def test_restored_beside_with_the_settings_of_the_original_then_swapped(regions: Regions, tmp_path: Path) -> None:
    with_own_group(regions)
    account = site(tmp_path, regions)
    stopped = account.act("aws_database_writes", state="stopped", reason="rows are missing").worked()
    assert read_only(regions) == "1" and "not proven: codeblue_checks has no check that writes" in stopped.summary
    restored = account.act("aws_database_restore").worked().result
    original, other = described(regions, DATABASE), described(regions, restored["identifier"])
    for name in ("DBInstanceClass", "VpcSecurityGroups", "DBParameterGroups", "MultiAZ"):
        assert other[name] == original[name], name
    said = account.act("aws_database_swap", restored=restored["identifier"], of="2026-01-01T00:00:00Z").failed(3)
    assert "lacks all that was written after 2026-01-01T00:00:00Z" in said and names(regions) == {
        DATABASE,
        restored["identifier"],
    }
    swapped = account.act("aws_database_swap", accept="data_loss", restored=restored["identifier"]).worked()
    retired = swapped.result["retired"]
    assert names(regions) == {DATABASE, retired} and retired.startswith(f"{DATABASE}-codeblue-")
    account.act("aws_database_writes", state="resumed", reason="the data are clean").worked()
    assert read_only(regions) == "0"
    tags = {each["Key"] for each in described(regions, DATABASE)["TagList"]}
    assert "codeblue:run" in tags and "codeblue:writes-before" not in tags
    regions.forget()
    account.act("aws_database_writes", state="resumed", reason="again").worked()
    assert regions.changes == []


def test_a_moment_that_rds_does_not_have_is_refused_before_anything(regions: Regions, tmp_path: Path) -> None:
    make_instance(regions)
    regions.forget()
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    said = site(tmp_path, regions).act("aws_database_restore", to_time=ahead.isoformat()).failed(2)
    assert "cannot be restored to" in said and regions.changes == []


def test_a_snapshot_is_restored_and_check_mode_only_looks(regions: Regions, tmp_path: Path) -> None:
    make_instance(regions)
    regions.client("rds").create_db_snapshot(DBInstanceIdentifier=DATABASE, DBSnapshotIdentifier="before")
    regions.forget()
    account = site(tmp_path, regions)
    planned = account.act("aws_database_restore", "--check", snapshot="before").worked()
    assert regions.changes == [] and "would restore snapshot before" in planned.summary
    found = account.act("aws_database_restore", snapshot="before", name="clinic-beside").worked().result
    assert found["identifier"] == "clinic-beside" and names(regions) == {DATABASE, "clinic-beside"}
    assert regions.changes.count("restore_db_instance_from_db_snapshot") == 1


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_swap_that_is_killed_goes_on_where_it_was(regions: Regions, tmp_path: Path, number: int, moment: str) -> None:
    make_instance(regions)
    account = site(tmp_path, regions)
    restored = account.act("aws_database_restore").worked().result["identifier"]
    regions.forget()
    process = account.begin("aws_database_swap", accept="data_loss", restored=restored)
    regions.kill_at(process, number, moment)
    process.communicate(timeout=120)
    assert process.returncode == -9 and len(regions.changes) == number
    swapped = account.act("aws_database_swap", run_id=account.last_run, restored=restored).worked()
    assert names(regions) == {DATABASE, swapped.result["retired"]}
    # The restored one is in place, whichever of the two renames it was.
    assert any(each["Key"] == "codeblue:run" for each in described(regions, DATABASE)["TagList"])
    assert len(regions.changes) == (2 if moment == "after" else 3)
