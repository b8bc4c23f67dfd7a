# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Durations as people write them: 500ms, 10s, 5m, 1h, 7d."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"\A\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*\Z")


def parse_duration(value: t.Union[str, int, float], name: str = "duration") -> float:
    """Seconds as a float.

    :param value: text with a unit, or a number of seconds.
    :param name: the key that is named when the value is wrong.
    :raises BadInput: the text is no duration, or is negative.
    """
    if isinstance(value, bool):
        raise BadInput("%s: %r is not a duration" % (name, value), "write it like 500ms, 10s, 5m or 1h")
    if isinstance(value, (int, float)):
        if value < 0:
            raise BadInput("%s: %r is negative" % (name, value), "write it like 500ms, 10s, 5m or 1h")
        return float(value)
    match = _PATTERN.match(value)
    if match is None:
        raise BadInput("%s: %r is not a duration" % (name, value), "write it like 500ms, 10s, 5m or 1h")
    return float(match.group(1)) * _UNITS[match.group(2)]


def format_duration(seconds: float) -> str:
    """A short text for people: 0.35 s, 12.4 s, 3 min 20 s, 1 h 05 min."""
    if seconds < 10:
        return "%.2f s" % seconds
    if seconds < 60:
        return "%.1f s" % seconds
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return "%d min %02d s" % (minutes, rest)
    return "%d h %02d min" % divmod(minutes, 60)
