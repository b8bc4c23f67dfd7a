"""What is put in moto's place before the account is made: ECS that runs tasks, and load balancers that ask them."""

from __future__ import annotations

import typing as t

import moto.awslambda_simple.models
import moto.backends
import moto.cloudfront.models
import moto.cloudwatch.models
import moto.ecs.models
import moto.elbv2.models
import moto.rds.models
import moto.route53.models
from moto.core.config import default_user_config

from codeblue.lab.aws.server.containers import LabEcs
from codeblue.lab.aws.server.functions import LabLambda
from codeblue.lab.aws.server.names import LabRoute53
from codeblue.lab.aws.server.relational import LabRds
from codeblue.lab.aws.server.targets import health_for

#: The account that moto keeps for every identity.
ACCOUNT = "123456789012"


def install() -> None:
    """Put it there; before any account is made."""
    # Functions are not run in containers either; what the clinic's own do is done in `functions`.
    t.cast("dict[str, t.Any]", default_user_config)["lambda"] = {"use_docker": False}
    for made in (LabEcs, LabRds, LabRoute53, LabLambda):
        # Moto finds the addresses of a service by the module of its backend.
        made.__module__ = made.__mro__[1].__module__
    moto.ecs.models.ecs_backends.backend = LabEcs
    t.cast("t.Any", moto.elbv2.models.FakeTargetGroup).health_for = health_for
    # Moto takes two metrics with the same several dimensions for different ones, and lists each value as a metric.
    t.cast("t.Any", moto.cloudwatch.models).are_dimensions_same = _same_dimensions
    moto.rds.models.rds_backends.backend = LabRds
    moto.route53.models.route53_backends.backend = LabRoute53
    _make_ids()
    moto.awslambda_simple.models.lambda_simple_backends.backend = LabLambda


def _same_dimensions(one: t.Sequence[t.Any], two: t.Sequence[t.Any]) -> bool:
    return {(each.name, each.value) for each in one} == {(each.name, each.value) for each in two}


def _make_ids() -> None:
    """Ids of hosted zones and distributions that look as those of AWS do: with a letter of their kind in front."""
    zones, cdn = t.cast("t.Any", moto.route53.models), t.cast("t.Any", moto.cloudfront.models)
    zone_id, cdn_id = zones.create_route53_zone_id, cdn.random_id
    zones.create_route53_zone_id = lambda *given, **named: f"Z{zone_id(*given, **named)[1:]}"
    cdn.random_id = lambda uppercase=True, length=13: f"{'E' if uppercase else 'd'}{cdn_id(uppercase, length)[1:]}"


def backend(service: str, region: str) -> t.Any:
    """Moto's account of a service in a region; `aws` is the region of those that have none."""
    return moto.backends.get_backend(t.cast("t.Any", service))[ACCOUNT][region]
