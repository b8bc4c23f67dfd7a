# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flags in a parameter of AWS Systems Manager: one JSON object, of which only some names are set."""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._feature_flag import same
from ansible_collections.codeblue.recovery.plugins.plugin_utils._config_map_flags import Flags, is_so
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import ParameterPlace

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount

_MOST_TRIES = 4
_SECURE = "SecureString"


@dataclass(frozen=True)
class SeenParameter:
    """Flags as they were read.

    :param version: that every write makes one more.
    """

    flags: Flags
    version: int


def read_parameter(account: AwsAccount, place: ParameterPlace) -> SeenParameter:
    """All flags of a place.

    :raises CodeblueError: there is no such parameter, or it holds no flags.
    """
    found = account.ask("ssm", "get_parameter", place.region, about=str(place), Name=place.name)["Parameter"]
    if found.get("Type") == _SECURE:
        raise CodeblueError(f"{place} is a SecureString", "keep flags in a String: they are no secret")
    try:
        flags = json.loads(found.get("Value") or "{}")
    except ValueError:
        flags = None
    if not isinstance(flags, dict):
        raise CodeblueError(f"{place} holds no JSON object", "mend it by hand: it is never overwritten unread")
    return SeenParameter(flags, int(found.get("Version") or 0))


def write_parameter(account: AwsAccount, place: ParameterPlace, wanted: Flags, expected: Flags) -> float | None:
    """Set flags, None takes one away.

    :param expected: what they must be right now.
    :returns: the Unix time at which that was accepted; None when they were so already.
    :raises Refused: somebody else has changed one.
    :raises CodeblueError: it was not written, or somebody wrote it in the same moment.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsUnavailable

    sent = False
    for _try in range(_MOST_TRIES):
        seen = read_parameter(account, place)
        if is_so(seen.flags, wanted):
            # With an answer that was lost on the way, it was this very call that did it.
            return time.time() if sent else None
        for name, value in expected.items():
            if not same(seen.flags.get(name), value):
                raise Refused(
                    f"{place}: somebody has changed {name} meanwhile, nothing was overwritten", "find out who"
                )
        kept = {name: value for name, value in {**seen.flags, **wanted}.items() if value is not None}
        try:
            written = account.ask(
                "ssm",
                "put_parameter",
                place.region,
                about=str(place),
                repeat=False,
                Name=place.name,
                Value=json.dumps(kept, sort_keys=True),
                Overwrite=True,
            )
        except AwsUnavailable as error:
            if not error.sent:
                raise
            sent = True
            continue
        # There is no writing on a condition here; the numbers tell of it at least.
        if int(written.get("Version") or 0) > seen.version + 1:
            raise CodeblueError(
                f"{place}: somebody else wrote it in the same moment, and what they wrote is gone",
                f"compare versions {seen.version + 1} and {written['Version']}: aws ssm get-parameter-history",
            )
        return time.time()
    raise CodeblueError(f"{place} could not be written: no answer came", "look at the AWS health page")
