"""The reference of the command, made from its own help: `python -m codeblue.output.reference > docs/command.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

_WIDTH = 110

_HEAD = Path(__file__).with_name("reference_head.md")


def reference() -> str:
    """The whole page."""
    from codeblue.main import cli

    settings = {"info_name": "codeblue", "terminal_width": _WIDTH, **cli.context_settings}
    with click.Context(cli, **settings) as context:
        sections = [f"\n## {path}\n\n```text\n{text}\n```\n" for path, text in _help_of(cli, context)]
    return _HEAD.read_text(encoding="utf-8") + "".join(sections)


def _help_of(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is None or inner.hidden:
            continue
        with click.Context(inner, parent=context, info_name=name) as own:
            yield from _help_of(inner, own)


if __name__ == "__main__":
    sys.stdout.write(reference())
