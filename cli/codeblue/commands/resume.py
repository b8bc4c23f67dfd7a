"""`codeblue resume`: go on with a run that was interrupted."""

from __future__ import annotations

import typing as t

import click
from codeblue.runner.options import inventory_option, json_option


@click.command()
@click.argument("run")
@inventory_option
@click.option("--limit", metavar="PATTERN", help="Default: all targets of the run that are still open.")
@click.option(
    "-e",
    "--extra-vars",
    "extra_vars",
    multiple=True,
    metavar="VARS",
    help="Variables that the run was given; their values were not kept and have to be given again.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="KIND",
    help="Accept in addition to what the run had accepted, such as changed_inputs; may be repeated. It is recorded.",
)
@click.option("--pass-env", multiple=True, metavar="NAME", help="As for the run; it is remembered on this machine.")
@click.option("--forks", type=click.IntRange(1, 1000), metavar="N", help="Most hosts at once.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a step that the earlier attempt is still doing may take before it is ended.",
)
@click.option("-v", "--verbose", "verbosity", count=True, help="Show more; -vvv shows connections. Never raw results.")
@json_option
def command(run: str, as_json: bool, **options: t.Any) -> int:
    """Go on with a run that was interrupted.

    RUN is the id that the run printed. What is left of the earlier attempt is ended first; what was done is not
    done again.

    \b
    codeblue resume 01JD3V4T6R8Y0Q2M5N7P9S1W3X
    """
    from codeblue.runner.options import run_request
    from codeblue.runner.resume import resume_request

    return run_request(resume_request(run, **options), as_json)
