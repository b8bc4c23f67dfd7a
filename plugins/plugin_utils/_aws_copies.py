# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether what a service keeps in S3 is in the standby region as well."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_fitness import Fitness, fit, unfit
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_storage import Bucket

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_standby import Destination

# What is critical is no data lake: of each prefix so many pages of 1,000 keys are compared, and that it was not all is
# said.
_MOST_PAGES = 20
_OTHER_SECONDS = 4.0


def copied_objects(
    account: AwsAccount, bucket: Bucket, to: Destination, rpo: float, now: datetime.datetime
) -> list[Fitness]:
    """The replication, and what is critical.

    :param rpo: seconds; what is younger may be missing.
    """
    copy = bucket.copy
    if copy is None:
        return []
    what = f"copy {copy.name} of {bucket}"
    found = []
    rules = _rules(account, bucket, to.other) if to.other is not None else None
    if rules is not None and not any(_leads_to(each, copy.name) for each in rules):
        found.append(unfit(what, "is not made: no rule of replication is switched on for it"))
    for prefix in copy.critical or ("",):
        found.append(_compared(account, bucket, copy.name, prefix, to, rpo, now))
    return found


def _rules(account: AwsAccount, bucket: Bucket, region: str) -> Sequence[t.Mapping[str, t.Any]] | None:
    """The rules of the bucket; None when its region gives no answer."""
    try:
        answer = account.ask("s3", "get_bucket_replication", region, str(bucket), _OTHER_SECONDS, Bucket=bucket.name)
    except AwsUnavailable:
        return None
    except NotFound:
        return []
    return t.cast("list[dict[str, t.Any]]", answer["ReplicationConfiguration"]["Rules"])


def _leads_to(rule: t.Mapping[str, t.Any], name: str) -> bool:
    return rule["Status"] == "Enabled" and str(rule["Destination"]["Bucket"]).rpartition(":")[2] == name


def _compared(
    account: AwsAccount,
    bucket: Bucket,
    copy: str,
    prefix: str,
    to: Destination,
    rpo: float,
    now: datetime.datetime,
) -> Fitness:
    what = f"copy {copy} of {bucket}{f', {prefix}' if prefix else ''}"
    here, whole = _keys(account, copy, prefix, to.region, None)
    if not here:
        return unfit(what, "is empty")
    newest = max(each["LastModified"] for each in here.values())
    own = f"has {len(here)} objects, the newest of {newest:%Y-%m-%d %H:%M}"
    if to.other is None:
        return fit(what, own)
    try:
        there, _all = _keys(account, bucket.name, prefix, to.other, _OTHER_SECONDS)
    except AwsUnavailable:
        return fit(what, f"{own}; {to.other} gave no answer")
    due = now - datetime.timedelta(seconds=rpo)
    missing = [
        key
        for key, each in there.items()
        if each["LastModified"] <= due and (key not in here or here[key]["Size"] != each["Size"])
    ]
    # A page that ends earlier on one side than on the other says nothing about what comes after it.
    if not whole:
        missing = [key for key in missing if key <= max(here)]
    if missing:
        # Their keys may tell of patients.
        return unfit(what, f"lacks {len(missing)} objects that are older than the RPO")
    part = "" if whole else f" of the first {len(here)}"
    return fit(what, f"lacks none{part} of {len(there)} objects")


def _keys(
    account: AwsAccount, bucket: str, prefix: str, region: str, patience: float | None
) -> tuple[dict[str, dict[str, t.Any]], bool]:
    """Key to object, and whether these are all."""
    found: dict[str, dict[str, t.Any]] = {}
    onward: dict[str, t.Any] = {}
    for _page in range(_MOST_PAGES):
        answer = account.ask(
            "s3", "list_objects_v2", region, f"bucket {bucket}", patience, Bucket=bucket, Prefix=prefix, **onward
        )
        found |= {str(each["Key"]): each for each in answer.get("Contents") or ()}
        if not answer.get("IsTruncated"):
            return found, True
        onward = {"ContinuationToken": answer["NextContinuationToken"]}
    return found, False
