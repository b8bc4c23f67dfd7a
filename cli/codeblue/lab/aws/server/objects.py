"""Objects of S3 as anybody, or the CDN, gets them."""

from __future__ import annotations

import json
import typing as t

from codeblue.lab.aws.server.behaviour import backend


def is_public(bucket: str) -> bool:
    """Whether anybody may read the objects: by its policy or its list of rights, as far as nothing blocks them.

    Conditions of policies are taken as met by nobody.
    """
    known = backend("s3", "aws").buckets[bucket]
    block = known.public_access_block
    by_list = known.acl is not None and known.acl.public_read and not (block and block.ignore_public_acls)
    return bool(by_list) or (_policy_opens(known.policy) and not (block and block.restrict_public_buckets))


def read_object(bucket: str, key: str) -> bytes | None:
    """The newest version of an object; None when there is none or it is deleted."""
    known = backend("s3", "aws").buckets.get(bucket)
    found = known.keys.get(key) if known is not None else None
    # A deletion is a version without a value.
    return t.cast("bytes | None", getattr(found, "value", None))


def _policy_opens(policy: bytes | None) -> bool:
    statements = json.loads(policy or b"{}").get("Statement") or []
    for each in statements if isinstance(statements, list) else [statements]:
        principal, actions = each.get("Principal"), each.get("Action") or []
        actions = [actions] if isinstance(actions, str) else actions
        anybody = principal == "*" or (isinstance(principal, dict) and principal.get("AWS") in ("*", ["*"]))
        reads = any(action in ("*", "s3:*", "s3:Get*", "s3:GetObject") for action in actions)
        if each.get("Effect") == "Allow" and anybody and reads and not each.get("Condition"):
            return True
    return False
