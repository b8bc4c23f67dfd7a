# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Operations of AWS services: which of them change something, and by which names IAM policies allow them.

The service authorization reference of AWS says which action stands for which operation. Most are named alike.
"""

from __future__ import annotations

import re

_READING = re.compile(r"(describe|get|list|batch_get|head|lookup|search|select|filter|test|query|scan|estimate)_")
# Named as if it only read.
_CHANGING = frozenset({"get_federation_token", "test_invoke_method"})
# The prefix is that of the service's signature, but for these.
_PREFIXES = {"monitoring": "cloudwatch"}
_NAMED_OTHERWISE = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPartCopy": "s3:PutObject",
}


def is_change(operation: str) -> bool:
    """Whether an operation changes something.

    :param operation: as botocore names its method, as `update_service`.
    """
    return operation in _CHANGING or not _READING.match(operation)


def iam_action(signing_name: str, api_name: str) -> str:
    """The name by which IAM policies allow an operation, as `ecs:UpdateService`.

    :param signing_name: of the service, as its model says.
    :param api_name: of the operation, as its model says.
    """
    action = f"{_PREFIXES.get(signing_name, signing_name)}:{api_name}"
    return _NAMED_OTHERWISE.get(action, action)
