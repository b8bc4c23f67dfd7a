"""`codeblue show`: a runbook's document."""

from __future__ import annotations

import json
import os
import sys

import click
from codeblue.runner.options import json_option


@click.command()
@click.argument("runbook")
@json_option
def command(runbook: str, as_json: bool) -> int:
    """Show a runbook: when to use it, what it does, how it is undone.

    \b
    codeblue show database_connection_failure
    """
    from pathlib import Path

    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
    from codeblue.output.style import colours_wanted
    from codeblue.runner.cards import read_card
    from codeblue.runner.collection import collections_path, find_runbook

    found = find_runbook(runbook, collections_path(os.environ, Path.cwd()))
    if as_json:
        click.echo(json.dumps({"message_type": "card", **read_card(found.card_path)}, ensure_ascii=False, default=str))
        click.echo(json.dumps({"message_type": "summary", "runbook": found.name, "exit_code": 0}))
        return 0
    if not found.document_path.is_file():
        raise BadInput(f"{found.name} has no document", f"expected {found.document_path}")
    text = found.document_path.read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        click.echo(text)
        return 0
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(no_color=not colours_wanted(sys.stdout))
    # The reader of the operator's choice; a short document is not paged.
    with console.pager(styles=True):
        console.print(Markdown(text))
    return 0
