"""Refuses access keys that are off or deleted, and sessions that were revoked. Moto takes anything."""

from __future__ import annotations

import datetime as dt
import json
import typing as t

from codeblue.lab.aws.server.operations import Operation
from codeblue.lab.aws.server.refusals import Answer, refusal

_REGION = "aws"
# Temporary keys begin so.
_TEMPORARY = "ASIA"


class Identities:
    """Looks at the key of each call."""

    def __init__(self) -> None:
        from codeblue.lab.aws.server.behaviour import backend

        # A key that was known once and is gone is refused; one that never was is anybody's, as with moto alone.
        users = backend("iam", _REGION).users.values()
        self._known = {str(key.access_key_id) for user in users for key in user.access_keys}

    def refuse(self, operation: Operation, environ: t.Mapping[str, t.Any], _body: bytes) -> Answer | None:
        """The refusal of a call; None when it may pass."""
        if not operation.key:
            return None
        if operation.key.startswith(_TEMPORARY):
            return self._refuse_session(operation, environ)
        user, active = user_of(operation.key)
        if user:
            self._known.add(operation.key)
        elif operation.key not in self._known:
            return None
        if active:
            return None
        code = "InvalidAccessKeyId" if operation.service == "s3" else "InvalidClientTokenId"
        return refusal(operation.service, environ, 403, code, "The security token included in the request is invalid.")

    def _refuse_session(self, operation: Operation, environ: t.Mapping[str, t.Any]) -> Answer | None:
        from codeblue.lab.aws.server.behaviour import backend

        found = backend("sts", _REGION).get_assumed_role_from_access_key(operation.key)
        if found is None:
            return None
        name = str(found.role_arn).rpartition("/")[2]
        role = next((each for each in backend("iam", _REGION).roles.values() if each.name == name), None)
        issued = found.expiration - dt.timedelta(seconds=_duration(found))
        if role is None or not any(_revokes(text, issued) for text in role.policies.values()):
            return None
        message = "is not authorized to perform this operation with an explicit deny in an identity-based policy"
        return refusal(operation.service, environ, 403, "AccessDenied", f"User: {found.arn} {message}")


def user_of(key: str) -> tuple[str, bool]:
    """Whose access key it is, and whether it is on; an empty name when it is nobody's."""
    from codeblue.lab.aws.server.behaviour import backend

    for user in backend("iam", _REGION).users.values():
        for each in user.access_keys:
            if each.access_key_id == key:
                return str(user.name), each.status == "Active"
    return "", False


def _duration(session: t.Any) -> float:
    return float(getattr(session, "duration", None) or 3600)


def _revokes(text: str | dict[str, t.Any], issued: dt.datetime) -> bool:
    """Whether a policy denies everything to sessions that are as old, as AWSRevokeOlderSessions does."""
    policy = json.loads(text) if isinstance(text, str) else text
    statements = policy.get("Statement") or []
    for each in statements if isinstance(statements, list) else [statements]:
        before = (each.get("Condition") or {}).get("DateLessThan", {}).get("aws:TokenIssueTime")
        if each.get("Effect") != "Deny" or before is None:
            continue
        moment = dt.datetime.fromisoformat(str(before).replace("Z", "+00:00"))
        if issued.replace(tzinfo=issued.tzinfo or dt.UTC) < moment:
            return True
    return False
