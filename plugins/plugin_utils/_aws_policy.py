# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The IAM policy that operations of AWS need, as narrow as IAM lets it be for what the inventory names. Pure.

Which resources an action can be narrowed to is said by the service authorization reference of AWS:
https://docs.aws.amazon.com/service-authorization/latest/reference/
Descriptions and lists are allowed everywhere, as most of them know no resource; what shows the content of something is
narrowed as what changes it is.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import iam_action, is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_calls import Operation, api_names, signing_name
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws import AwsPlatform

#: Characters of a customer managed policy, white space not counted.
LONGEST = 6144
ANYTHING = "*"
# They only read, and show what is in something.
_SHOWING = frozenset(
    {
        "logs:FilterLogEvents",
        "logs:GetLogEvents",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "secretsmanager:GetSecretValue",
        "ssm:GetParameter",
        "ssm:GetParameterHistory",
        "ssm:GetParameters",
    }
)
# What a service asks for besides, for some of the parameters that are given here.
_BESIDES: Mapping[str, tuple[str, ...]] = {
    "ec2:CreateSecurityGroup": ("ec2:CreateTags",),
    "ec2:CreateSnapshots": ("ec2:CreateTags",),
    "ecs:RegisterTaskDefinition": ("iam:PassRole",),
    "ecs:RunTask": ("iam:PassRole",),
    "rds:CopyDBClusterSnapshot": ("rds:AddTagsToResource",),
    "rds:CopyDBSnapshot": ("rds:AddTagsToResource",),
    "rds:CreateDBClusterSnapshot": ("rds:AddTagsToResource",),
    "rds:CreateDBSnapshot": ("rds:AddTagsToResource",),
    "rds:RestoreDBClusterFromSnapshot": ("rds:AddTagsToResource",),
    "rds:RestoreDBClusterToPointInTime": ("rds:AddTagsToResource",),
    "rds:RestoreDBInstanceFromDBSnapshot": ("rds:AddTagsToResource",),
    "rds:RestoreDBInstanceToPointInTime": ("rds:AddTagsToResource",),
    "s3:GetObject": ("s3:GetObjectVersion",),
    "secretsmanager:RotateSecret": ("lambda:InvokeFunction",),
}
# The copy of an object is read as well, and evidence is locked as it is put.
_OF_OPERATIONS: Mapping[Operation, tuple[str, ...]] = {
    Operation("s3", "copy_object"): ("s3:GetObject", "s3:GetObjectVersion"),
    Operation("s3", "put_object"): ("s3:PutObjectLegalHold", "s3:PutObjectRetention"),
}
# Secrets, parameters and objects may be encrypted with keys of the site.
_ENCRYPTED = ("s3:GetObject", "s3:PutObject", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue")
_ENCRYPTED_PARAMETERS = ("ssm:GetParameter", "ssm:PutParameter")
_KEY_ACTIONS = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]
_KEY_SERVICES = ("s3", "secretsmanager", "ssm")
# Actions that find out by themselves which services of ECS they deploy anew.
_FINDING = frozenset({"aws_secret_rotate"})


def actions_of_operations(operations: Iterable[Operation]) -> dict[str, bool]:
    """What has to be allowed, by the name of IAM, to whether it changes something or shows content."""
    found: dict[str, bool] = {}
    for operation in operations:
        name = iam_action(signing_name(operation.service), api_names(operation.service)[operation.name])
        besides = (*_BESIDES.get(name, ()), *_OF_OPERATIONS.get(operation, ()))
        found[name] = found.get(name, False) or is_change(operation.name) or name in _SHOWING
        for each in besides:
            found[each] = True
    return found


def policy(
    operations: Iterable[Operation], platforms: Sequence[AwsPlatform], actions: Collection[str] = ()
) -> dict[str, t.Any]:
    """The policy.

    :param platforms: of the services that it is for; for any, when there are none.
    :param actions: of the collection, that the operations are of.
    """
    wanted = actions_of_operations(operations)
    by_resources: dict[tuple[str, ...], list[str]] = {}
    for name, narrow in sorted(wanted.items()):
        resources = resources_of(name, platforms, bool(_FINDING & set(actions))) if narrow else (ANYTHING,)
        by_resources.setdefault(resources, []).append(name)
    statements: list[dict[str, t.Any]] = [
        {"Effect": "Allow", "Action": names, "Resource": list(resources)}
        for resources, names in sorted(by_resources.items(), key=lambda each: (each[0] != (ANYTHING,), each))
    ]
    if any(name in wanted for name in (*_ENCRYPTED, *_ENCRYPTED_PARAMETERS)):
        via = [f"{service}.*.amazonaws.com" for service in _KEY_SERVICES]
        statements.append(
            {
                "Effect": "Allow",
                "Action": _KEY_ACTIONS,
                "Resource": [ANYTHING],
                "Condition": {"StringLike": {"kms:ViaService": via}},
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def in_parts(whole: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The same as several policies, each as long as IAM takes one."""
    parts: list[list[dict[str, t.Any]]] = [[]]
    for statement in whole["Statement"]:
        if parts[-1] and _length([*parts[-1], statement]) > LONGEST:
            parts.append([])
        parts[-1].append(statement)
    return [{**whole, "Statement": part} for part in parts]


def resources_of(action: str, platforms: Sequence[AwsPlatform], finding: bool = False) -> tuple[str, ...]:
    """The resources that an action is about; `*` where IAM or the inventory says no more.

    :param action: as IAM names it.
    :param finding: services of ECS are found, and not only those of the inventory.
    """
    service, _colon, name = action.partition(":")
    read = _READERS.get(service)
    if read is None or not platforms:
        return (ANYTHING,)
    found = sorted({arn for platform in platforms for arn in read(name, platform, finding)})
    return tuple(found) or (ANYTHING,)


def _ecs(name: str, platform: AwsPlatform, finding: bool) -> list[str]:
    if name in ("RegisterTaskDefinition", "DeregisterTaskDefinition"):
        return [ANYTHING]
    regions = [each for each in (platform.region, platform.standby_region) if each]
    services = [each for each in (platform.ecs, platform.standby.ecs) if each is not None]
    kind = "task" if "Task" in name else "service"
    found = [
        f"arn:aws:ecs:{region}:*:{kind}/{each.cluster}/{'*' if kind == 'task' or finding else each.service}"
        for region in regions
        for each in services
    ]
    return [f"arn:aws:ecs:{region}:*:service/*" for region in regions] if finding and kind == "service" else found


def _secrets(_name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    security, database = platform.security, platform.database
    names = {each.name for each in security.secrets} | set(security.new_keys.values()) | set(platform.standby.secrets)
    if database is not None:
        names |= {each.name for each in database.endpoints if each.kind == "secret"}
        names |= {database.credentials} if database.credentials else set()
    # Six letters that AWS adds follow the name.
    return [each if each.startswith("arn:") else f"arn:aws:secretsmanager:*:*:secret:{each}-??????" for each in names]


def _parameters(name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    if name == "DescribeParameters":
        return [ANYTHING]
    names = {each.name for each in platform.security.parameters} | set(platform.standby.parameters)
    if platform.database is not None:
        names |= {each.name for each in platform.database.endpoints if each.kind == "parameter"}
    return [f"arn:aws:ssm:*:*:parameter/{each.removeprefix('/')}" for each in names]


def _identities(name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    security = platform.security
    if name == "PassRole":
        return [ANYTHING]
    if "Role" in name:
        # The role of tasks stands in no inventory.
        return ["arn:aws:iam::*:role/*"] if platform.ecs else [f"arn:aws:iam::*:role/{each}" for each in security.roles]
    return [f"arn:aws:iam::*:user/{each}" for each in security.users]


def _buckets(name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    names = set(platform.security.private_buckets)
    if platform.security.evidence_bucket is not None:
        names.add(platform.security.evidence_bucket.bucket)
    if platform.bucket is not None:
        names.add(platform.bucket.name)
        names |= {platform.bucket.copy.name} if platform.bucket.copy is not None else set()
        names |= {platform.bucket.page.maintenance.bucket} if platform.bucket.page is not None else set()
    of_objects = "Object" in name
    return [f"arn:aws:s3:::{each}{'/*' if of_objects else ''}" for each in names]


def _logs(_name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    security = platform.security
    groups = {*security.log_groups, *security.access_log_groups}
    groups |= {security.data_events} if security.data_events else set()
    return [f"arn:aws:logs:*:*:log-group:{each}:*" for each in groups]


def _route53(name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    zones = {platform.dns.zone} if platform.dns is not None else set()
    if platform.database is not None:
        zones |= {each.zone for each in platform.database.endpoints if each.zone}
    return [f"arn:aws:route53:::hostedzone/{each.rpartition('/')[2]}" for each in zones]


def _balancers(name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    balancer = platform.load_balancer
    if balancer is None:
        return []
    # A rule that is made stands below the listener.
    below = balancer.listener.replace(":listener/", ":listener-rule/")
    return [balancer.listener, f"{below}/*"]


def _distributions(_name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    return [f"arn:aws:cloudfront::*:distribution/{platform.distribution.id}"] if platform.distribution else []


def _functions(_name: str, platform: AwsPlatform, _finding: bool) -> list[str]:
    names = [each.function for each in platform.functions.values()]
    return [each if each.startswith("arn:") else f"arn:aws:lambda:*:*:function:{each}" for each in names]


_READERS: Mapping[str, t.Callable[[str, AwsPlatform, bool], list[str]]] = {
    "ecs": _ecs,
    "secretsmanager": _secrets,
    "ssm": _parameters,
    "iam": _identities,
    "s3": _buckets,
    "logs": _logs,
    "route53": _route53,
    "elasticloadbalancing": _balancers,
    "cloudfront": _distributions,
    "lambda": _functions,
}


def _length(statements: Sequence[Mapping[str, t.Any]]) -> int:
    return len(json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":")))
