"""How buckets and snapshots are closed, call by call, against the services' own models."""

from __future__ import annotations

import json

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public import VOLUME, PublicThings, SharedSnapshot
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public_policy import BLOCKED
from stubbed_account import StubbedAccount

BUCKET = "clinic-reports"
ALL_USERS = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
OWNER = {"ID": "own"}
OWN_GRANT = {"Grantee": {"Type": "CanonicalUser", "ID": "own"}, "Permission": "FULL_CONTROL"}
OPEN_GRANT = {"Grantee": ALL_USERS, "Permission": "READ"}
OWN = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:*", "Resource": "*"}
EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}


def looks(account: StubbedAccount, blocked: bool, statements: list[dict[str, object]], grants: list[object]) -> None:
    asked = {"Bucket": BUCKET}
    block = {"PublicAccessBlockConfiguration": dict(BLOCKED)} if blocked else "NoSuchPublicAccessBlockConfiguration"
    account.expect("s3", "get_public_access_block", asked, block)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    account.expect("s3", "get_bucket_policy", asked, {"Policy": policy} if statements else "NoSuchBucketPolicy")
    account.expect("s3", "get_bucket_acl", asked, {"Owner": OWNER, "Grants": grants})


def test_a_block_makes_a_bucket_private_that_is_not_yet_closed() -> None:
    account = StubbedAccount()
    looks(account, False, [EVERYBODY], [OWN_GRANT])
    found = PublicThings(account).look(BUCKET)
    assert found.is_public and not found.is_closed and "1 statements" in found.said
    looks(account, True, [EVERYBODY], [OWN_GRANT])
    found = PublicThings(account).look(BUCKET)
    assert not found.is_public and not found.is_closed
    looks(account, True, [OWN], [OWN_GRANT])
    assert PublicThings(account).look(BUCKET).is_closed
    account.done()


def test_all_four_settings_are_switched_on_once() -> None:
    account = StubbedAccount()
    looks(account, False, [], [OWN_GRANT])
    asked = {"Bucket": BUCKET, "PublicAccessBlockConfiguration": dict(BLOCKED)}
    account.expect("s3", "put_public_access_block", asked, {})
    assert PublicThings(account).block(BUCKET)
    looks(account, True, [], [OWN_GRANT])
    assert not PublicThings(account).block(BUCKET)
    account.done()


def test_the_rest_of_a_policy_stays_and_an_empty_one_goes() -> None:
    account = StubbedAccount()
    looks(account, True, [OWN, EVERYBODY], [OWN_GRANT])
    kept = json.dumps({"Version": "2012-10-17", "Statement": [OWN]})
    account.expect("s3", "put_bucket_policy", {"Bucket": BUCKET, "Policy": kept}, {})
    assert PublicThings(account).narrow_policy(BUCKET)
    looks(account, True, [EVERYBODY], [OWN_GRANT])
    account.expect("s3", "delete_bucket_policy", {"Bucket": BUCKET}, {})
    assert PublicThings(account).narrow_policy(BUCKET)
    looks(account, True, [OWN], [OWN_GRANT])
    assert not PublicThings(account).narrow_policy(BUCKET)
    account.done()


def test_grants_of_everybody_go_and_a_bucket_without_lists_is_left_alone() -> None:
    account = StubbedAccount()
    wanted = {"Bucket": BUCKET, "AccessControlPolicy": {"Owner": OWNER, "Grants": [OWN_GRANT]}}
    looks(account, True, [], [OWN_GRANT, OPEN_GRANT])
    account.expect("s3", "put_bucket_acl", wanted, {})
    assert PublicThings(account).narrow_list(BUCKET)
    looks(account, True, [], [OWN_GRANT, OPEN_GRANT])
    account.expect("s3", "put_bucket_acl", wanted, "AccessControlListNotSupported")
    assert not PublicThings(account).narrow_list(BUCKET)
    account.done()


def shares(account: StubbedAccount, volumes: list[str], databases: list[str]) -> None:
    asked = {"OwnerIds": ["self"], "RestorableByUserIds": ["all"]}
    account.expect("ec2", "describe_snapshots", asked, {"Snapshots": [{"SnapshotId": each} for each in volumes]})
    permission = {"CreateVolumePermissions": [{"Group": "all"}]}
    for each in volumes:
        asked = {"SnapshotId": each, "Attribute": "createVolumePermission"}
        account.expect("ec2", "describe_snapshot_attribute", asked, permission)
    manual = {"SnapshotType": "manual"}
    found = [{"DBSnapshotIdentifier": each} for each in ("own", *databases)]
    account.expect("rds", "describe_db_snapshots", manual, {"DBSnapshots": found})
    account.expect("rds", "describe_db_cluster_snapshots", manual, {"DBClusterSnapshots": []})


def test_a_snapshot_of_a_volume_is_shared_with_all_no_more() -> None:
    account = StubbedAccount()
    attributes = {"DBSnapshotAttributesResult": {"DBSnapshotAttributes": [{"AttributeName": "restore"}]}}
    shares(account, ["snap-1"], [])
    # Asked for between the lists of both kinds.
    account.expect("rds", "describe_db_snapshot_attributes", {"DBSnapshotIdentifier": "own"}, attributes)
    stub = account._stubs["rds", "us-east-1"]
    stub._queue.insert(1, stub._queue.pop())
    asked = {
        "SnapshotId": "snap-1",
        "Attribute": "createVolumePermission",
        "OperationType": "remove",
        "GroupNames": ["all"],
    }
    account.expect("ec2", "modify_snapshot_attribute", asked, {})
    assert PublicThings(account).unshare(SharedSnapshot(VOLUME, "snap-1"))
    account.done()
