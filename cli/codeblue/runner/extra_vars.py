"""Extra variables: read from the command line, handed to Ansible without a file and without an argument.

Literal values go through a named pipe: it has a name on a file system, and its content never is there. (An anonymous
file in memory would do as well, but Ansible resolves `/proc/PID/fd/N` to a path that does not exist.)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import threading
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.environment import looks_secret

# Set by options of the command; the operator's words must not reach the record by another way.
RESERVED = {
    "codeblue_run_id": "codeblue resume RUN",
    "codeblue_because": "--because TEXT",
    "codeblue_accept": "--accept KIND",
    "codeblue_inventory_sources": "-i INVENTORY",
}
_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")
_CLOSE_SECONDS = 2.0
# A name does not always tell. Hiding shorter values as well would blank out ordinary words such as `main`.
_LONG_ENOUGH = 8


@dataclass(frozen=True)
class VariablesFile:
    """A file of the operator's own, which Ansible opens itself, encrypted by vault or not."""

    path: Path


@dataclass(frozen=True)
class Literals:
    """Values from the command line."""

    values: Mapping[str, t.Any]


Source = VariablesFile | Literals


def read_extra_vars(arguments: Iterable[str]) -> list[Source]:
    """What `-e` was given, in order: later ones win. Neighbouring literals are joined.

    :param arguments: `name=value …`, `{"name": value}`, or `@file`.
    :raises BadInput: a file cannot be read, or the text is none of these. The message never holds a value.
    """
    sources: list[Source] = []
    for argument in arguments:
        text = argument.strip()
        if text.startswith("@"):
            sources.append(VariablesFile(_readable_file(text[1:])))
            continue
        values = _structure(text) if text[:1] in "{[" else _pairs(text)
        for name in values:
            _check_name(name)
        if sources and isinstance(sources[-1], Literals):
            values = {**sources[-1].values, **values}
            sources.pop()
        sources.append(Literals(values))
    return sources


def names_of(sources: Iterable[Source]) -> list[str]:
    """The names of all literals."""
    return sorted({name for source in sources if isinstance(source, Literals) for name in source.values})


def secrets_of(sources: Iterable[Source]) -> list[str]:
    """The texts among the values that no output may repeat: those of secret names, and all long ones."""
    found: list[str] = []
    for source in sources:
        if isinstance(source, Literals):
            for name, value in source.values.items():
                texts: list[str] = []
                _collect_texts(value, texts)
                found += [text for text in texts if looks_secret(name) or len(text) >= _LONG_ENOUGH]
    return found


class Handover:
    """Passes variables to one ansible-playbook.

    :param directory: the private directory, where the pipes have their names.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pipes: list[_Pipe] = []

    def arguments(self, sources: Iterable[Source]) -> list[str]:
        """The `-e` arguments for ansible-playbook; they hold paths only."""
        arguments: list[str] = []
        for source in sources:
            path = source.path if isinstance(source, VariablesFile) else self._offer(source.values)
            arguments += ["-e", f"@{path}"]
        return arguments

    def close(self) -> None:
        """Take the values away. Called once Ansible has read them: its errors quote the lines they come from."""
        while self._pipes:
            self._pipes.pop().close()

    def _offer(self, values: Mapping[str, t.Any]) -> Path:
        pipe = _Pipe(
            self._directory / f"extra-vars-{len(self._pipes)}.json", json.dumps(dict(values), indent=0).encode()
        )
        self._pipes.append(pipe)
        return pipe.path


class _Pipe:
    """A named pipe that gives its content to whoever opens it, as often as it is opened.

    Ansible reads a variables file again for the next inventory plugin when the first one fails. Every reader gets
    a pipe of its own: a new one takes the name before the old one is written to, so no reader sees two copies.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._content = content
        self._closed = False
        os.mkfifo(path, 0o600)
        self._thread = threading.Thread(target=self._serve, name="codeblue-extra-vars", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(FileNotFoundError):
            # A reader that leaves at once: it ends the writer's wait.
            os.close(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join(_CLOSE_SECONDS)
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._closed:
            # Waits for a reader.
            with contextlib.suppress(BrokenPipeError), open(self.path, "wb", buffering=0) as pipe:
                if self._closed:
                    return
                following = self.path.with_suffix(".next")
                os.mkfifo(following, 0o600)
                following.replace(self.path)
                pipe.write(self._content)


def _readable_file(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise BadInput(f"-e @{name}: {error.strerror}") from error


def _structure(text: str) -> dict[str, t.Any]:
    parsed: t.Any = None
    with contextlib.suppress(ValueError):
        parsed = json.loads(text)
    if parsed is None:
        import yaml

        try:
            parsed = yaml.safe_load(text)
        except yaml.YAMLError as error:
            # The error's own text would quote the value.
            raise BadInput(
                "-e: this is neither JSON nor YAML", 'write name=value, {"name": "value"} or @file'
            ) from error
    if not isinstance(parsed, dict):
        raise BadInput("-e: must be a mapping of names to values", 'write name=value, {"name": "value"} or @file')
    return {str(name): value for name, value in parsed.items()}


def _pairs(text: str) -> dict[str, t.Any]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput("-e: a quotation mark is not closed", "quote the whole value") from error
    values: dict[str, t.Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise BadInput("-e: a word without =", "write name=value, and quote a value that has spaces")
        values[name] = value
    if not values:
        raise BadInput("-e: nothing was given", 'write name=value, {"name": "value"} or @file')
    return values


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise BadInput(f"-e: {name[:40]!r} is no name of a variable")
    if name in RESERVED:
        raise BadInput(f"-e {name}: is set by the command itself", f"use {RESERVED[name]}")


def _collect_texts(value: t.Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect_texts(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect_texts(item, found)
