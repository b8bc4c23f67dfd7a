# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Identities of IAM: keys that are switched off and on again, sessions of roles that are revoked.

Keys are never removed. What a key is called stands in no message and in no record of the run, but its last letters: the
whole name stands in a tag of its user, for who gives it back. Each method that changes something is safe to repeat, and
says whether it changed anything.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
import botocore.exceptions
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import NotFound

#: The name that the console of IAM gives to the policy by which it revokes sessions:
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
REVOKING_POLICY = "AWSRevokeOlderSessions"
#: On a user: the keys that were switched off here.
DISABLED_KEYS = "codeblue:disabled-keys"
#: IAM takes no more keys of a user.
MOST_KEYS = 2
ACTIVE, INACTIVE = "Active", "Inactive"
_SHOWN = 4
# Of a key that is switched off, that was never there, or whose signature is wrong.
_REFUSED = ("InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "AccessDenied")


@dataclass(frozen=True)
class Key:
    """An access key without its secret."""

    id: str
    active: bool

    @property
    def shown(self) -> str:
        """For people and records."""
        return f"…{self.id[-_SHOWN:]}"


class AwsIdentities:
    """Users and roles of an account."""

    def __init__(self, account: AwsAccount) -> None:
        self._account = account

    def own(self) -> tuple[str, str]:
        """What this run itself is: `user` or `role`, and the name."""
        arn = str(self._account.ask("sts", "get_caller_identity", about="this identity")["Arn"])
        kind, _slash, rest = arn.rpartition(":")[2].partition("/")
        return ("role", rest.split("/")[0]) if kind == "assumed-role" else ("user", rest.rpartition("/")[2])

    # -- keys --------------------------------------------------------------------------------------------------

    def keys_of(self, user: str) -> list[Key]:
        """A user's keys, in the order of their names."""
        found = self._account.ask_all("iam", "list_access_keys", "AccessKeyMetadata", about=user, UserName=user)
        return sorted(
            (Key(str(each["AccessKeyId"]), each["Status"] == ACTIVE) for each in found), key=lambda key: key.id
        )

    def disable(self, user: str, keep: Collection[str]) -> bool:
        """Switch a user's keys off, but some.

        :param keep: names of keys.
        """
        chosen = [key for key in self.keys_of(user) if key.active and key.id not in keep]
        if not chosen:
            return False
        # Written down first: whoever gives them back has to know which were on.
        noted = sorted({*self._noted(user), *(key.id for key in chosen)})
        tags = [{"Key": DISABLED_KEYS, "Value": " ".join(noted)}]
        self._account.ask("iam", "tag_user", about=user, UserName=user, Tags=tags)
        for key in chosen:
            self._switch(user, key.id, INACTIVE)
        return True

    def enable(self, user: str) -> bool:
        """Switch on again what was switched off here."""
        noted = self._noted(user)
        if not noted:
            return False
        there = {key.id: key.active for key in self.keys_of(user)}
        for name in noted:
            if there.get(name) is False:
                self._switch(user, name, ACTIVE)
        self._account.ask("iam", "untag_user", about=user, UserName=user, TagKeys=[DISABLED_KEYS])
        return True

    def disabled(self, user: str) -> list[str]:
        """The keys that were switched off here, as they are shown."""
        return [Key(name, False).shown for name in self._noted(user)]

    def make_key(self, user: str) -> tuple[str, str]:
        """A new key: its name and its secret. Each call makes another one."""
        made = self._account.ask("iam", "create_access_key", about=user, repeat=False, UserName=user)["AccessKey"]
        return str(made["AccessKeyId"]), str(made["SecretAccessKey"])

    def remove_lost_key(self, user: str, name: str) -> None:
        """Remove a key whose secret nobody has ever had, since the run that made it was cut off."""
        self._account.ask("iam", "delete_access_key", about=user, UserName=user, AccessKeyId=name)

    def _noted(self, user: str) -> list[str]:
        tags = self._account.ask_all("iam", "list_user_tags", "Tags", about=user, UserName=user)
        return next((str(each["Value"]).split() for each in tags if each["Key"] == DISABLED_KEYS), [])

    def _switch(self, user: str, key: str, status: str) -> None:
        self._account.ask("iam", "update_access_key", about=user, UserName=user, AccessKeyId=key, Status=status)

    # -- sessions ----------------------------------------------------------------------------------------------

    def revoke_sessions(self, role: str, run_id: str, now: datetime | None = None) -> bool:
        """Refuse everything to sessions of a role that began before now, once in a run."""
        if self._revoked_by(role) == _statement_id(run_id):
            return False
        document = revoking_policy(run_id, now or datetime.now(UTC))
        self._account.ask(
            "iam",
            "put_role_policy",
            about=role,
            RoleName=role,
            PolicyName=REVOKING_POLICY,
            PolicyDocument=json.dumps(document),
        )
        return True

    def allow_sessions(self, role: str) -> bool:
        """Take the refusal away."""
        if self._revoked_by(role) is None:
            return False
        self._account.ask("iam", "delete_role_policy", about=role, RoleName=role, PolicyName=REVOKING_POLICY)
        return True

    def is_revoked(self, role: str) -> bool:
        """Whether sessions are refused, by whomever."""
        return self._revoked_by(role) is not None

    def _revoked_by(self, role: str) -> str | None:
        try:
            found = self._account.ask("iam", "get_role_policy", about=role, RoleName=role, PolicyName=REVOKING_POLICY)[
                "PolicyDocument"
            ]
        except NotFound:
            # Of the policy; a role that is not there is named by the call that changes it.
            return None
        statements = found.get("Statement") or [{}]
        return str((statements if isinstance(statements, list) else [statements])[0].get("Sid", ""))


def revoking_policy(run_id: str, now: datetime) -> dict[str, t.Any]:
    """What the console attaches, with the run as the name of its statement."""
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": _statement_id(run_id),
                "Effect": "Deny",
                "Action": ["*"],
                "Resource": ["*"],
                "Condition": {"DateLessThan": {"aws:TokenIssueTime": moment}},
            }
        ],
    }


def is_accepted(access: AwsAccess, region: str, key: str, secret: str) -> bool:
    """Whether AWS takes a key. Asking who one is needs no right.

    :raises CodeblueError: it did not answer that.
    """
    client = access.client(boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret), "sts", region)
    try:
        client.get_caller_identity()
        return True
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _REFUSED:
            return False
        raise CodeblueError(f"AWS does not say whether it takes a key ({error.response['Error']['Code']})") from None
    except botocore.exceptions.BotoCoreError as error:
        raise CodeblueError(f"AWS does not say whether it takes a key ({type(error).__name__})") from None
    finally:
        client.close()


def _statement_id(run_id: str) -> str:
    # Letters and digits only.
    return f"codeblue{run_id}"
