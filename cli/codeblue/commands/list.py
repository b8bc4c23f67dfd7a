"""`codeblue list`: which runbooks there are."""

from __future__ import annotations

import json

import click
from codeblue.runner.options import json_option


@click.command()
@json_option
def command(as_json: bool) -> int:
    """List the runbooks.

    \b
    codeblue list
    """
    from codeblue.runner.cards import read_card
    from codeblue.runner.collection import own_runbooks

    cards = [(runbook, read_card(runbook.card_path)) for runbook in own_runbooks()]
    if as_json:
        for runbook, card in cards:
            objectives = card.get("objectives") or {}
            line = {
                "message_type": "runbook",
                "name": runbook.name,
                "title": card.get("title"),
                "severity": card.get("severity"),
                "rto": objectives.get("rto"),
                "rpo": objectives.get("rpo"),
            }
            click.echo(json.dumps(line, ensure_ascii=False))
        click.echo(json.dumps({"message_type": "summary", "runbooks": len(cards), "exit_code": 0}))
        return 0
    width = max((len(runbook.name) for runbook, _card in cards), default=0)
    for runbook, card in cards:
        objectives = card.get("objectives") or {}
        targets = f"RTO {objectives.get('rto', '?')}, RPO {objectives.get('rpo', '?')}"
        click.echo(f"{runbook.name:{width}}  {card.get('severity', ''):5} {targets:20}  {card.get('title', '')}")
    if not cards:
        click.echo("no runbooks are installed")
    return 0
