"""Options that several commands share, and the request that they make."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from codeblue.runner.request import Mode, Request

_F = t.TypeVar("_F", bound=Callable[..., t.Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON lines; the last one is the summary.")

inventory_option = click.option(
    "-i",
    "--inventory",
    multiple=True,
    metavar="INVENTORY",
    help="Inventory file, directory or plugin configuration; may be repeated. Default: what ansible.cfg says.",
)

_RUN_OPTIONS = (
    inventory_option,
    click.option("--limit", metavar="PATTERN", help="Recover only these services. Machines they need are still used."),
    click.option(
        "-e",
        "--extra-vars",
        "extra_vars",
        multiple=True,
        metavar="VARS",
        help="Variables as name=value, {JSON} or @file; may be repeated. Values are written nowhere.",
    ),
    click.option(
        "--because",
        metavar="TEXT",
        help="Why to act although the detection criteria do not fire. It is recorded.",
    ),
    click.option(
        "--accept",
        multiple=True,
        metavar="KIND",
        help="Accept a loss that the plan states, such as data_loss; may be repeated. It is recorded.",
    ),
    click.option(
        "--pass-env",
        multiple=True,
        metavar="NAME",
        help="Let this environment variable through to Ansible; names that look like secrets are held back.",
    ),
    click.option(
        "--forks",
        type=click.IntRange(1, 1000),
        metavar="N",
        help="Most hosts at once. Default: enough for all of them, at most 100.",
    ),
    click.option(
        "-v", "--verbose", "verbosity", count=True, help="Show more; -vvv shows connections. Never raw results."
    ),
    json_option,
)


def run_options(function: _F) -> _F:
    """The options of `run` and `plan`."""
    for option in reversed(_RUN_OPTIONS):
        function = option(function)
    return function


def make_request(
    mode: Mode,
    runbook: str,
    *,
    run_id: str | None = None,
    inventory: Sequence[str] = (),
    limit: str | None = None,
    extra_vars: Sequence[str] = (),
    because: str | None = None,
    accept: Sequence[str] = (),
    pass_env: Sequence[str] = (),
    forks: int | None = None,
    verbosity: int = 0,
    origin: str = "cli",
    started_at: float | None = None,
    directory: Path | None = None,
    settings: Mapping[str, t.Any] | None = None,
) -> Request:
    """A request from what was typed. Everything that can be checked without starting Ansible is checked here.

    :param started_at: Unix seconds; by default the moment at which this process was started.
    :raises BadInput: something is wrong with it.
    """
    from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

    from codeblue.runner.collection import collections_path, find_runbook
    from codeblue.runner.extra_vars import read_extra_vars
    from codeblue.runner.request import choose_forks, inventory_sources

    here = directory or Path.cwd()
    collections = collections_path(os.environ, here)
    if because is not None and not because.strip():
        raise BadInput("--because: says nothing", "say why, in a sentence")
    return Request(
        mode=mode,
        runbook=find_runbook(runbook, collections),
        run_id=run_id or new_run_id(),
        inventory=inventory_sources(inventory, here),
        limit=limit,
        extra=tuple(read_extra_vars(extra_vars)),
        because=because,
        accept=tuple(accept),
        pass_env=tuple(pass_env),
        forks=choose_forks(forks),
        verbosity=min(verbosity, 4),
        directory=here,
        collections=collections,
        started_at=process_started_at() if started_at is None else started_at,
        origin=origin,
        settings=dict(settings or {}),
    )


def new_run_id() -> str:
    """A ULID."""
    from ulid import ULID

    return str(ULID())


def process_started_at() -> float:
    """Unix seconds at which this process was started, which is Enter but for the shell."""
    import time

    from codeblue.runner.processes import seconds_since_start

    since = seconds_since_start()
    return time.time() - since if since is not None else time.time()


def run_request(request: Request, as_json: bool) -> int:
    """Carry a request out and show it.

    :returns: the exit code.
    """
    from codeblue.output.choose import choose_output
    from codeblue.runner.execute import execute

    output = choose_output(as_json, request.verbosity)
    try:
        return execute(request, output).exit_code
    finally:
        output.close()
