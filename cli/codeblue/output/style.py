"""Words and signs that people read, the same in a live view and in plain lines."""

from __future__ import annotations

import os
import typing as t
from datetime import datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

SIGNS = {"ok": "·", "changed": "✓", "ignored": "!", "failed": "✗", "unreachable": "✗", "skipped": "-"}
COLOURS = {"ok": "dim", "changed": "green", "ignored": "yellow", "failed": "bold red", "unreachable": "bold red"}
OUTCOME_COLOURS = {
    "recovered": "bold green",
    "completed": "bold green",
    "nothing_to_do": "green",
    "degraded": "bold yellow",
    "refused": "bold yellow",
    "interrupted": "bold yellow",
}
OUTCOME_TEXTS = {
    "recovered": "recovered and validated",
    "completed": "the operation is complete",
    "nothing_to_do": "nothing to do",
    "failed_safe": "failed, left safe",
    "bad_input": "not started",
    "refused": "refused",
    "degraded": "recovered, but degraded",
    "failed_unsafe": "FAILED AND NOT LEFT SAFE: a person is needed now",
    "interrupted": "interrupted",
}
# SGR codes for the plain lines, by the names above.
_SGR = {"dim": "2", "green": "32", "yellow": "33", "bold red": "1;31", "bold green": "1;32", "bold yellow": "1;33"}


def colours_wanted(stream: t.TextIO) -> bool:
    """Whether a stream is a terminal that may be coloured (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, wanted: bool) -> str:
    """The text in a colour by name."""
    code = _SGR.get(colour or "")
    return f"\x1b[{code}m{text}\x1b[0m" if wanted and code else text


def local_time(moment: str | float) -> str:
    """A moment in the operator's zone, with its offset.

    :param moment: RFC 3339 text, or Unix seconds.
    """
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else datetime.fromtimestamp(moment).astimezone()
    text = when.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return f"{text[:-2]}:{text[-2:]}"


def against_budget(seconds: float, budget: float | None) -> str:
    """A duration and what part of the objective it is."""
    if not budget:
        return format_duration(seconds)
    return f"{format_duration(seconds)} of {format_duration(budget)} ({seconds / budget:.0%})"
