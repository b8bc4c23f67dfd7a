# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads typed values out of the mappings that people write, and names every wrong key by its full path.

All problems of one document are collected, so that a person corrects it once and not key by key. A problem
never repeats a value that could be a secret: it says which type it found.
"""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# More lines than this are not read by anybody; the rest is counted.
MOST_PROBLEMS_SHOWN = 20
_LONGEST_QUOTE = 60
_DURATION_HINT = "write it like 500ms, 10s, 5m or 1h"

Item = t.TypeVar("Item")


class Problems:
    """What is wrong with one document.

    :param source: the host or file that every line begins with.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, path: str, what: str) -> None:
        """Take down one problem as one line: source, path, what is wrong and what to write."""
        self.lines.append(" ".join(f"{self.source}: {path}: {what}".split()))

    def raise_if_any(self) -> None:
        """:raises BadInput: there is at least one problem; one line each, at most `MOST_PROBLEMS_SHOWN`."""
        raise_problems(self.lines)


def raise_problems(lines: Sequence[str]) -> None:
    """:raises BadInput: there is at least one line; at most `MOST_PROBLEMS_SHOWN` are shown."""
    if not lines:
        return
    shown = list(lines[:MOST_PROBLEMS_SHOWN])
    if len(lines) > len(shown):
        shown.append(f"… and {len(lines) - len(shown)} more")
    raise BadInput("\n".join(shown))


class TypedMapping:
    """One mapping of the document. Every read names the type that is wanted; `finish` names what nobody read.

    A read of a wrong or missing value adds a problem and returns a harmless value of the right type, so that
    reading goes on. What was read is only used when `problems` stayed empty.
    """

    def __init__(self, values: t.Any, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._known: list[str] = []
        if isinstance(values, Mapping):
            self._values: dict[str, t.Any] = {str(key): value for key, value in values.items()}
        else:
            self._values = {}
            problems.add(path, f"must be a mapping, not {kind_of(values)}")

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def at(self, key: str) -> str:
        """The full path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, what: str) -> None:
        self.problems.add(self.at(key), what)

    # -- single values -----------------------------------------------------------------------------------------

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty. Without a default the key is required."""
        return self._read(key, default, "", self._as_text)

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self._given(key) else None

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of the texts. Without a default the key is required."""

        def check(where: str, value: t.Any) -> str | None:
            text = self._as_text(where, value)
            if text is not None and text not in choices:
                self.problems.add(where, f"is {quote(text)}, must be one of {', '.join(choices)}")
                return None
            return text

        return self._read(key, default, choices[0], check)

    def integer(self, key: str, default: int | None = None, least: int = 0, most: int = 2**31) -> int:
        """A whole number within the bounds. Without a default the key is required."""

        def check(where: str, value: t.Any) -> int | None:
            number = _whole_number(value)
            if number is None or not least <= number <= most:
                found = number if number is not None else kind_of(value)
                self.problems.add(where, f"must be a whole number from {least} to {most}, not {found}")
                return None
            return number

        return self._read(key, default, least, check)

    def port(self, key: str = "port") -> int:
        return self.integer(key, least=1, most=65535)

    def share(self, key: str, default: float | None = None) -> float:
        """A part of one: 0.001 is 0.1 %."""

        def check(where: str, value: t.Any) -> float | None:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                self.problems.add(where, f"must be a number from 0 to 1 (0.05 is 5 %), not {kind_of(value)}")
                return None
            return float(value)

        return self._read(key, default, 0.0, check)

    def number(self, key: str, default: float | None = None) -> float:
        """A number that is not negative."""

        def check(where: str, value: t.Any) -> float | None:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                self.problems.add(where, f"must be a number that is not negative, not {kind_of(value)}")
                return None
            return float(value)

        return self._read(key, default, 0.0, check)

    def boolean(self, key: str, default: bool | None = None) -> bool:
        def check(where: str, value: t.Any) -> bool | None:
            if not isinstance(value, bool):
                self.problems.add(where, f"must be true or false, not {kind_of(value)}")
                return None
            return bool(value)

        return self._read(key, default, False, check)

    def duration(self, key: str, default: float | None = None, most: float | None = None) -> float:
        """Seconds. Without a default the key is required; zero is refused, `most` is the largest."""

        def check(where: str, value: t.Any) -> float | None:
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                self.problems.add(where, f"is no duration but {kind_of(value)}, {_DURATION_HINT}")
                return None
            try:
                seconds = parse_duration(value, where)
            except BadInput:
                self.problems.add(where, f"{quote(str(value))} is no duration, {_DURATION_HINT}")
                return None
            if seconds <= 0 or (most is not None and seconds > most):
                limit = f" and at most {most:g}s" if most is not None else ""
                self.problems.add(where, f"is {seconds:g}s, must be more than 0s{limit}")
                return None
            return seconds

        return self._read(key, default, 1.0, check)

    def optional_duration(self, key: str, most: float | None = None) -> float | None:
        return self.duration(key, most=most) if self._given(key) else None

    def plain(self, key: str) -> t.Any:
        """The value as it is, or None. For what is handed on and not looked into."""
        self._known.append(key)
        return self._values.get(key)

    # -- structures --------------------------------------------------------------------------------------------

    def texts(self, key: str, required: bool = False, choices: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of texts, empty when the key is left out and not required."""
        found: list[str] = []
        for position, value in self._items(key, required):
            where = f"{self.at(key)}[{position}]"
            text = self._as_text(where, value)
            if text is None:
                continue
            if choices is not None and text not in choices:
                self.problems.add(where, f"is {quote(text)}, must be one of {', '.join(choices)}")
            elif text in found:
                self.problems.add(where, f"{quote(text)} is there twice, leave one out")
            else:
                found.append(text)
        return tuple(found)

    def child(self, key: str) -> TypedMapping:
        """A mapping that must be there."""
        if not self._given(key):
            self.problem(key, "is missing, must be a mapping")
            return TypedMapping({}, self.at(key), Problems(self.problems.source))
        return TypedMapping(self._values[key], self.at(key), self.problems)

    def optional_child(self, key: str) -> TypedMapping | None:
        return self.child(key) if self._given(key) else None

    def children(self, key: str) -> Iterator[tuple[str, TypedMapping]]:
        """The named mappings inside a mapping; none when the key is left out."""
        outer = self.optional_child(key)
        if outer is not None:
            for name in outer._values:
                yield name, TypedMapping(outer._values[name], outer.at(name), self.problems)

    def listed(self, key: str) -> Iterator[TypedMapping]:
        """The mappings inside a list; none when the key is left out."""
        for position, value in self._items(key, required=False):
            yield TypedMapping(value, f"{self.at(key)}[{position}]", self.problems)

    def names(self) -> list[str]:
        return list(self._values)

    def finish(self) -> None:
        """Name every key that nobody asked for, with the key that was probably meant."""
        for key in self._values:
            if key not in self._known:
                self.problem(key, f"is not a known key here, {self._advice(key)}")

    # -- inner -------------------------------------------------------------------------------------------------

    def _advice(self, key: str) -> str:
        close = difflib.get_close_matches(key, self._known, n=1)
        if close:
            return f"did you mean {close[0]}?"
        return f"known are: {', '.join(sorted(set(self._known)))}" if self._known else "leave it out"

    def _given(self, key: str) -> bool:
        self._known.append(key)
        return self._values.get(key) is not None

    def _items(self, key: str, required: bool) -> Iterable[tuple[int, t.Any]]:
        if not self._given(key):
            if required:
                self.problem(key, "is missing, must be a list")
            return ()
        value = self._values[key]
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
            self.problem(key, f"must be a list, not {kind_of(value)}")
            return ()
        return enumerate(value)

    def _as_text(self, where: str, value: t.Any) -> str | None:
        if not isinstance(value, str) or not value.strip():
            self.problems.add(where, f"must be a text that is not empty, not {kind_of(value)}")
            return None
        return "".join(value)

    def _read(self, key: str, default: Item | None, harmless: Item, check: Callable[[str, t.Any], Item | None]) -> Item:
        if not self._given(key):
            if default is None:
                self.problem(key, "is missing")
                return harmless
            return default
        found = check(self.at(key), self._values[key])
        return harmless if found is None else found


def kind_of(value: t.Any) -> str:
    """The type of a value in YAML's words; never the value, which could be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text" if value.strip() else "an empty text"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else type(value).__name__


def quote(text: str) -> str:
    """A short quotation for a message."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…")


def _whole_number(value: t.Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    # Ansible before 2.19 turns a templated number into a text.
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return None
