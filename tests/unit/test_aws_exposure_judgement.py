# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is open to everybody on AWS is judged, and events about objects are read as accesses."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_object_access import object_access
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_exposure import (
    AwsExposure,
    ExposureLook,
    judge_exposure,
)

OPEN = {"clinic-reports": "bucket clinic-reports can be read by everybody"}
ANONYMOUS = {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"}


def event(who: dict[str, str] = ANONYMOUS, **more: t.Any) -> str:
    asked = {"bucketName": "clinic-reports", "key": "jane-doe.pdf"}
    whole = {
        "eventName": "GetObject",
        "eventTime": "2026-11-28T08:00:00Z",
        "sourceIPAddress": "203.0.113.7",
        "userIdentity": who,
        "requestParameters": asked,
    }
    return json.dumps({**whole, **more})


def test_an_anonymous_read_is_a_disclosure_whose_path_tells_of_nobody() -> None:
    access = object_access(event())
    assert access is not None and access.disclosed and not access.subject
    assert access.path == "/clinic-reports" and access.patients == ("jane-doe.pdf",)
    assert "jane" not in access.pattern and access.client == "203.0.113.7"


def test_reads_by_somebody_refused_reads_and_other_events_are_none() -> None:
    somebody = object_access(event({"type": "IAMUser", "arn": "arn:aws:iam::1:user/x", "accountId": "1"}))
    assert somebody is not None and somebody.subject
    refused = object_access(event(errorCode="AccessDenied"))
    assert refused is not None and not refused.disclosed
    assert object_access(event(eventName="PutObject")) is None
    assert object_access("no event") is None and object_access("[]") is None


@pytest.mark.parametrize(
    ("look", "reported", "cause", "treatment"),
    [
        (ExposureLook(OPEN, {}), False, "public_way", "close_exposure"),
        (ExposureLook({}, {"snap-1": "snapshot snap-1 …"}), True, "public_way", "close_exposure"),
        (ExposureLook(OPEN, {}, not_seen=("bucket x …",)), True, "public_way", "close_exposure"),
        (ExposureLook({}, {}, not_seen=("bucket x …",)), False, "inconclusive", "person"),
        (ExposureLook({}, {}), True, "inconclusive", "person"),
        (ExposureLook({}, {}), False, "healthy", "none"),
    ],
)
def test_the_judgement(look: ExposureLook, reported: bool, cause: str, treatment: str) -> None:
    found = judge_exposure(look, reported, None)
    assert (found["cause"], found["treatment"]) == (cause, treatment)
    assert bool(found["next_step"]) is (treatment == "person") and found["evidence"]


def test_what_was_found_is_handed_on_and_another_platforms_is_refused() -> None:
    found = judge_exposure(ExposureLook(OPEN, {}, "2026-11-28T07:00:00Z"), True, "2026-11-28T08:00:00Z")
    exposure = AwsExposure.of(found)
    assert exposure.buckets == ("clinic-reports",) and exposure.began_at == "2026-11-28T07:00:00Z"
    with pytest.raises(BadInput, match="nothing about an exposure on AWS"):
        AwsExposure.of({"exposure": {"pages": []}})
