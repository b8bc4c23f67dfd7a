# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `codeblue_aws` may say of traffic, buckets, functions and the standby region."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

ELB = "arn:aws:elasticloadbalancing:us-east-1:111122223333"
LISTENER = f"{ELB}:listener/app/clinic/50dc6c495c0c9188/f2f7dc8efc522ab2"
BLUE, GREEN = (f"{ELB}:targetgroup/{name}/73e2d6bc24d8a067" for name in ("blue", "green"))
CERTIFICATE = "arn:aws:acm:us-west-2:111122223333:certificate/12345678-1234-1234-1234-123456789012"
DNS = {
    "zone": "/hostedzone/Z0CLINIC",
    "name": "API.clinic.example.",
    "primary": {"target": "one.us-east-1.elb.amazonaws.com"},
    "standby": {"target": "two.us-west-2.elb.amazonaws.com", "answers_at": "127.0.0.1:8443"},
}


def load(**settings: t.Any) -> AwsPlatform:
    variables = {
        "codeblue_environment": "lab",
        "codeblue_platform": "aws",
        "codeblue_kind": "service",
        "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
        "codeblue_aws": {"region": "us-east-1", "standby_region": "us-west-2", **settings},
    }
    return load_service("records", variables, ["records"]).require_aws()


def test_what_a_recovery_between_regions_needs_is_read_whole() -> None:
    place = load(
        dns=DNS,
        load_balancer={"listener": LISTENER, "target_groups": {"blue": BLUE, "green": GREEN}},
        distribution={"id": "E1EXAMPLE", "primary": "alb", "standby": "alb-standby", "paths": ["/app/*"]},
        bucket={
            "name": "clinic-frontend",
            "page": {"key": "index.html", "maintenance": {"bucket": "clinic-dr", "key": "maintenance.html"}},
            "copy": {"name": "clinic-dr", "critical": ["config/"]},
        },
        functions={"endpoints": {"function": "update-database-endpoints", "payload": {"a": 1}, "timeout": "2m"}},
        standby={
            "secrets": ["clinic/database"],
            "certificates": {"api.clinic.example": CERTIFICATE},
            "quotas": [{"service": "fargate", "code": "L-3032A538", "least": 8}],
        },
    )
    assert place.dns is not None and (place.dns.zone, place.dns.name) == ("Z0CLINIC", "api.clinic.example")
    assert (place.dns.ttl, place.dns.alias) == (60, False)
    assert place.dns.side("primary").address == "one.us-east-1.elb.amazonaws.com"
    assert place.dns.side("standby").address == "127.0.0.1:8443"
    assert place.load_balancer is not None and place.load_balancer.maintenance.status == "503"
    assert place.distribution is not None and place.distribution.origin("standby") == "alb-standby"
    assert place.bucket is not None and place.bucket.page is not None
    assert str(place.bucket.page.maintenance) == "s3://clinic-dr/maintenance.html"
    function = place.functions["endpoints"]
    assert (function.side, function.timeout, function.repeatable) == ("standby", 120.0, False)
    assert place.standby.quotas[0].least == 8.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dns": {**DNS, "zone": "clinic.example"}}, "codeblue_aws.dns.zone: 'clinic.example' is no id"),
        ({"dns": {**DNS, "name": "not a name"}}, "dns.name: 'not a name' is no host name"),
        ({"dns": {**DNS, "standby": DNS["primary"]}}, "dns.standby: has the target of the primary"),
        (
            {"dns": {**DNS, "primary": {"target": "one.example", "alias_zone": "Z35SXDOTRQ7X7K"}}},
            "write alias_zone for both or for neither",
        ),
        ({"dns": {**DNS, "primary": {"target": "a.example", "answers_at": "a:b"}}}, "answers_at: 'a:b' is no address"),
        ({"load_balancer": {"listener": BLUE}}, "load_balancer.listener: "),
        ({"load_balancer": {"listener": LISTENER, "target_groups": {"a": BLUE, "b": BLUE}}}, "one target group twice"),
        ({"load_balancer": {"listener": LISTENER, "maintenance": {"status": 302}}}, "maintenance.status: is 302"),
        ({"load_balancer": {"listener": LISTENER, "maintenance": {"body": "x" * 1025}}}, "takes 1024"),
        ({"distribution": {"id": "E1EXAMPLE", "primary": "alb"}}, "name both origins or neither"),
        ({"distribution": {"id": "E1EXAMPLE", "paths": ["app"]}}, "'app' does not begin with '/'"),
        ({"bucket": {"name": "Clinic"}}, "bucket.name: 'Clinic' is no name of a bucket"),
        ({"bucket": {"name": "clinic", "copy": {"name": "clinic"}}}, "bucket.copy: names the bucket itself"),
        ({"functions": {"a": {"function": "x y"}}}, "functions.a.function: 'x y' is no name"),
        ({"functions": {"a": {"function": "f", "payload": "text"}}}, "functions.a.payload: must be a mapping"),
        ({"functions": {"a": {"function": "f", "timeout": "1h"}}}, "functions.a.timeout: is 3600s"),
        ({"standby": {"certificates": {"a.example": BLUE}}}, "is no ARN of acm"),
        ({"standby": {}, "standby_region": None}, "codeblue_aws.standby: needs standby_region beside it"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(**settings)
    assert words in caught.value.message


def test_the_payload_of_a_function_is_not_shown() -> None:
    place = load(functions={"endpoints": {"function": "f", "payload": {"key": "hunter2"}}})
    assert "hunter2" not in repr(place)
