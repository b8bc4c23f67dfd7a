# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a bucket's policy and access list lets everybody in, by the rules of S3. Pure.

The meaning of public: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Mapping, Sequence

#: All four settings of a bucket's public access block.
BLOCKED: Mapping[str, bool] = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# Groups of S3 that anybody is in.
_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
# A fixed value of one of these makes a statement one for some.
_NARROWING = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    }
)
_FIXING = ("stringequals", "stringlike", "stringequalsignorecase", "arnequals", "arnlike", "ipaddress")
# Wider networks than these count as everybody.
_NARROWEST = {4: 8, 6: 32}

Object = Mapping[str, t.Any]


def split(policy: Object) -> tuple[dict[str, t.Any] | None, list[Object]]:
    """A policy without what lets everybody in, None when nothing remains; and what does."""
    statements = policy.get("Statement") or []
    statements = [statements] if isinstance(statements, Mapping) else list(statements)
    public = [each for each in statements if is_public(each)]
    kept = [each for each in statements if each not in public]
    return ({**policy, "Statement": kept} if kept else None), public


def is_public(statement: Object) -> bool:
    """Whether a statement allows something to everybody."""
    return statement.get("Effect") == "Allow" and _is_anybody(statement) and not _is_narrow(statement)


def without_everybody(grants: Sequence[Object]) -> list[Object]:
    """An access list without grants to groups that anybody is in."""
    return [each for each in grants if (each.get("Grantee") or {}).get("URI") not in _EVERYBODY]


def _is_anybody(statement: Object) -> bool:
    if "NotPrincipal" in statement:
        # All but some.
        return True
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        named = principal.get("AWS") or ()
        return "*" in ([named] if isinstance(named, str) else list(named))
    return principal == "*"


def _is_narrow(statement: Object) -> bool:
    for operator, keys in (statement.get("Condition") or {}).items():
        kind = str(operator).lower().removeprefix("foranyvalue:").removeprefix("forallvalues:")
        if kind.removesuffix("ifexists") not in _FIXING or kind.endswith("ifexists"):
            continue
        for key, given in keys.items():
            values = [given] if isinstance(given, str) else list(given)
            if str(key).lower() in _NARROWING and values and all(_is_fixed(str(key), str(each)) for each in values):
                return True
    return False


def _is_fixed(key: str, value: str) -> bool:
    if key.lower() != "aws:sourceip":
        return "*" not in value and "?" not in value and "${" not in value
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= _NARROWEST[network.version]
