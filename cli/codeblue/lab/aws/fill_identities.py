"""Identities and what they may know: roles, users with keys, secrets, parameters."""

from __future__ import annotations

import json
import typing as t

from codeblue.lab.aws.blueprint import (
    AI_SECRET,
    DATABASE_PARAMETER,
    DATABASE_SECRET,
    DEPLOY_USER,
    EXECUTION_ROLE,
    PLATFORM,
    PRIMARY,
    RECOVERY_USER,
    SETTINGS_PARAMETER,
    SIGNING_SECRET,
    TASK_ROLE,
)
from codeblue.lab.aws.filling import Filling

_TRUSTED = ("ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "s3.amazonaws.com")


def fill(filling: Filling) -> None:
    """Roles and users, which have no region."""
    iam = filling.account.client("iam", PRIMARY)
    trust = json.dumps(_policy(*({"Principal": {"Service": each}, "Action": "sts:AssumeRole"} for each in _TRUSTED)))
    for name in (TASK_ROLE, EXECUTION_ROLE):
        filling.facts[name] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    reads = {"Action": ["secretsmanager:GetSecretValue", "ssm:GetParameters"], "Resource": "*"}
    iam.put_role_policy(RoleName=TASK_ROLE, PolicyName="work", PolicyDocument=json.dumps(_policy(reads)))
    for name in (RECOVERY_USER, DEPLOY_USER):
        iam.create_user(UserName=name, Tags=[{"Key": "platform", "Value": PLATFORM}])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        filling.facts[f"key-{name}"] = key["AccessKeyId"]
        filling.facts[f"key-secret-{name}"] = key["SecretAccessKey"]
    deploys = {"Action": ["ecs:UpdateService", "ecs:RegisterTaskDefinition", "s3:PutObject"], "Resource": "*"}
    iam.put_user_policy(UserName=DEPLOY_USER, PolicyName="deploy", PolicyDocument=json.dumps(_policy(deploys)))


def fill_secrets(filling: Filling, region: str) -> None:
    """Secrets and parameters of one region; the standby's secrets are of its own, with the same values."""
    secrets = filling.account.client("secretsmanager", region)
    values = {
        DATABASE_SECRET: json.dumps({"username": "healthcare", "password": filling.secret(DATABASE_SECRET)}),
        AI_SECRET: filling.secret(AI_SECRET),
        SIGNING_SECRET: filling.secret(SIGNING_SECRET),
    }
    for name, value in values.items():
        filling.keep(region, name, secrets.create_secret(Name=name, SecretString=value)["ARN"])
    ssm = filling.account.client("ssm", region)
    parameters = {
        # Both regions write to the primary database until it is said otherwise.
        DATABASE_PARAMETER: filling.fact(PRIMARY, "database-endpoint"),
        SETTINGS_PARAMETER: json.dumps({"reports": True, "ai_suggestions": True, "timeout_seconds": 5}),
    }
    for name, value in parameters.items():
        ssm.put_parameter(Name=name, Value=value, Type="String")


def _policy(*statements: t.Mapping[str, t.Any]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]}
