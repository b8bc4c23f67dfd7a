"""codeblue audit: the signed record of every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from codeblue.state_output import json_line, json_option, local_clock, local_time, show_fields, show_table, summary_line

_SHOWN_CHARACTERS = 160


@click.group(name="audit")
def command() -> None:
    """The signed record of every run: list, show, export, verify.

    Example: codeblue audit show 01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """


@command.command(name="list")
@click.option("--limit", type=click.IntRange(1, 10000), default=50, show_default=True, help="The latest so many.")
@click.option("--status", type=click.Choice(["open", "closed"]), help="Only these.")
@json_option
def list_(limit: int, status: str | None, as_json: bool) -> None:
    """List the runs, the latest first.

    Example: codeblue audit list --status open
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool

    runs = open_store_or_spool().runs(limit, status)
    if as_json:
        for run in runs:
            json_line("run", **run.__dict__)
        summary_line(runs=len(runs))
        return
    show_table(
        ("RUN", "OPENED", "RUNBOOK", "TARGETS", "BY", "OUTCOME"),
        [
            (
                run.run_id,
                local_time(run.opened_at),
                run.runbook,
                ",".join(run.targets),
                str(run.operator),
                run.outcome or "open",
            )
            for run in runs
        ],
        "There are no runs.",
    )


@command.command()
@click.argument("run")
@json_option
def show(run: str, as_json: bool) -> None:
    """Show the record of a RUN.

    Example: codeblue audit show 01JD3Q0J3V9W1X3C5Z7B9N2M4K --json
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import open_store_or_spool

    store = open_store_or_spool()
    found = store.run(run)
    if found is None:
        raise BadInput(f"there is no run {run}", "codeblue audit list shows the runs")
    records = store.ledger_records(run)
    if as_json:
        json_line("run", **found.__dict__)
        for record in records:
            json_line("record", **record)
        summary_line(run=run, records=len(records), outcome=found.outcome)
        return
    show_fields(
        {
            "run": found.run_id,
            "runbook": f"{found.runbook} ({found.severity}, {found.environment})",
            "opened": f"{local_time(found.opened_at)} by {found.operator}",
            "closed": local_time(found.closed_at) if found.closed_at else "still open",
            "outcome": f"{found.outcome} (exit {found.exit_code})" if found.outcome else None,
            "incident": found.incident_id,
            "change": found.change_id,
            "because": found.because,
        }
    )
    for name, state in found.targets.items():
        click.echo(f"  {name}: {state.outcome or 'open'}")
    click.echo("")
    for record in records:
        click.echo(f"{record['seq']:>4}  {local_clock(str(record['at']))}  {record['kind']:<20} {_fields(record)}")


@command.command()
@click.argument("run")
@click.option("-o", "--output", required=True, help="The file to write; - for standard output.")
@json_option
def export(run: str, output: str, as_json: bool) -> None:
    """Export the record of a RUN as JSON lines: header, signed records, signed heads.

    The public key to pin is the file ledger.key.pub beside the key, or `codeblue audit key`.

    Example: codeblue audit export 01JD3Q0J3V9W1X3C5Z7B9N2M4K -o run.jsonl
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from codeblue.state_output import write_private

    store = open_store()
    if store.run(run) is None:
        raise BadInput(f"there is no run {run}", "codeblue audit list shows the runs")
    lines = store.export(run)
    if output == "-":
        for line in lines:
            click.echo(line)
        return
    try:
        write_private(output, lines)
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror}", "choose another file") from error
    if as_json:
        summary_line(run=run, file=output, lines=len(lines))
    else:
        click.echo(f"{len(lines)} lines written to {output}.")


@command.command()
@json_option
def key(as_json: bool) -> None:
    """Print the public key that this controller signs with, to be pinned by whoever verifies.

    Example: codeblue audit key > codeblue-ledger.pub
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._ledger_key import LedgerKey
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import ledger_key_path

    found = LedgerKey.at(ledger_key_path())
    if as_json:
        summary_line(key_id=found.key_id, public_key=found.public_pem)
    else:
        click.echo(found.public_pem, nl=False)


@command.command(name="take-in")
@json_option
def take_in(as_json: bool) -> None:
    """Take runs that went on in a spool while the store was away back into the store.

    A run that is under way stays in its spool until it ends. `codeblue outbox deliver` does this as well.

    Example: codeblue audit take-in
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_intake import take_in_spools

    found = take_in_spools(open_store())
    if as_json:
        for each in found:
            json_line("spool", **each.__dict__)
        summary_line(taken=sum(each.taken for each in found), left=sum(not each.taken for each in found))
    else:
        show_table(("RUN", "RESULT"), [(each.run_id, each.reason) for each in found], "There are no spools.")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A pinned public key; repeat it when several controllers wrote the record.",
)
@click.option(
    "--head",
    "heads",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file of copied heads, as an anchor keeps it.",
)
@json_option
@click.pass_context
def verify(
    context: click.Context, file: Path, public_keys: tuple[Path, ...], heads: tuple[Path, ...], as_json: bool
) -> None:
    """Verify an exported FILE with nothing but a pinned key and a copied head.

    Exits 0 when the record is whole and complete, 1 when it is damaged (the first bad or missing record is
    named), 2 when a file cannot be used, 4 when it is whole but nothing proves that it is complete.

    Example: codeblue audit verify run.jsonl --public-key ledger.key.pub --head heads.jsonl
    """
    from codeblue.verify import UnusableInput, verify_files

    try:
        found = verify_files(file, public_keys, heads)
    except UnusableInput as error:
        raise BadInput(str(error), "codeblue audit verify --help") from error
    if as_json:
        summary_line(
            found.exit_code,
            verdict=found.verdict,
            message=found.message,
            run=found.run,
            records=found.records,
            segment=found.segment,
            seq=found.seq,
        )
    else:
        click.echo(f"{found.verdict.replace('_', ' ')}: {found.message}")
    context.exit(found.exit_code)


def _fields(record: dict[str, Any]) -> str:
    text = json.dumps(record["fields"], ensure_ascii=False, sort_keys=True)
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
