# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Route 53, CloudFront, ELBv2 and Lambda answer and moto does not, held against the models of the services."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _aws_distribution, _aws_dns_traffic
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_distribution import CdnDistribution
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_dns_traffic import DnsTraffic
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_load_balancer import LoadBalancerTraffic
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_maintenance_rule import MaintenanceRule
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import (
    Distribution,
    DnsRoute,
    DnsSide,
    LoadBalancer,
)
from botocore.stub import ANY, Stubber

REGION = "us-west-2"
NAME = "api.clinic.example."
ROUTE = DnsRoute("Z0CLINIC", "api.clinic.example", 60, DnsSide("one.example"), DnsSide("two.example"))


class Stubbed:
    """An account whose services answer what was laid down, one answer after the other."""

    def __init__(self) -> None:
        self.account = AwsAccount(AwsAccess(), REGION, Budget(30), sleep=lambda _s: None)
        self._stubs: dict[str, Stubber] = {}

    def __getitem__(self, service: str) -> Stubber:
        if service not in self._stubs:
            client = self.account._client(service, REGION)
            self._stubs[service] = Stubber(client)
            self._stubs[service].activate()
        return self._stubs[service]

    def all_asked(self) -> None:
        for each in self._stubs.values():
            each.assert_no_pending_responses()


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubbed]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setattr(_aws_distribution, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_aws_dns_traffic, "_FIRST_PAUSE", 0.01)
    made = Stubbed()
    yield made
    made.all_asked()


# -- Route 53 ------------------------------------------------------------------------------------------------------


def record(target: str, **more: t.Any) -> dict[str, t.Any]:
    return {"Name": NAME, "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": target}], **more}


def weighted(standby: int) -> list[dict[str, t.Any]]:
    return [
        record("one.example", SetIdentifier="api-primary", Weight=100 - standby),
        record("two.example", SetIdentifier="api-standby", Weight=standby),
    ]


def listed(stubbed: Stubbed, sets: list[dict[str, t.Any]]) -> None:
    answer = {"ResourceRecordSets": sets, "IsTruncated": False, "MaxItems": "100"}
    stubbed["route53"].add_response("list_resource_record_sets", answer, ANY_PAGE)


ANY_PAGE = {"HostedZoneId": "Z0CLINIC", "StartRecordName": "api.clinic.example", "MaxItems": "100"}
PENDING = {"ChangeInfo": {"Id": "/change/C1", "Status": "PENDING", "SubmittedAt": 1.0}}


def test_a_simple_record_goes_and_weighted_ones_come_in_one_batch(stubbed: Stubbed) -> None:
    listed(stubbed, [record("one.example")])
    changes = [
        {"Action": "DELETE", "ResourceRecordSet": record("one.example")},
        *({"Action": "CREATE", "ResourceRecordSet": each} for each in weighted(5)),
    ]
    wanted = {"HostedZoneId": "Z0CLINIC", "ChangeBatch": {"Comment": "run 1", "Changes": changes}}
    stubbed["route53"].add_response("change_resource_record_sets", PENDING, wanted)
    moved = DnsTraffic(stubbed.account, ROUTE, REGION).move(0, "standby", 5, "run 1")
    assert moved.ticket == "C1" and moved.accepted_at


def test_an_answer_that_was_lost_is_found_in_the_records(stubbed: Stubbed) -> None:
    listed(stubbed, [record("one.example")])
    stubbed["route53"].add_client_error("change_resource_record_sets", "InvalidChangeBatch", "not found", 400)
    listed(stubbed, weighted(5))
    moved = DnsTraffic(stubbed.account, ROUTE, REGION).move(0, "standby", 5, "run 1")
    assert moved.accepted_at and moved.ticket is None


def test_what_somebody_else_made_of_a_record_is_not_overwritten(stubbed: Stubbed) -> None:
    listed(stubbed, [record("one.example")])
    stubbed["route53"].add_client_error("change_resource_record_sets", "InvalidChangeBatch", "not found", 400)
    listed(stubbed, weighted(60))
    with pytest.raises(Refused, match="somebody has changed it meanwhile"):
        DnsTraffic(stubbed.account, ROUTE, REGION).move(0, "standby", 5, "run 1")
    listed(stubbed, weighted(60))
    with pytest.raises(Refused, match="somebody has given standby 60 % meanwhile"):
        DnsTraffic(stubbed.account, ROUTE, REGION).move(5, "standby", 25, "run 1")


def test_a_batch_that_route_53_does_not_take_is_told(stubbed: Stubbed) -> None:
    for _look in range(2):
        listed(stubbed, [record("one.example")])
    said = "RRSet of type CNAME with DNS name api.clinic.example. is not permitted"
    stubbed["route53"].add_client_error("change_resource_record_sets", "InvalidChangeBatch", said, 400)
    listed(stubbed, [record("one.example")])
    way = DnsTraffic(stubbed.account, ROUTE, REGION)
    assert way.look().share("standby") == 0
    with pytest.raises(CodeblueError, match="is not permitted"):
        way.move(0, "standby", 5, "run 1")


def test_a_change_is_waited_for_until_every_name_server_has_it(stubbed: Stubbed) -> None:
    insync = {"ChangeInfo": {**PENDING["ChangeInfo"], "Status": "INSYNC"}}
    for answer in (PENDING, PENDING, insync):
        stubbed["route53"].add_response("get_change", answer, {"Id": "C1"})
    way = DnsTraffic(stubbed.account, ROUTE, REGION)
    assert way.settled("C1", 5.0, lambda: None) == "all name servers have it"
    stubbed["route53"].add_response("get_change", PENDING, {"Id": "C1"})
    with pytest.raises(CodeblueError, match="not all name servers of Route 53 have the change C1 after 0 s"):
        way.settled("C1", 0.0, lambda: None)


def test_a_side_whose_health_check_fails_is_not_fit(stubbed: Stubbed) -> None:
    route = DnsRoute("Z0CLINIC", "api.clinic.example", 60, DnsSide("one.example"), DnsSide("two.example", None, "h1"))
    way = DnsTraffic(stubbed.account, route, REGION)
    bad = {"StatusReport": {"Status": "Failure: Connection refused"}}
    good = {"StatusReport": {"Status": "Success: HTTP Status Code 200, OK"}}
    for observations, words in (([bad] * 9 + [good], "fails for 9 of 10 checkers"), ([bad] * 2 + [good] * 8, "")):
        answer = {"HealthCheckObservations": observations}
        stubbed["route53"].add_response("get_health_check_status", answer, {"HealthCheckId": "h1"})
        assert words in way.complaint("standby") and bool(way.complaint("primary")) is False
    assert way.complaint("primary") == ""


# -- CloudFront ----------------------------------------------------------------------------------------------------

CONFIG = {
    "CallerReference": "1",
    "Comment": "",
    "Enabled": True,
    "Origins": {
        "Quantity": 2,
        "Items": [{"Id": name, "DomainName": f"{name}.s3.amazonaws.com"} for name in ("one", "two")],
    },
    "DefaultCacheBehavior": {"TargetOriginId": "one", "ViewerProtocolPolicy": "https-only"},
}
SWITCHED = {**CONFIG, "DefaultCacheBehavior": {"TargetOriginId": "two", "ViewerProtocolPolicy": "https-only"}}


def cdn(stubbed: Stubbed) -> CdnDistribution:
    return CdnDistribution(stubbed.account, Distribution("E1EXAMPLE", "one", "two"), REGION)


def test_a_distribution_is_changed_under_the_tag_that_it_was_read_with(stubbed: Stubbed) -> None:
    front = stubbed["cloudfront"]
    front.add_response("get_distribution_config", {"ETag": "A", "DistributionConfig": CONFIG})
    front.add_client_error("update_distribution", "PreconditionFailed", "no", 412)
    # Somebody else has changed the comment meanwhile; it is kept.
    front.add_response("get_distribution_config", {"ETag": "B", "DistributionConfig": {**CONFIG, "Comment": "x"}})
    wanted = {"Id": "E1EXAMPLE", "IfMatch": "B", "DistributionConfig": {**SWITCHED, "Comment": "x"}}
    front.add_response("update_distribution", {"ETag": "C"}, wanted)
    done = cdn(stubbed).switch("two", "one")
    assert done.accepted_at and done.before.origins == {"*": "one"} and done.after.origins == {"*": "two"}


def test_a_distribution_that_is_changed_all_the_time_is_left(stubbed: Stubbed) -> None:
    for _turn in range(4):
        answer = {"ETag": "A", "DistributionConfig": CONFIG}
        stubbed["cloudfront"].add_response("get_distribution_config", answer)
        stubbed["cloudfront"].add_client_error("update_distribution", "PreconditionFailed", "no", 412)
    with pytest.raises(Refused, match="is changed over and over by others"):
        cdn(stubbed).switch("two", "one")


@pytest.mark.parametrize("word", ["Completed", "COMPLETED"])
def test_an_invalidation_is_over_in_whatever_letters(stubbed: Stubbed, word: str) -> None:
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": "codeblue-1"}
    made = {"Id": "I1", "Status": "InProgress", "CreateTime": 1.0, "InvalidationBatch": batch}
    wanted = {"DistributionId": "E1EXAMPLE", "InvalidationBatch": batch}
    stubbed["cloudfront"].add_response("create_invalidation", {"Location": "x", "Invalidation": made}, wanted)
    assert cdn(stubbed).invalidate("codeblue-1")[0] == "I1"
    for status in ("InProgress", word):
        stubbed["cloudfront"].add_response("get_invalidation", {"Invalidation": {**made, "Status": status}})
    assert cdn(stubbed).invalidated("I1", 5.0, lambda: None) < 5.0


def test_an_invalidation_is_not_waited_for_for_ever(stubbed: Stubbed) -> None:
    batch = {"Paths": {"Quantity": 0}, "CallerReference": "1"}
    made = {"Id": "I1", "Status": "InProgress", "CreateTime": 1.0, "InvalidationBatch": batch}
    stubbed["cloudfront"].add_response("get_invalidation", {"Invalidation": made})
    with pytest.raises(CodeblueError, match="invalidation I1 of distribution E1EXAMPLE is not done after 0 s"):
        cdn(stubbed).invalidated("I1", 0.0, lambda: None)


# -- ELBv2 ---------------------------------------------------------------------------------------------------------

ELB = f"arn:aws:elasticloadbalancing:{REGION}:111122223333"
LISTENER = f"{ELB}:listener/app/clinic/1/2"
BLUE, GREEN = f"{ELB}:targetgroup/blue/1", f"{ELB}:targetgroup/green/1"


def test_a_login_before_the_forward_keeps_its_secret(stubbed: Stubbed) -> None:
    login = {
        "Type": "authenticate-oidc",
        "Order": 1,
        "AuthenticateOidcConfig": {
            "Issuer": "https://login.example",
            "AuthorizationEndpoint": "https://login.example/a",
            "TokenEndpoint": "https://login.example/t",
            "UserInfoEndpoint": "https://login.example/u",
            "ClientId": "c",
        },
    }
    forward = {"Type": "forward", "Order": 2, "TargetGroupArn": BLUE}
    answer = {"Listeners": [{"ListenerArn": LISTENER, "DefaultActions": [login, forward]}]}
    stubbed["elbv2"].add_response("describe_listeners", answer, {"ListenerArns": [LISTENER]})
    groups = [{"TargetGroupArn": BLUE, "Weight": 75}, {"TargetGroupArn": GREEN, "Weight": 25}]
    kept = {**login, "AuthenticateOidcConfig": {**login["AuthenticateOidcConfig"], "UseExistingClientSecret": True}}
    changed = {"Type": "forward", "Order": 2, "ForwardConfig": {"TargetGroups": groups}}
    wanted = {"ListenerArn": LISTENER, "DefaultActions": [kept, changed]}
    stubbed["elbv2"].add_response("modify_listener", {"Listeners": []}, wanted)
    balancer = LoadBalancer(LISTENER, None, {"blue": BLUE, "green": GREEN})
    assert LoadBalancerTraffic(stubbed.account, balancer).move(0, "green", 25, "").accepted_at


def test_maintenance_takes_no_place_of_another_rule(stubbed: Stubbed) -> None:
    rules = {"Rules": [{"RuleArn": f"{ELB}:listener-rule/app/clinic/1/2/3", "Priority": "1", "Actions": []}]}
    stubbed["elbv2"].add_response("describe_rules", rules)
    stubbed["elbv2"].add_response(
        "describe_tags", {"TagDescriptions": [{"ResourceArn": "a", "Tags": [{"Key": "Name", "Value": "x"}]}]}
    )
    with pytest.raises(Refused, match="another rule has the priority 1, nothing was changed"):
        MaintenanceRule(stubbed.account, LoadBalancer(LISTENER)).put("run")


def test_maintenance_of_one_service_leaves_the_others_behind_its_listener_alone(stubbed: Stubbed) -> None:
    rule = f"{ELB}:listener-rule/app/clinic/1/2/3"
    condition = {"Field": "host-header", "HostHeaderConfig": {"Values": ["records.clinic.example"]}}
    described = {**condition, "Values": ["records.clinic.example"]}
    rules = {"Rules": [{"RuleArn": rule, "Priority": "10", "Conditions": [described], "Actions": []}]}
    stubbed["elbv2"].add_response("describe_rules", rules, {"ListenerArn": LISTENER})
    fixed = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": ANY}
    wanted = {
        "ListenerArn": LISTENER,
        "Conditions": [condition],
        "Priority": 1,
        "Actions": [{"Type": "fixed-response", "FixedResponseConfig": fixed}],
        "Tags": [{"Key": "codeblue-maintenance", "Value": "run"}],
    }
    stubbed["elbv2"].add_response("create_rule", {"Rules": []}, wanted)
    assert MaintenanceRule(stubbed.account, LoadBalancer(LISTENER, rule)).put("run").accepted_at


def test_what_is_kept_for_the_way_back_can_be_given_back(stubbed: Stubbed) -> None:
    answer = {"Listeners": [{"ListenerArn": LISTENER, "DefaultActions": [{"Type": "forward", "TargetGroupArn": BLUE}]}]}
    stubbed["elbv2"].add_response("describe_listeners", answer)
    way = LoadBalancerTraffic(stubbed.account, LoadBalancer(LISTENER, None, {"blue": BLUE, "green": GREEN}))
    text = way.look().text()
    assert json.loads(text) == [{"Type": "forward", "TargetGroupArn": BLUE}] and text in way.way_back(text)
