"""codeblue evidence: what was taken before the first change, who took it and who opened it."""

from __future__ import annotations

from pathlib import Path

import click
from codeblue.state_output import json_line, json_option, local_time, show_table, summary_line

_DAMAGED = 1

_directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where evidence lies. Default: $XDG_STATE_HOME/codeblue/evidence.",
)


@click.group(name="evidence")
def command() -> None:
    """Evidence of runs: encrypted, with a custody record of who took it and who opened it.

    \b
    codeblue evidence list
    codeblue evidence verify 01JD3Q0J3V9W1X3C5Z7B9N2M4K
    codeblue evidence export 01JD3Q0J3V9W1X3C5Z7B9N2M4K --to /media/case-17 --identity KEY --because "case 17"
    """


@command.command(name="list")
@click.argument("run", required=False)
@_directory_option
@json_option
def list_(run: str | None, directory: Path | None, as_json: bool) -> None:
    """List what was taken and opened; with a RUN every piece of it, with its hash.

    Example: codeblue evidence list 01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """
    from codeblue.evidence.runs import evidence_of, runs_with_evidence

    runs = [run] if run else runs_with_evidence(directory)
    found = [(each, entry) for each in runs for entry in evidence_of(each, directory).custody.entries()]
    if as_json:
        for each, entry in found:
            json_line("evidence", run=each, sha256=entry.sha256, size_bytes=entry.size_bytes, **vars(entry))
        summary_line(runs=len(runs), entries=len(found))
        return
    if run is None:
        show_table(
            ("RUN", "AT", "WHAT", "ABOUT", "FROM", "BY", "PIECES", "BYTES"),
            [
                (
                    each,
                    local_time(entry.at),
                    entry.kind if not entry.purpose else f"{entry.kind}: {entry.purpose}",
                    f"{entry.target}/{entry.name}",
                    entry.origin,
                    entry.by if entry.verified else f"{entry.by} (unverified)",
                    str(len(entry.pieces)),
                    str(entry.size_bytes),
                )
                for each, entry in found
            ],
            "There is no evidence.",
        )
        return
    show_table(
        ("AT", "WHAT", "ABOUT", "PIECE", "BYTES", "SHA-256", "KEPT"),
        [
            (
                local_time(entry.at),
                entry.kind,
                f"{entry.target}/{entry.name}",
                piece.name,
                str(piece.size_bytes),
                piece.sha256,
                piece.file or "only the hash",
            )
            for _run, entry in found
            for piece in entry.pieces
        ],
        "There is no evidence.",
    )


@command.command()
@click.argument("run", required=False)
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The age identity: also decrypts every piece in memory, which is written down as an access.",
)
@_directory_option
@json_option
@click.pass_context
def verify(
    context: click.Context, run: str | None, identity: Path | None, directory: Path | None, as_json: bool
) -> None:
    """Hold evidence against its custody record, and that against the signed record of the run.

    Without a RUN all evidence here is verified. Exits 1 when something was altered or is missing; it is named.

    Example: codeblue evidence verify 01JD3Q0J3V9W1X3C5Z7B9N2M4K
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity
    from codeblue.evidence.runs import announce_access, evidence_of, runs_with_evidence
    from codeblue.evidence.verify import problems_of

    key = Identity(identity) if identity else None
    runs = [run] if run else runs_with_evidence(directory)
    wrong = 0
    for each in runs:
        problems, pieces = problems_of(evidence_of(each, directory), key)
        if key is not None:
            announce_access(each)
        wrong += bool(problems)
        if as_json:
            json_line("evidence_verified", run=each, whole=not problems, pieces=pieces, problems=problems)
            continue
        click.echo(f"{each}: {'damaged' if problems else 'whole'}, {pieces} pieces")
        for problem in problems:
            click.echo(f"  {problem}")
    exit_code = _DAMAGED if wrong else 0
    if as_json:
        summary_line(exit_code, runs=len(runs), damaged=wrong)
    elif not runs:
        click.echo("There is no evidence.")
    context.exit(exit_code)


@command.command()
@click.argument("run")
@click.option(
    "--to", "destination", type=click.Path(path_type=Path), required=True, help="A missing or empty directory."
)
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The age identity that reads the evidence. It is read here and copied nowhere.",
)
@click.option("--because", required=True, metavar="TEXT", help="Why; it goes into the custody record.")
@click.option("--target", metavar="NAME", help="Only what is about this service or machine.")
@click.option("--piece", metavar="TEXT", help="Only pieces whose name holds this text.")
@_directory_option
@json_option
def export(
    run: str,
    destination: Path,
    identity: Path,
    because: str,
    target: str | None,
    piece: str | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Decrypt evidence of a RUN into files for this account alone. Who did it and why is recorded first.

    Example: codeblue evidence export 01JD3Q0J3V9W1X3C5Z7B9N2M4K --to /media/case-17 --identity KEY --because "case 17"
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Identity
    from codeblue.evidence.export import export as export_pieces
    from codeblue.evidence.runs import announce_access, evidence_of

    evidence = evidence_of(run, directory)
    try:
        written = export_pieces(evidence, destination, Identity(identity), because, target, piece)
    finally:
        announce_access(run)
    if as_json:
        summary_line(run=run, files=[str(path) for path in written])
    else:
        click.echo(f"{len(written)} pieces written to {destination}.")
