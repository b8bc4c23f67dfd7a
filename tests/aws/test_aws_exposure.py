"""Buckets that everybody reads are closed, snapshots are shared with all accounts no more."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public_policy import is_public, split
from security_site import AwsSite
from simulated_account import SimulatedAccount

BUCKET = "clinic-reports"
OWN = {
    "Sid": "Own",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "s3:*",
    "Resource": f"arn:aws:s3:::{BUCKET}/*",
}
EVERYBODY = {
    "Sid": "Everybody",
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": f"arn:aws:s3:::{BUCKET}/*",
}


def policy(*statements: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.fixture
def snapshot(account: SimulatedAccount) -> str:
    """A bucket that everybody reads by policy and by list, and a snapshot that every account can copy."""
    s3, ec2 = account.client("s3"), account.client("ec2")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="report-1", Body=b"x")
    s3.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy(OWN, EVERYBODY)))
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    made = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.modify_snapshot_attribute(
        SnapshotId=made, Attribute="createVolumePermission", OperationType="add", GroupNames=["all"]
    )
    account.asked.clear()
    return str(made)


def test_what_everybody_reads_is_closed(account: SimulatedAccount, snapshot: str, tmp_path: Path) -> None:
    site = AwsSite(tmp_path, account, private_buckets=[BUCKET])
    looked = site.act("aws_exposure_close", "--check", "--diff", reason="a test")
    assert looked.code == 0 and "would close bucket clinic-reports" in looked.summary, looked.out
    assert not [each for each in account.changes if BUCKET in each or "modify" in each]
    played = site.act("aws_exposure_close", reason="a test")
    assert played.code == 0 and played.result["changed"], played.out
    assert played.result["closed"] == [BUCKET] and played.result["unshared"] == [snapshot]
    s3, ec2 = account.client("s3"), account.client("ec2")
    block = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(block.values()) and len(block) == 4
    assert json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"] == [OWN]
    grants = s3.get_bucket_acl(Bucket=BUCKET)["Grants"]
    assert grants and not [each for each in grants if "URI" in each["Grantee"]]
    shared = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert not shared["CreateVolumePermissions"]
    (step,) = [each for each in site.store().steps(_run(site)) if each.action == f"policy_{BUCKET}"]
    assert json.loads("".join(step.decision["before"])) == policy(OWN, EVERYBODY)
    account.asked.clear()
    again = site.act("aws_exposure_close", reason="a test")
    assert again.code == 0 and not again.result["changed"] and not account.changes, again.out


def _run(site: AwsSite) -> str:
    return str(max(each.run_id for each in site.store().runs()))


@pytest.mark.parametrize(
    ("change", "public"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
        ({"Principal": {"Service": "cloudfront.amazonaws.com"}}, False),
        ({"Effect": "Deny"}, False),
        ({"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, False),
        ({"Condition": {"StringLike": {"aws:SourceVpce": "*"}}}, True),
        ({"Condition": {"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}}, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
    ],
)
def test_who_a_statement_lets_in(change: dict[str, t.Any], public: bool) -> None:
    assert is_public({**EVERYBODY, **change}) is public


def test_nothing_remains_of_a_policy_for_everybody_only() -> None:
    assert split(policy(EVERYBODY)) == (None, [EVERYBODY])
    assert split({**policy(), "Statement": EVERYBODY}) == (None, [EVERYBODY])
