# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a service on AWS everybody can read: its buckets, and snapshots that are shared with all accounts."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import LIKELY, PROVEN, UNDECIDED

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

# As long as CloudTrail's event history goes back.
_HISTORY_SECONDS = 90 * 86400.0
# By these a bucket is opened.
_OPENING = frozenset({"PutBucketPolicy", "PutBucketAcl", "DeletePublicAccessBlock", "PutPublicAccessBlock"})
CLOSE = "close_exposure"


@dataclass(frozen=True)
class ExposureLook:
    """What was seen of one service.

    :param buckets: open to everybody, to the sentence about each.
    :param snapshots: shared with all accounts, likewise.
    :param began_at: when the first of the buckets was opened, RFC 3339; None where it is not known.
    :param not_seen: what could not be looked at, one sentence each.
    """

    buckets: Mapping[str, str]
    snapshots: Mapping[str, str]
    began_at: str | None = None
    not_seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class AwsExposure:
    """What the diagnosis found, for the steps that follow it."""

    buckets: tuple[str, ...]
    snapshots: tuple[str, ...]
    began_at: str | None
    detected_at: str | None

    @classmethod
    def of(cls, diagnosis: Mapping[str, t.Any]) -> AwsExposure:
        """:raises BadInput: the diagnosis is not one of an exposure on AWS."""
        found = diagnosis.get("exposure")
        if not isinstance(found, Mapping) or "buckets" not in found:
            raise BadInput("the diagnosis says nothing about an exposure on AWS", "give what the role diagnose found")
        return cls(
            buckets=tuple(found["buckets"]),
            snapshots=tuple(found["snapshots"]),
            began_at=found.get("began_at"),
            detected_at=found.get("detected_at"),
        )


def look_for_exposure(account: AwsAccount, services: Mapping[str, Service]) -> dict[str, ExposureLook]:
    """What is seen of some services, all in one account and region.

    :raises AwsUnavailable: no answer came in time.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError, AwsUnavailable
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public import PublicThings

    things = PublicThings(account)
    snapshots: dict[str, str] = {}
    unseen: list[str] = []
    try:
        snapshots = {each.id: each.said for each in things.shared_snapshots()}
    except AwsUnavailable:
        raise
    except AwsError as error:
        unseen.append(f"snapshots cannot be looked at: {error.message}")

    def look(name: str) -> ExposureLook:
        buckets: dict[str, str] = {}
        not_seen = list(unseen)
        for bucket in services[name].require_aws().security.private_buckets:
            try:
                found = things.look(bucket)
            except AwsUnavailable:
                raise
            except AwsError as error:
                not_seen.append(f"bucket {bucket} cannot be looked at: {error.message}")
                continue
            if found.is_public:
                buckets[bucket] = found.said
        # Those who have no data of patients do not stand for the whole account.
        shared = snapshots if services[name].phi is not None else {}
        return ExposureLook(buckets, shared, _opened_at(account, buckets), tuple(not_seen))

    names = list(services)
    return dict(zip(names, account.side_by_side(names, look), strict=True))


def _opened_at(account: AwsAccount, buckets: Mapping[str, str]) -> str | None:
    """When the first of them was opened last, by CloudTrail."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_trail import events

    moments = []
    for bucket in buckets:
        try:
            found = events(account, "ResourceName", bucket, time.time() - _HISTORY_SECONDS)
        except AwsError:
            # Only the beginning is not known then.
            return None
        opened = [str(each.get("eventTime")) for each in found if each.get("eventName") in _OPENING]
        moments += opened[:1]
    return min(moments, default=None)


def judge_exposure(look: ExposureLook, reported: bool, detected_at: str | None) -> dict[str, t.Any]:
    """The judgement; see `RunbookDiagnosis.decide`.

    :param reported: the monitoring reports an exposure.
    """
    evidence: Sequence[str] = [*look.buckets.values(), *look.snapshots.values(), *look.not_seen]
    if look.buckets or look.snapshots:
        cause, confidence, treatment, next_step = "public_way", PROVEN, CLOSE, ""
    elif look.not_seen:
        cause, confidence, treatment = "inconclusive", UNDECIDED, "person"
        next_step = "look at what could not be read, then run it again"
    elif reported:
        cause, confidence, treatment = "inconclusive", UNDECIDED, "person"
        evidence = ["monitoring reports an exposure, and neither buckets nor snapshots show one"]
        next_step = "ask monitoring what it saw, and where"
    else:
        cause, confidence, treatment, next_step = "healthy", LIKELY, "none", ""
        evidence = ["no bucket and no snapshot is open to everybody"]
    return {
        "cause": cause,
        "confidence": confidence,
        "evidence": tuple(evidence),
        "treatment": treatment,
        "next_step": next_step,
        "exposure": {
            "buckets": sorted(look.buckets),
            "snapshots": sorted(look.snapshots),
            "began_at": look.began_at,
            "detected_at": detected_at,
            "people_at_least": 0,
        },
    }
