# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets of Secrets Manager and parameters of Systems Manager: how they are, and how they get new values.

A version of a secret is named by the token of the request that made it, which follows from the step: whoever takes the
step up again finds it. Each method that changes something is safe to repeat, and says whether it changed anything.
Values are in no message.
"""

from __future__ import annotations

import json
import typing as t
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_security import WHOLE, RotatedValue

CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
#: Bytes: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
LARGEST_SECRET = 65536
#: Bytes of one in the standard tier: https://docs.aws.amazon.com/general/latest/gr/ssm.html
LARGEST_PARAMETER = 4096
# The label that leads back, as AWSPREVIOUS does for a secret.
_PREVIOUS_LABEL = "codeblue-previous"
_TOKENS = uuid.UUID("6a2b8f6e-1d0c-5c3b-9d53-0a4f1f1f7c55")
_SYNCING = "InProgress"

Stages = Mapping[str, t.Sequence[str]]


def token_of(step: str) -> str:
    """The token of a request, always the same for a step."""
    return str(uuid.uuid5(_TOKENS, step))


@dataclass(frozen=True)
class SecretLook:
    """A secret without its value.

    :param delegated: it has a rotation of its own: a function, or the service that made it.
    :param stages: version to its labels.
    :param replicas: region to how its copy is.
    """

    arn: str
    name: str
    delegated: bool
    function: str
    stages: Stages
    replicas: Mapping[str, str]

    def version_of(self, stage: str) -> str:
        """The version that has a label; empty when none has."""
        return next((version for version, labels in self.stages.items() if stage in labels), "")


@dataclass(frozen=True)
class ParameterLook:
    """A parameter without its value."""

    name: str
    version: int
    type: str
    tier: str
    key: str | None


class AwsSecrets:
    """The secrets and parameters of one region."""

    def __init__(self, account: AwsAccount, target: str) -> None:
        self._account = account
        self._target = target

    # -- secrets -----------------------------------------------------------------------------------------------

    def look(self, name: str) -> SecretLook:
        """How a secret is.

        :raises Refused: it is being deleted, or is a copy.
        """
        found = self._account.ask("secretsmanager", "describe_secret", about=name, SecretId=name)
        if found.get("DeletedDate"):
            raise Refused(f"secret {name} is being deleted, nothing was changed", "aws secretsmanager restore-secret")
        primary = found.get("PrimaryRegion")
        if primary and primary != self._account.region:
            raise Refused(f"secret {name} is a copy of the one in {primary}, nothing was changed", "rotate it there")
        return SecretLook(
            arn=str(found["ARN"]),
            name=str(found["Name"]),
            delegated=bool(found.get("RotationEnabled")),
            function=str(found.get("RotationLambdaARN") or found.get("OwningService") or ""),
            stages=found.get("VersionIdsToStages") or {},
            replicas={str(each["Region"]): str(each["Status"]) for each in found.get("ReplicationStatus") or ()},
        )

    def put_pending(self, secret: RotatedValue, token: str, new_value: Callable[[str], str]) -> bool:
        """Make the new version, with the label `AWSPENDING`, and see that it can be read.

        :param new_value: the value of a key.
        """
        if token in self.look(secret.name).stages:
            return False
        document = self._with_new_values(secret, new_value)
        if len(document.encode()) > LARGEST_SECRET:
            raise BadInput(f"secret {secret.name}: would be larger than {LARGEST_SECRET} bytes")
        self._account.ask(
            "secretsmanager",
            "put_secret_value",
            about=secret.name,
            SecretId=secret.name,
            ClientRequestToken=token,
            SecretString=document,
            VersionStages=[PENDING],
        )
        if self._value(secret.name, VersionId=token) != document:
            raise CodeblueError(f"secret {secret.name}: its new version holds something else than was put there")
        return True

    def make_current(self, name: str, token: str) -> bool:
        """Move the label `AWSCURRENT` to a version; AWS gives `AWSPREVIOUS` to the one that had it."""
        look, changed = self.look(name), False
        had = look.version_of(CURRENT)
        if had != token:
            self._move(name, CURRENT, MoveToVersionId=token, **({"RemoveFromVersionId": had} if had else {}))
            changed = True
        # Nobody takes it away by itself, and a later rotation would find one that is under way.
        if look.version_of(PENDING) == token:
            self._move(name, PENDING, RemoveFromVersionId=token)
            changed = True
        return changed

    def begin_delegated(self, name: str, token: str) -> bool:
        """Have a secret's own rotation begin."""
        if token in self.look(name).stages:
            return False
        self._account.ask("secretsmanager", "rotate_secret", about=name, SecretId=name, ClientRequestToken=token)
        return True

    def is_current(self, name: str, token: str) -> bool:
        """Whether the version that a token made is the one that everybody gets."""
        return self.look(name).version_of(CURRENT) == token

    def copies_under_way(self, name: str) -> list[str]:
        """Regions whose copy does not have the new version yet.

        :raises CodeblueError: a copy cannot be brought up to date.
        """
        replicas = self.look(name).replicas
        failed = [region for region, status in replicas.items() if status == "Failed"]
        if failed:
            raise CodeblueError(
                f"secret {name}: its copy in {failed[0]} cannot be brought up to date",
                "aws secretsmanager describe-secret says why",
            )
        return [region for region, status in replicas.items() if status == _SYNCING]

    def _with_new_values(self, secret: RotatedValue, new_value: Callable[[str], str]) -> str:
        if WHOLE in secret.keys:
            return new_value(WHOLE)
        try:
            document = json.loads(self._value(secret.name, VersionStage=CURRENT))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise BadInput(
                f"{self._target}: secret {secret.name} is no JSON document, so it has no key {next(iter(secret.keys))}",
                "write generated, or a path, in place of its keys",
            )
        return json.dumps({**document, **{key: new_value(key) for key in secret.keys}})

    def _value(self, name: str, **version: str) -> str:
        found = self._account.ask("secretsmanager", "get_secret_value", about=name, SecretId=name, **version)
        value = found.get("SecretString")
        if value is None:
            raise Refused(f"secret {name} is binary, nothing was changed", "rotate it by hand")
        return str(value)

    def _move(self, name: str, stage: str, **versions: str) -> None:
        self._account.ask(
            "secretsmanager", "update_secret_version_stage", about=name, SecretId=name, VersionStage=stage, **versions
        )

    # -- parameters --------------------------------------------------------------------------------------------

    def look_at_parameter(self, name: str) -> ParameterLook:
        """How a parameter is; its value is not asked for."""
        filters = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
        found = self._account.ask("ssm", "describe_parameters", about=name, ParameterFilters=filters)["Parameters"]
        if not found:
            raise BadInput(f"{self._target}: there is no parameter {name}", "look at codeblue_aws.parameters")
        each = found[0]
        if each["Type"] == "StringList":
            raise BadInput(f"{self._target}: parameter {name} is a list, which has no new value", "leave it out")
        return ParameterLook(
            name, int(each["Version"]), str(each["Type"]), str(each.get("Tier", "Standard")), each.get("KeyId")
        )

    def put_parameter(self, before: ParameterLook, value: str) -> bool:
        """Give a parameter a new version; the one from before keeps a label.

        :param before: as it was when this was decided.
        """
        live = self.look_at_parameter(before.name)
        changed = False
        if live.version == before.version:
            # Never repeated by itself: each call makes a version. Whoever takes the step up again finds it.
            self._account.ask(
                "ssm",
                "put_parameter",
                about=before.name,
                repeat=False,
                Name=before.name,
                Value=value,
                Type=live.type,
                Tier=live.tier,
                Overwrite=True,
                **({"KeyId": live.key} if live.key else {}),
            )
            changed = True
        self._account.ask(
            "ssm",
            "label_parameter_version",
            about=before.name,
            Name=before.name,
            ParameterVersion=before.version,
            Labels=[_PREVIOUS_LABEL],
        )
        return changed
