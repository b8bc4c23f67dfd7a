# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Functions of Lambda that take part in a recovery, such as one that writes new endpoints into a configuration."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# A name, or a whole or partial ARN, with a version or alias.
_FUNCTION = re.compile(r"[-a-zA-Z0-9_:$]{1,170}")
# Lambda takes 6 MB in a synchronous call; what an inventory says is small.
_LARGEST_PAYLOAD = 256 * 1024
# Lambda ends a function after 15 minutes.
LONGEST = 900.0
_SIDES = ("primary", "standby")


@dataclass(frozen=True)
class RecoveryFunction:
    """One function.

    :param function: name or ARN.
    :param side: in which region it is called: that of the primary or of the standby.
    :param payload: that it is given; never a secret, which the function finds by itself.
    :param expects: keys of its answer to the values that they must have; empty when any answer is right.
    :param timeout: seconds that it may take.
    :param repeatable: whether calling it twice does no more than calling it once.
    :param sensitive: whether its answer may hold secrets or patients' data; nothing of it is shown then.
    """

    name: str
    function: str
    side: str
    payload: Mapping[str, t.Any] = field(repr=False)
    expects: Mapping[str, t.Any]
    timeout: float
    repeatable: bool
    sensitive: bool

    def __str__(self) -> str:
        return f"function {self.function}"


def read_functions(values: TypedMapping, key: str) -> dict[str, RecoveryFunction]:
    """Read `codeblue_aws.functions`; what is wrong goes to the problems of the mapping."""
    return {name: _read_function(name, item) for name, item in values.children(key)}


def _read_function(name: str, values: TypedMapping) -> RecoveryFunction:
    function = values.text("function")
    if function and not _FUNCTION.fullmatch(function):
        values.problem("function", f"{quote(function)} is no name or ARN of a function")
    found = RecoveryFunction(
        name=name,
        function=function,
        side=values.choice("side", _SIDES, default="standby"),
        payload=_read_mapping(values, "payload"),
        expects=_read_mapping(values, "expects"),
        timeout=values.duration("timeout", default=60.0, most=LONGEST),
        repeatable=values.boolean("repeatable", default=False),
        sensitive=values.boolean("sensitive", default=False),
    )
    if len(json.dumps(found.payload, default=str)) > _LARGEST_PAYLOAD:
        values.problem("payload", f"is larger than {_LARGEST_PAYLOAD // 1024} KiB")
    values.finish()
    return found


def _read_mapping(values: TypedMapping, key: str) -> dict[str, t.Any]:
    given = values.plain(key)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        values.problem(key, "must be a mapping")
        return {}
    return {str(name): value for name, value in given.items()}
