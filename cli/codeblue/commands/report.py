"""`codeblue report`: what a run did, why, and how long it took."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click
from codeblue.runner.options import json_option


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "markdown", "md", "json"]),
    help="Default: by the ending of FILE, else Markdown.",
)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write to FILE."
)
@json_option
def command(run: str, kind: str | None, path: Path | None, as_json: bool) -> int:
    """Report on a run: timeline, steps, decisions with their reasons, times against objectives, hashes.

    RUN is the id that the run printed, or the beginning of it.

    \b
    codeblue report 01JD3V4T6R8Y0Q2M5N7P9S1W3X -o report.html
    codeblue report 01JD3V4T6R8Y0Q2M5N7P9S1W3X --format markdown
    """
    from codeblue.report.content import collect
    from codeblue.report.render import render_html, render_json, render_markdown
    from codeblue.runner.record import find_run, open_record

    found = find_run(run)
    report = collect(open_record(), found.run_id)
    by_ending = {".html": "html", ".htm": "html", ".json": "json"}.get(path.suffix.lower() if path else "", "md")
    chosen = kind or ("json" if as_json and path is None else by_ending)
    text = {"html": render_html, "json": render_json, "md": render_markdown, "markdown": render_markdown}[chosen](
        report
    )
    if path is not None:
        _write(path, text)
    elif as_json:
        # JSON lines: a report that spans lines would break the promise of one message per line.
        click.echo(
            json.dumps(
                {"message_type": "report", "format": chosen, "report": json.loads(text) if chosen == "json" else text}
            )
        )
    else:
        click.echo(text, nl=False)
    if as_json:
        summary = {
            "message_type": "summary",
            "run": found.run_id,
            "outcome": found.outcome,
            "file": str(path) if path else None,
        }
        click.echo(json.dumps({**summary, "exit_code": 0}))
    elif path is not None:
        click.echo(f"written to {path}")
    return 0


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by this account: a report names systems and people."""
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "choose another file with -o") from error
