# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service needs in its standby region before traffic may move there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_arn import read_arn
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_ecs import EcsService, read_ecs
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping


@dataclass(frozen=True)
class Quota:
    """A limit of the account in the standby region.

    :param service: as Service Quotas names it, as `fargate`.
    :param code: as `L-3032A538`, the vCPUs of Fargate on demand.
    :param least: how much is needed.
    """

    service: str
    code: str
    least: float


@dataclass(frozen=True)
class StandbyNeeds:
    """What `codeblue_aws.standby` says.

    :param ecs: the service there; that of the region itself when None.
    :param secrets: names in Secrets Manager.
    :param parameters: names in the parameter store.
    :param certificates: host name to the ARN of the certificate that is to be valid for it.
    :param target_groups: ARNs of those that traffic will reach.
    """

    ecs: EcsService | None = None
    secrets: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    certificates: Mapping[str, str] = field(default_factory=dict)
    target_groups: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()


def read_standby(values: TypedMapping) -> StandbyNeeds:
    """Read `codeblue_aws.standby`; what is wrong goes to the problems of the mapping."""
    ecs = values.optional_child("ecs")
    certificates: dict[str, str] = {}
    child = values.optional_child("certificates")
    if child is not None:
        certificates = {name: read_arn(child, name, child.text(name), "acm", "certificate/") for name in child.names()}
        child.finish()
    groups = values.texts("target_groups")
    for arn in groups:
        read_arn(values, "target_groups", arn, "elasticloadbalancing", "targetgroup/")
    found = StandbyNeeds(
        ecs=read_ecs(ecs) if ecs is not None else None,
        secrets=values.texts("secrets"),
        parameters=values.texts("parameters"),
        certificates=certificates,
        target_groups=groups,
        quotas=tuple(_read_quota(item) for item in values.listed("quotas")),
    )
    values.finish()
    return found


def _read_quota(values: TypedMapping) -> Quota:
    found = Quota(service=values.text("service"), code=values.text("code"), least=values.number("least"))
    values.finish()
    return found
