# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of evidence stays in the account: snapshots of instances' volumes, and copies in a bucket that nobody can alter.

What goes into the bucket is encrypted already, to the same people as on the controller.
"""

from __future__ import annotations

import typing as t
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import LockedBucket

#: On a snapshot: the run that took it.
RUN_TAG = "codeblue:run"
#: Bytes of one piece; a larger one stays on the controller only.
LARGEST_COPY = 64 * 1024 * 1024


class EvidenceCopies:
    """In one account and region."""

    def __init__(self, account: AwsAccount) -> None:
        self._account = account

    def snapshot_volumes(self, instance: str, run_id: str, target: str) -> bool:
        """Take snapshots of all volumes of an instance, at one moment; those that this run has stay."""
        if self.snapshots(instance, run_id):
            return False
        tags = [
            {"Key": RUN_TAG, "Value": run_id},
            {"Key": "codeblue:instance", "Value": instance},
            {"Key": "codeblue:target", "Value": target},
        ]
        # Not repeated by itself: each call takes another set.
        self._account.ask(
            "ec2",
            "create_snapshots",
            about=instance,
            repeat=False,
            InstanceSpecification={"InstanceId": instance},
            Description=f"codeblue: evidence of {target}",
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
        )
        return True

    def snapshots(self, instance: str, run_id: str) -> list[str]:
        """Those that a run took of an instance."""
        filters = [
            {"Name": f"tag:{RUN_TAG}", "Values": [run_id]},
            {"Name": "tag:codeblue:instance", "Values": [instance]},
        ]
        found = self._account.ask_all(
            "ec2", "describe_snapshots", "Snapshots", about=instance, OwnerIds=["self"], Filters=filters
        )
        return sorted(str(each["SnapshotId"]) for each in found)

    def check_bucket(self, place: LockedBucket) -> None:
        """:raises Refused: objects in it can be altered or removed."""
        try:
            found = self._account.ask("s3", "get_object_lock_configuration", about=place.bucket, Bucket=place.bucket)[
                "ObjectLockConfiguration"
            ]
        except NotFound:
            found = {}
        if found.get("ObjectLockEnabled") != "Enabled":
            raise Refused(
                f"bucket {place.bucket} has no object lock: what is put there can be removed",
                "make one with object lock; an old bucket gets it by put-object-lock-configuration",
            )

    def put(self, place: LockedBucket, key: str, path: Path, now: datetime | None = None) -> bool:
        """Put a copy there that nobody can remove before its time; one that is there stays."""
        try:
            self._account.ask("s3", "head_object", about=f"{place.bucket}/{key}", Bucket=place.bucket, Key=key)
            return False
        except NotFound:
            pass
        until = (now or datetime.now(UTC)) + timedelta(seconds=place.retention)
        held: dict[str, t.Any] = {"ObjectLockLegalHoldStatus": "ON"} if place.legal_hold else {}
        self._account.ask(
            "s3",
            "put_object",
            about=f"{place.bucket}/{key}",
            Bucket=place.bucket,
            Key=key,
            Body=path.read_bytes(),
            # S3 wants a checksum with every object that it is to lock.
            ChecksumAlgorithm="SHA256",
            ObjectLockMode=place.mode,
            ObjectLockRetainUntilDate=until,
            **held,
        )
        return True
