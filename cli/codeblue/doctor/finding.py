"""One thing that was looked at."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass

Status = t.Literal["ok", "note", "warning", "failed"]

EXIT_CODES: dict[Status, int] = {"ok": 0, "note": 0, "warning": 4, "failed": 2}


@dataclass(frozen=True)
class Finding:
    """How one check ended.

    :param check: its name.
    :param text: what was found, in one line.
    :param hint: what to do about it.
    """

    check: str
    status: Status
    text: str
    hint: str | None = None


def ok(check: str, text: str, hint: str | None = None) -> Finding:
    return Finding(check, "ok", text, hint)


def note(check: str, text: str, hint: str | None = None) -> Finding:
    """Worth knowing; nothing has to be done about it."""
    return Finding(check, "note", text, hint)


def warning(check: str, text: str, hint: str | None = None) -> Finding:
    return Finding(check, "warning", text, hint)


def failed(check: str, text: str, hint: str | None = None) -> Finding:
    return Finding(check, "failed", text, hint)


def exit_code_of(findings: Iterable[Finding]) -> int:
    """2 when something is broken, 4 when something needs attention, else 0."""
    statuses = {finding.status for finding in findings}
    return EXIT_CODES["failed" if "failed" in statuses else "warning" if "warning" in statuses else "ok"]
