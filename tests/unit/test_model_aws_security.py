# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `codeblue_aws` may say about containing a breach, and what is said about what it may not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import (
    GENERATED,
    WHOLE,
    AwsSecurity,
    LockedBucket,
    RotatedValue,
)


def load(**settings: t.Any) -> AwsSecurity:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": "us-east-1", **settings},
    }
    return load_service("records", variables, ["records"]).require_aws().security


def test_all_of_it_is_read() -> None:
    found = load(
        quarantine={"management": ["10.9.0.0/16"], "instances": ["i-0123456789abcdef0"]},
        secrets={"clinic/records": {"JWT_SECRET": GENERATED}, "clinic/token": "/etc/new-token"},
        parameters={"/clinic/records/token": GENERATED},
        identities={
            "users": ["deploy"],
            "roles": ["records-admin"],
            "known_networks": ["10.0.0.0/8"],
            "new_keys": {"deploy": "clinic/deploy-key"},
        },
        private_buckets=["clinic-documents"],
        logs={"groups": ["/ecs/records"], "access": ["/ecs/records/access"], "data_events": "trail"},
        evidence_bucket={"bucket": "clinic-evidence", "retention": "2160h", "legal_hold": True},
    )
    assert found.management == ("10.9.0.0/16",) and found.instances == ("i-0123456789abcdef0",)
    assert found.secrets == (
        RotatedValue("clinic/records", {"JWT_SECRET": GENERATED}),
        RotatedValue("clinic/token", {WHOLE: "/etc/new-token"}),
    )
    assert found.parameters == (RotatedValue("/clinic/records/token", {WHOLE: GENERATED}),)
    assert (found.users, found.roles, found.new_keys) == (
        ("deploy",),
        ("records-admin",),
        {"deploy": "clinic/deploy-key"},
    )
    assert found.known_networks == ("10.0.0.0/8",)
    assert found.private_buckets == ("clinic-documents",)
    assert found.evidence_bucket == LockedBucket("clinic-evidence", 90 * 86400.0, "COMPLIANCE", True)
    assert (found.log_groups, found.access_log_groups, found.data_events) == (
        ("/ecs/records",),
        ("/ecs/records/access",),
        "trail",
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quarantine": {"management": ["10.9"]}}, "quarantine.management[0]: '10.9' is no network"),
        ({"quarantine": {"instances": ["web1"]}}, "instances[0]: 'web1' is no id of an EC2 instance"),
        ({"secrets": {"clinic/x": {}}}, "secrets.clinic/x: names no key of its JSON document"),
        ({"parameters": {"/x": {"a": GENERATED}}}, "parameters./x: a parameter is one text"),
        ({"identities": {"new_keys": {"deploy": "x"}}}, "new_keys.deploy: is not among identities.users"),
        ({"identities": {"groups": ["x"]}}, "identities.groups: is not a known key here"),
        ({"private_buckets": ["Clinic"]}, "private_buckets[0]: 'Clinic' is no name of a bucket"),
        ({"evidence_bucket": {"bucket": "clinic"}}, "evidence_bucket.retention: is missing"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(**settings)
    assert words in caught.value.message


@pytest.mark.parametrize("where", ["secrets", "parameters"])
def test_a_value_in_place_of_a_path_is_not_repeated(where: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(**{where: {"/clinic/x": "hunter2-hunter2"}})
    assert "write generated" in caught.value.message and "hunter2" not in caught.value.message
