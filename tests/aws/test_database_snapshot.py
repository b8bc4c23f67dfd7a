# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Snapshots of a database in RDS, and their copies in another region."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic_database import DATABASE, make_instance, site
from regions import STANDBY, Regions, running_regions


@pytest.fixture(scope="module")
def server() -> Iterator[Regions]:
    with running_regions() as running:
        yield running


@pytest.fixture
def regions(server: Regions) -> Regions:
    server.reset()
    return server


def test_a_snapshot_is_taken_copied_and_catalogued(regions: Regions, tmp_path: Path) -> None:
    make_instance(regions)
    account = site(tmp_path, regions, copies=[STANDBY])
    regions.forget()
    played = account.act("aws_database_snapshot").worked()
    assert regions.changes == ["create_db_snapshot", "copy_db_snapshot"]
    assert played.result["complete"] and played.result["copies"] == [STANDBY]
    name = played.result["identifier"]
    for region in ("us-east-1", STANDBY):
        (found,) = regions.client("rds", region).describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
        tags = {each["Key"]: each["Value"] for each in found["TagList"]}
        assert tags == {"codeblue:service": "patient_db", "codeblue:run": account.last_run}
    (kept,) = account.store().snapshots("patient_db")
    assert (kept.level, kept.location, kept.meta["rds"]) == ("database", played.result["arn"], name)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_killed_at_a_call_and_taken_up_again_nothing_is_taken_twice(
    regions: Regions, tmp_path: Path, moment: str, number: int
) -> None:
    make_instance(regions)
    account = site(tmp_path, regions, copies=[STANDBY])
    regions.forget()
    process = account.begin("aws_database_snapshot")
    regions.kill_at(process, number, moment)
    process.communicate(timeout=120)
    assert process.returncode == -9 and len(regions.changes) == number
    played = account.act("aws_database_snapshot", run_id=account.last_run).worked()
    for region in ("us-east-1", STANDBY):
        (found,) = regions.client("rds", region).describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
        assert found["DBSnapshotIdentifier"] == played.result["identifier"]
    # What was done and not answered is asked for once more under its own name, which RDS refuses.
    twice = regions.changes.count("create_db_snapshot"), regions.changes.count("copy_db_snapshot")
    assert twice == ((2, 1) if number == 1 else (1, 2))


def test_an_encrypted_one_needs_a_key_in_the_other_region_before_anything_is_done(
    regions: Regions, tmp_path: Path
) -> None:
    make_instance(regions, StorageEncrypted=True)
    regions.forget()
    said = site(tmp_path, regions, copies=[STANDBY]).act("aws_database_snapshot").failed(2)
    assert f"give codeblue_aws.database.keys.{STANDBY} a KMS key" in said and regions.changes == []
    key = regions.client("kms", STANDBY).create_key()["KeyMetadata"]["Arn"]
    regions.forget()
    (tmp_path / "with_key").mkdir()
    account = site(tmp_path / "with_key", regions, copies=[STANDBY], keys={STANDBY: key})
    name = account.act("aws_database_snapshot").worked().result["identifier"]
    (copy,) = regions.client("rds", STANDBY).describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
    assert copy["Encrypted"] and copy["KmsKeyId"] == key


def test_an_emergency_waits_for_no_copy_and_check_mode_changes_nothing(regions: Regions, tmp_path: Path) -> None:
    make_instance(regions)
    account = site(tmp_path, regions, copies=[STANDBY])
    regions.forget()
    planned = account.act("aws_database_snapshot", "--check").worked()
    assert regions.changes == [] and planned.result["changed"]
    assert f"would take a snapshot of instance {DATABASE} in us-east-1, and copy it to {STANDBY}" in planned.summary
    account.act("aws_database_snapshot", kind="emergency").worked()
    assert regions.changes == ["create_db_snapshot"]


def test_a_database_that_is_not_there_is_said_in_one_line(regions: Regions, tmp_path: Path) -> None:
    said = site(tmp_path, regions).act("aws_database_snapshot").failed(1)
    assert f"instance {DATABASE} in us-east-1: there is none" in said
