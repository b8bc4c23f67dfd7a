"""Values of the record as one line for people: bounded, without credentials, with patient data masked."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Mapping

from ansible_collections.codeblue.recovery.plugins.module_utils._phi import PhiDetector
from ansible_collections.codeblue.recovery.plugins.plugin_utils._redact import redact_text

NOTHING: tuple[t.Any, ...] = (None, "", [], {}, ())
_MOST_CHARACTERS = 400


def clean(text: object, most: int = _MOST_CHARACTERS) -> str:
    """One line. The record is clean already; a report is what leaves the house, so it is looked at once more."""
    flat = _detector().mask(redact_text(" ".join(str(text).split())))
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def words(fields: Mapping[str, t.Any]) -> str:
    """A mapping as one line."""
    parts = [f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in fields.items() if value not in NOTHING]
    return clean("; ".join(parts))


def difference(before: object, after: object) -> str:
    """What is different afterwards, such as `process.state failed → running`; the first few."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changed = [
        f"{name.rpartition('/')[2] or name} {_plain(old[name])} → {_plain(value)}"
        if name in old
        else f"{name} {_plain(value)}"
        for name, value in new.items()
        if value not in NOTHING and old.get(name) != value
    ]
    return clean("; ".join(changed[:4]), 200)


def _leaves(value: object, path: str = "", depth: int = 4) -> t.Iterator[tuple[str, t.Any]]:
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name), depth - 1)
    elif not isinstance(value, (list, tuple)):
        yield path, value


def _plain(value: t.Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items() if item not in NOTHING)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@functools.lru_cache(maxsize=1)
def _detector() -> PhiDetector:
    return PhiDetector()
