"""What the commands about state share: JSON lines, and times in the zone of whoever reads."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import parse_time

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines; the last one is the summary.")


def local_time(text: str | None) -> str:
    """A recorded time in the operator's zone, with its offset: 2025-03-01 04:12:09 +0100."""
    if text is None:
        return "-"
    return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def local_clock(text: str) -> str:
    """As `local_time`, with milliseconds, for sequences of steps."""
    moment: datetime = parse_time(text).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} {moment:%z}"


def plain_value(value: Any) -> Any:
    """Frozen values as JSON can show them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    return value


def json_line(message_type: str, **values: Any) -> None:
    click.echo(json.dumps({"message_type": message_type, **plain_value(values)}, ensure_ascii=False))


def summary_line(exit_code: int = 0, **values: Any) -> None:
    json_line("summary", exit_code=exit_code, **values)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Columns as wide as they must be; `empty` is said when there is nothing."""
    listed = [[_one_line(cell) for cell in row] for row in rows]
    if not listed:
        click.echo(empty)
        return
    widths = [max(len(cell) for cell in column) for column in zip(headings, *listed, strict=True)]
    for row in [list(headings), *listed]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, str | None]) -> None:
    """One field per line; what is not known is left out."""
    known = {name: value for name, value in fields.items() if value not in (None, "")}
    width = max((len(name) for name in known), default=0) + 1
    for name, value in known.items():
        click.echo(f"{(name + ':').ljust(width)} {_one_line(str(value))}")


def _one_line(text: str) -> str:
    # A record may hold what an operator typed: no control characters reach the terminal.
    return "".join(character if character.isprintable() else " " for character in text)


def write_private(path: str, lines: Iterable[str]) -> None:
    """Write a new file for this account alone."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
