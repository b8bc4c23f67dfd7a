# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The IAM policy of a runbook: read off the code, and narrowed to the inventory."""

from __future__ import annotations

import json

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_calls import (
    Operation,
    api_names,
    every_action,
    operations_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_policy import (
    ANYTHING,
    LONGEST,
    in_parts,
    policy,
    resources_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import (
    GENERATED,
    WHOLE,
    AwsSecurity,
    RotatedValue,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._playbook_actions import actions_of

PLACE = AwsPlatform(
    region="us-east-1",
    standby_region="us-west-2",
    ecs=EcsService("clinic", "records"),
    security=AwsSecurity(
        secrets=(RotatedValue("clinic/records", {WHOLE: GENERATED}),),
        users=("deploy",),
        private_buckets=("clinic-reports",),
    ),
)


def allowed(document: dict[str, object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for statement in document["Statement"]:  # type: ignore[attr-defined]
        for name in statement["Action"]:
            found.setdefault(name, []).extend(statement["Resource"])
    return found


def test_every_operation_in_the_code_can_be_read_and_exists() -> None:
    found = operations_of(every_action())
    assert Operation("ecs", "update_service") in found and len(found) > 60
    assert all(each.name in api_names(each.service) for each in found)


@pytest.mark.parametrize(
    ("action", "some"),
    [
        ("aws_quarantine", {"ec2:create_security_group", "ecs:stop_task", "ecs:update_service"}),
        ("aws_identity_disable", {"iam:update_access_key", "iam:put_role_policy", "sts:get_caller_identity"}),
        ("aws_secret_rotate", {"secretsmanager:update_secret_version_stage", "ssm:put_parameter"}),
        # Given to a function as a text, or made of texts.
        ("aws_exposure_close", {"s3:get_bucket_policy", "s3:put_public_access_block"}),
        ("aws_database_snapshot", {"rds:create_db_snapshot", "rds:create_db_cluster_snapshot"}),
    ],
)
def test_what_an_action_asks_for_is_found(action: str, some: set[str]) -> None:
    assert some <= {f"{each.service}:{each.name}" for each in operations_of([action])}


def test_an_action_is_not_given_what_others_need() -> None:
    changes = {each.service for each in operations_of(["aws_quarantine"]) if is_change(each.name)}
    assert changes == {"ec2", "ecs"}


def test_reading_is_allowed_everywhere_and_changing_where_the_inventory_says() -> None:
    found = allowed(policy(operations_of(["aws_quarantine", "aws_identity_disable"]), [PLACE]))
    assert found["ecs:DescribeServices"] == [ANYTHING]
    assert found["ecs:UpdateService"] == [
        "arn:aws:ecs:us-east-1:*:service/clinic/records",
        "arn:aws:ecs:us-west-2:*:service/clinic/records",
    ]
    assert found["iam:UpdateAccessKey"] == ["arn:aws:iam::*:user/deploy"]
    assert found["ec2:CreateTags"] == [ANYTHING]


def test_what_shows_content_is_narrowed_as_well() -> None:
    found = allowed(policy(operations_of(["aws_secret_rotate"]), [PLACE], ["aws_secret_rotate"]))
    assert found["secretsmanager:GetSecretValue"] == ["arn:aws:secretsmanager:*:*:secret:clinic/records-??????"]
    assert found["ecs:UpdateService"] == ["arn:aws:ecs:us-east-1:*:service/*", "arn:aws:ecs:us-west-2:*:service/*"]
    (keys,) = [
        each
        for each in policy(operations_of(["aws_secret_rotate"]), [PLACE])["Statement"]
        if "kms:Decrypt" in each["Action"]
    ]
    assert "kms:ViaService" in keys["Condition"]["StringLike"]


def test_without_an_inventory_nothing_is_narrowed() -> None:
    assert resources_of("ecs:UpdateService", []) == (ANYTHING,)


def test_a_bucket_and_what_is_in_it_are_two_resources() -> None:
    assert resources_of("s3:PutBucketPolicy", [PLACE]) == ("arn:aws:s3:::clinic-reports",)
    assert resources_of("s3:GetObject", [PLACE]) == ("arn:aws:s3:::clinic-reports/*",)


def test_no_policy_is_longer_than_iam_takes() -> None:
    for runbook in ("security_breach_response", "complete_system_outage"):
        actions = actions_of(runbook)
        parts = in_parts(policy(operations_of(actions), [PLACE], actions))
        assert all(len(json.dumps(each, separators=(",", ":"))) <= LONGEST for each in parts)
        assert not any(name.endswith("*") for each in parts for name in allowed(each))


def test_the_runbook_for_a_breach_may_do_what_it_does() -> None:
    found = allowed(policy(operations_of(actions_of("security_breach_response")), [PLACE]))
    assert {"cloudtrail:LookupEvents", "iam:UpdateAccessKey", "ec2:ModifyNetworkInterfaceAttribute"} <= set(found)
    assert {"secretsmanager:PutSecretValue", "ecs:StopTask", "logs:FilterLogEvents"} <= set(found)
