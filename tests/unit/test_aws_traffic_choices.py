# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Records, forwarding rules and versions of objects: what is decided from what AWS answers."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_distribution import behaviours_of, with_origin
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_forwarding import (
    ForwardedShares,
    sendable,
    target_complaint,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_function import judged
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_object_versions import restorations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_route53 import (
    batch,
    records_of,
    same_sets,
    shared,
    simple_again,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_functions import RecoveryFunction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import DnsRoute, DnsSide

NAME = "api.clinic.example."
ROUTE = DnsRoute("Z1", "api.clinic.example", 60, DnsSide("one.example", health_check="h1"), DnsSide("two.example"))
SIMPLE = {"Name": NAME, "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": "one.example"}]}


def weighted(target: str, identifier: str, weight: int) -> dict[str, t.Any]:
    values = [{"Value": target}]
    return {**SIMPLE, "ResourceRecords": values, "SetIdentifier": identifier, "Weight": weight}


def test_a_simple_record_leaves_in_the_batch_that_brings_weighted_ones() -> None:
    seen = records_of([SIMPLE], ROUTE)
    changes = batch(seen.sets, shared(seen, "standby", 5), "run 1")["Changes"]
    # Route 53 refuses a weighted record beside a simple one; a batch is carried out whole or not at all.
    assert [each["Action"] for each in changes] == ["DELETE", "CREATE", "CREATE"]
    assert changes[0]["ResourceRecordSet"] == SIMPLE
    made = {each["ResourceRecordSet"]["SetIdentifier"]: each["ResourceRecordSet"] for each in changes[1:]}
    assert {name: each["Weight"] for name, each in made.items()} == {"api-primary": 95, "api-standby": 5}
    assert {each["TTL"] for each in made.values()} == {60}


def test_weighted_records_only_get_other_weights() -> None:
    seen = records_of([weighted("one.example", "a", 255), weighted("two.example", "b", 0)], ROUTE)
    assert (seen.share("primary"), seen.at("standby", 0)) == (100, True)
    changes = batch(seen.sets, shared(seen, "standby", 25), "")["Changes"]
    assert [(each["Action"], each["ResourceRecordSet"]["Weight"]) for each in changes] == [
        ("UPSERT", 75),
        ("UPSERT", 25),
    ]
    assert [each["ResourceRecordSet"]["SetIdentifier"] for each in changes] == ["a", "b"]


def test_weights_that_are_all_zero_share_alike() -> None:
    seen = records_of([weighted("one.example", "a", 0), weighted("two.example", "b", 0)], ROUTE)
    assert seen.share("standby") == 50


def test_several_records_of_a_side_share_its_part_as_they_did() -> None:
    sets = [weighted("one.example", "a", 30), weighted("one.example", "b", 10), weighted("two.example", "c", 60)]
    after = shared(records_of(sets, ROUTE), "standby", 20)
    assert {each["SetIdentifier"]: each["Weight"] for each in after} == {"a": 60, "b": 20, "c": 20}


def test_back_to_a_simple_record_it_is_made_whole() -> None:
    seen = records_of([weighted("one.example", "a", 100), weighted("two.example", "b", 0)], ROUTE)
    after = simple_again(seen, "primary")
    assert same_sets(after, [SIMPLE])
    assert [each["Action"] for each in batch(seen.sets, after, "")["Changes"]] == ["DELETE", "DELETE", "CREATE"]


@pytest.mark.parametrize(
    ("more", "policy"),
    [
        ({"Region": "us-east-1"}, "latency"),
        ({"Failover": "PRIMARY"}, "failover"),
        ({"MultiValueAnswer": True}, "multivalue answer"),
        ({"GeoLocation": {"CountryCode": "CH"}}, "geolocation"),
        ({"CidrRoutingConfig": {"CollectionId": "c", "LocationName": "l"}}, "IP-based"),
    ],
)
def test_other_policies_are_named(more: dict[str, t.Any], policy: str) -> None:
    with pytest.raises(Refused, match=f"has the routing policy {policy}, nothing was changed"):
        records_of([{**SIMPLE, "SetIdentifier": "a", **more}], ROUTE)


def test_no_record_is_no_place_to_shift_traffic_from() -> None:
    with pytest.raises(CodeblueError, match=r"there is no DNS record api\.clinic\.example"):
        records_of([{**SIMPLE, "Name": "other.clinic.example."}], ROUTE)


BLUE, GREEN = (f"arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/{name}/0" for name in ("blue", "green"))
GROUPS = {"blue": BLUE, "green": GREEN}
LOGIN = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {"ClientId": "c", "Scope": "openid"}}


def test_other_actions_and_stickiness_stay_when_shares_change() -> None:
    forward = {
        "Type": "forward",
        "Order": 2,
        "TargetGroupArn": BLUE,
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": BLUE, "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 3600},
        },
    }
    seen = ForwardedShares("listener x", (LOGIN, forward), GROUPS)
    assert (seen.share("green"), seen.sticky_seconds) == (0, 3600)
    login, changed = seen.with_share("green", 25)
    # A login is described without its secret; ELBv2 is told to keep the one that it has.
    assert login["AuthenticateOidcConfig"] == {"ClientId": "c", "Scope": "openid", "UseExistingClientSecret": True}
    assert "TargetGroupArn" not in changed
    assert changed["ForwardConfig"]["TargetGroups"] == [
        {"TargetGroupArn": BLUE, "Weight": 75},
        {"TargetGroupArn": GREEN, "Weight": 25},
    ]
    assert changed["ForwardConfig"]["TargetGroupStickinessConfig"]["DurationSeconds"] == 3600
    assert sendable(forward)["TargetGroupArn"] == BLUE


def test_a_group_that_nobody_named_is_not_taken_traffic_from() -> None:
    strange = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/canary/0"
    groups = [{"TargetGroupArn": BLUE, "Weight": 9}, {"TargetGroupArn": strange, "Weight": 1}]
    seen = ForwardedShares("listener x", ({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}},), GROUPS)
    with pytest.raises(Refused, match="forwards to target group canary too"):
        seen.with_share("green", 5)


def target(state: str, **health: t.Any) -> dict[str, t.Any]:
    return {"Target": {"Id": "10.0.0.1", "Port": 8080}, "TargetHealth": {"State": state, **health}}


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([target("healthy"), target("draining")], ""),
        ([], "target group web has no targets"),
        ([target("draining")], "target group web has no targets"),
        (
            [target("healthy"), target("unhealthy", Reason="Target.ResponseCodeMismatch", Description="codes: [503]")],
            "target 10.0.0.1:8080 of web is unhealthy (Target.ResponseCodeMismatch: codes: [503])",
        ),
        ([target("initial", Reason="Elb.RegistrationInProgress")], "is initial (Elb.RegistrationInProgress)"),
    ],
)
def test_targets_are_told_by_their_reason(targets: list[dict[str, t.Any]], words: str) -> None:
    said = target_complaint("web", targets)
    assert words in said and bool(said) == bool(words)


def test_every_behaviour_with_the_origin_is_switched_and_no_other() -> None:
    config = {
        "Origins": {"Items": [{"Id": "one"}, {"Id": "two"}, {"Id": "api"}]},
        "OriginGroups": {"Items": [{"Id": "both"}]},
        "DefaultCacheBehavior": {"TargetOriginId": "one"},
        "CacheBehaviors": {
            "Items": [
                {"PathPattern": "/app/*", "TargetOriginId": "one"},
                {"PathPattern": "/api/*", "TargetOriginId": "api"},
            ]
        },
    }
    changed = with_origin(config, "both", "one", "distribution E1")
    assert behaviours_of(changed).origins == {"*": "both", "/app/*": "both", "/api/*": "api"}
    assert behaviours_of(config).origins["*"] == "one"
    with pytest.raises(CodeblueError, match="distribution E1 has no origin 'three'"):
        with_origin(config, "three", "one", "distribution E1")
    with pytest.raises(Refused, match="no behaviour of distribution E1 takes its content from two or both"):
        with_origin(config, "two", "both", "distribution E1")


def at(second: int) -> datetime.datetime:
    return datetime.datetime(2026, 1, 15, 10, 0, second, tzinfo=datetime.UTC)


def version(key: str, second: int, name: str, latest: bool = False, etag: str = "") -> dict[str, t.Any]:
    return {
        "Key": key,
        "LastModified": at(second),
        "VersionId": name,
        "IsLatest": latest,
        "ETag": etag or name,
        "Size": 1,
    }


def test_what_is_not_as_it_was_is_found_by_versions_and_markers() -> None:
    versions = [
        version("changed", 9, "c2", latest=True),
        version("changed", 1, "c1"),
        version("deleted", 1, "d1"),
        version("new", 9, "n1", latest=True),
        version("same", 1, "s1", latest=True),
        # Restored before: another version with the content of then.
        version("again", 9, "a3", latest=True, etag="x"),
        version("again", 8, "a2"),
        version("again", 1, "a1", etag="x"),
        # Deleted then, back now.
        version("back", 9, "b2", latest=True),
        version("back", 1, "b1"),
    ]
    markers = [
        {"Key": "deleted", "LastModified": at(9), "VersionId": "m1", "IsLatest": True},
        {"Key": "back", "LastModified": at(4), "VersionId": "m2", "IsLatest": False},
    ]
    found = {each.key: each.version and each.version["VersionId"] for each in restorations(versions, markers, at(5))}
    assert found == {"changed": "c1", "deleted": "d1", "new": None, "back": None}


def test_of_the_same_second_the_later_version_counts() -> None:
    versions = [version("a", 9, "v3", latest=True), version("a", 5, "v2"), version("a", 5, "v1")]
    (found,) = restorations(versions, [], at(5))
    assert found.version is not None and found.version["VersionId"] == "v2"


def function(**more: t.Any) -> RecoveryFunction:
    values = {"side": "standby", "payload": {}, "expects": {}, "timeout": 1.0, "repeatable": False, "sensitive": False}
    return RecoveryFunction(**{"name": "endpoints", "function": "update", **values, **more})


@pytest.mark.parametrize(
    ("more", "status", "error", "content", "words"),
    [
        ({}, 200, None, b"", ""),
        ({"expects": {"body.done": True}}, 200, None, b'{"body": {"done": true}}', ""),
        (
            {"expects": {"statusCode": 200}},
            200,
            None,
            b'{"statusCode": 500}',
            "answered statusCode with 500, wanted 200",
        ),
        ({"expects": {"a": 1}}, 200, None, b"<html>", "answered with no JSON"),
        (
            {},
            200,
            "Unhandled",
            b'{"errorType": "KeyError", "errorMessage": "no endpoint"}',
            "failed with KeyError: no endpoint",
        ),
        ({}, 202, None, b"", "with status 202"),
        ({}, 200, None, b"x" * (256 * 1024 + 1), "with more than 256 KiB"),
    ],
)
def test_an_answer_of_a_function_is_judged(
    more: dict[str, t.Any], status: int, error: str | None, content: bytes, words: str
) -> None:
    found = judged(function(**more), status, error, content)
    assert words in found.problem and bool(found.problem) == bool(words)


def test_nothing_is_shown_of_an_answer_that_is_sensitive() -> None:
    secret = function(sensitive=True, expects={"key": "right"})
    found = judged(secret, 200, None, b'{"key": "hunter2"}')
    assert found.answer is None and "hunter2" not in found.problem and "another value" in found.problem
    failed = judged(secret, 200, "Unhandled", b'{"errorType": "E", "errorMessage": "hunter2"}')
    assert failed.answer is None and "hunter2" not in failed.problem
