# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of an account everybody can read: buckets, and snapshots of databases and volumes. Found and closed.

Each method that changes something is safe to repeat, and says whether it changed anything.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import boto3
import botocore
import botocore.config
import botocore.exceptions
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public_policy import (
    BLOCKED,
    split,
    without_everybody,
)

#: Kinds of snapshots that can be shared with all accounts.
VOLUME, DATABASE, CLUSTER = "volume", "database", "cluster"
_ALL = "all"
# Attributes are asked for one by one.
_MOST_SNAPSHOTS = 200
_PROBE_SECONDS = 3.0
# The bucket has no access lists at all.
_NO_LISTS = ("AccessControlListNotSupported",)


@dataclass(frozen=True)
class BucketLook:
    """How a bucket is guarded.

    :param blocked: its public access block.
    :param policy: None when it has none.
    :param public: statements of it that let everybody in.
    :param grants: of its access list, with its owner; empty when it has no lists.
    :param open_grants: those of everybody.
    """

    name: str
    blocked: Mapping[str, bool]
    policy: Mapping[str, t.Any] | None
    public: Sequence[Mapping[str, t.Any]]
    owner: Mapping[str, t.Any] = field(default_factory=dict)
    grants: Sequence[Mapping[str, t.Any]] = ()
    open_grants: int = 0

    @property
    def is_public(self) -> bool:
        """Whether somebody unknown can read it now: the block counts for policies and for lists."""
        by_policy = bool(self.public) and not self.blocked.get("RestrictPublicBuckets")
        return by_policy or (bool(self.open_grants) and not self.blocked.get("IgnorePublicAcls"))

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.public and not self.open_grants and all(self.blocked.get(key) for key in BLOCKED)

    @property
    def said(self) -> str:
        """For people."""
        ways = [f"{len(self.public)} statements of its policy"] if self.public else []
        ways += [f"{self.open_grants} grants of its access list"] if self.open_grants else []
        return f"bucket {self.name} can be read by everybody ({' and '.join(ways)})"


@dataclass(frozen=True)
class SharedSnapshot:
    """A snapshot that every account can copy."""

    kind: str
    id: str

    @property
    def said(self) -> str:
        """For people."""
        return f"snapshot {self.id} of a {self.kind} can be copied by every account"


class PublicThings:
    """In one account and region."""

    def __init__(self, account: AwsAccount) -> None:
        self._account = account

    # -- buckets -----------------------------------------------------------------------------------------------

    def look(self, bucket: str) -> BucketLook:
        """How a bucket is guarded.

        :raises AwsError: it cannot be asked.
        """
        blocked = self._maybe("get_public_access_block", bucket).get("PublicAccessBlockConfiguration") or {}
        text = self._maybe("get_bucket_policy", bucket).get("Policy")
        policy = json.loads(text) if text else None
        found = self._account.ask("s3", "get_bucket_acl", about=bucket, Bucket=bucket)
        grants = found.get("Grants") or []
        return BucketLook(
            name=bucket,
            blocked={key: bool(blocked.get(key)) for key in BLOCKED},
            policy=policy,
            public=split(policy)[1] if policy is not None else (),
            owner=found.get("Owner") or {},
            grants=grants,
            open_grants=len(grants) - len(without_everybody(grants)),
        )

    def block(self, bucket: str) -> bool:
        """Switch all four settings on: from then on nobody unknown gets in, whatever policy and list say."""
        if all(self.look(bucket).blocked.values()):
            return False
        self._account.ask(
            "s3",
            "put_public_access_block",
            about=bucket,
            Bucket=bucket,
            PublicAccessBlockConfiguration=dict(BLOCKED),
        )
        return True

    def narrow_policy(self, bucket: str) -> bool:
        """Take what lets everybody in out of the policy; the rest of it stays."""
        look = self.look(bucket)
        if look.policy is None or not look.public:
            return False
        kept, _public = split(look.policy)
        if kept is None:
            self._account.ask("s3", "delete_bucket_policy", about=bucket, Bucket=bucket)
        else:
            self._account.ask("s3", "put_bucket_policy", about=bucket, Bucket=bucket, Policy=json.dumps(kept))
        return True

    def narrow_list(self, bucket: str) -> bool:
        """Take the grants of everybody out of the access list."""
        look = self.look(bucket)
        if not look.open_grants:
            return False
        wanted = {"Owner": dict(look.owner), "Grants": without_everybody(look.grants)}
        try:
            self._account.ask("s3", "put_bucket_acl", about=bucket, Bucket=bucket, AccessControlPolicy=wanted)
        except AwsError as error:
            if error.code not in _NO_LISTS:
                raise
            return False
        return True

    def says_public(self, bucket: str) -> bool:
        """Whether S3 itself takes the policy for a public one."""
        return bool((self._maybe("get_bucket_policy_status", bucket).get("PolicyStatus") or {}).get("IsPublic"))

    def any_key(self, bucket: str) -> str | None:
        """The key of an object in it, to ask for; None when it is empty. Keys may tell of patients: it is not shown."""
        found = self._account.ask("s3", "list_objects_v2", about=bucket, Bucket=bucket, MaxKeys=1)
        return next((str(each["Key"]) for each in found.get("Contents") or ()), None)

    def count(self, bucket: str, most: int) -> int:
        """How many objects are in it, as far as it is counted."""
        found = self._account.ask("s3", "list_objects_v2", about=bucket, Bucket=bucket, MaxKeys=most)
        return int(found.get("KeyCount") or 0)

    def _maybe(self, operation: str, bucket: str) -> dict[str, t.Any]:
        """What there may be none of."""
        try:
            return self._account.ask("s3", operation, about=bucket, Bucket=bucket)
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
            return {}

    # -- snapshots ---------------------------------------------------------------------------------------------

    def shared_snapshots(self) -> list[SharedSnapshot]:
        """Snapshots of this account and region that every account can copy."""
        volumes = self._account.ask_all(
            "ec2", "describe_snapshots", "Snapshots", about="shared", OwnerIds=["self"], RestorableByUserIds=[_ALL]
        )
        names = [str(each["SnapshotId"]) for each in volumes][:_MOST_SNAPSHOTS]

        # What is done about a snapshot follows from its own permissions, not from a list.
        def is_shared(name: str) -> bool:
            found = self._account.ask(
                "ec2", "describe_snapshot_attribute", about=name, SnapshotId=name, Attribute="createVolumePermission"
            )
            return any(each.get("Group") == _ALL for each in found.get("CreateVolumePermissions") or ())

        shared = self._account.side_by_side(names, is_shared)
        found = [SharedSnapshot(VOLUME, name) for name, each in zip(names, shared, strict=True) if each]
        return found + self._shared_databases() + self._shared_clusters()

    def _shared_databases(self) -> list[SharedSnapshot]:
        manual = self._account.ask_all(
            "rds", "describe_db_snapshots", "DBSnapshots", about="manual ones", SnapshotType="manual"
        )
        names = [str(each["DBSnapshotIdentifier"]) for each in manual][:_MOST_SNAPSHOTS]

        def is_shared(name: str) -> bool:
            found = self._account.ask("rds", "describe_db_snapshot_attributes", about=name, DBSnapshotIdentifier=name)[
                "DBSnapshotAttributesResult"
            ]
            return _shared(found.get("DBSnapshotAttributes") or ())

        shared = self._account.side_by_side(names, is_shared)
        return [SharedSnapshot(DATABASE, name) for name, each in zip(names, shared, strict=True) if each]

    def _shared_clusters(self) -> list[SharedSnapshot]:
        manual = self._account.ask_all(
            "rds", "describe_db_cluster_snapshots", "DBClusterSnapshots", about="manual ones", SnapshotType="manual"
        )
        names = [str(each["DBClusterSnapshotIdentifier"]) for each in manual][:_MOST_SNAPSHOTS]

        def is_shared(name: str) -> bool:
            found = self._account.ask(
                "rds", "describe_db_cluster_snapshot_attributes", about=name, DBClusterSnapshotIdentifier=name
            )["DBClusterSnapshotAttributesResult"]
            return _shared(found.get("DBClusterSnapshotAttributes") or ())

        shared = self._account.side_by_side(names, is_shared)
        return [SharedSnapshot(CLUSTER, name) for name, each in zip(names, shared, strict=True) if each]

    def unshare(self, snapshot: SharedSnapshot) -> bool:
        """Share it with all no more; accounts that are named keep it."""
        if snapshot not in self.shared_snapshots():
            return False
        if snapshot.kind == VOLUME:
            self._account.ask(
                "ec2",
                "modify_snapshot_attribute",
                about=snapshot.id,
                SnapshotId=snapshot.id,
                Attribute="createVolumePermission",
                OperationType="remove",
                GroupNames=[_ALL],
            )
        elif snapshot.kind == DATABASE:
            self._account.ask(
                "rds",
                "modify_db_snapshot_attribute",
                about=snapshot.id,
                DBSnapshotIdentifier=snapshot.id,
                AttributeName="restore",
                ValuesToRemove=[_ALL],
            )
        else:
            self._account.ask(
                "rds",
                "modify_db_cluster_snapshot_attribute",
                about=snapshot.id,
                DBClusterSnapshotIdentifier=snapshot.id,
                AttributeName="restore",
                ValuesToRemove=[_ALL],
            )
        return True


def is_given_to_anybody(access: AwsAccess, region: str, bucket: str, key: str) -> bool | None:
    """Whether an object is given to who says nothing about themselves; None when nobody answered."""
    client = boto3.session.Session().client(
        "s3",
        region_name=region,
        endpoint_url=access.endpoints.get(region),
        config=botocore.config.Config(
            signature_version=botocore.UNSIGNED,
            connect_timeout=_PROBE_SECONDS,
            read_timeout=_PROBE_SECONDS,
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path"} if region in access.endpoints else None,
        ),
    )
    try:
        client.head_object(Bucket=bucket, Key=key)
        return True
    except botocore.exceptions.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        return False if status in (401, 403, 404) else None
    except botocore.exceptions.BotoCoreError:
        return None
    finally:
        client.close()


def _shared(attributes: t.Iterable[Mapping[str, t.Any]]) -> bool:
    return any(
        each.get("AttributeName") == "restore" and _ALL in (each.get("AttributeValues") or ()) for each in attributes
    )
