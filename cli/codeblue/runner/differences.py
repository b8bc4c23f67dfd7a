"""The `diff` of a result as lines of a unified diff."""

from __future__ import annotations

import difflib
import json
import typing as t
from collections.abc import Mapping


def difference_lines(differences: t.Any, most: int) -> list[str]:
    """Lines of all differences of a result.

    :param differences: one mapping or a list of them, with `before`, `after` and headers, or `prepared`.
    :param most: more lines than that are cut, and the cut is said.
    """
    items = differences if isinstance(differences, list) else [differences]
    lines: list[str] = []
    for item in items:
        if isinstance(item, Mapping):
            lines += _lines_of(item)
        if len(lines) > most:
            return [*lines[:most], f"… {len(lines) - most} more lines"]
    return lines


def _lines_of(item: Mapping[str, t.Any]) -> list[str]:
    if item.get("prepared"):
        return str(item["prepared"]).splitlines()
    if "before" not in item and "after" not in item:
        return []
    before, after = _text(item.get("before")), _text(item.get("after"))
    return list(
        difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            fromfile=str(item.get("before_header") or "before"),
            tofile=str(item.get("after_header") or "after"),
            lineterm="",
            n=2,
        )
    )


def _text(value: t.Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True, default=str)
