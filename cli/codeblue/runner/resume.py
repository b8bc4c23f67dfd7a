"""The request that goes on with a run, made from its record and from what was kept of its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.extra_vars import names_of, read_extra_vars
from codeblue.runner.invocation import Invocation, load_invocation
from codeblue.runner.options import make_request
from codeblue.runner.orphans import end_orphans
from codeblue.runner.record import find_run, open_record
from codeblue.runner.request import Request


def resume_request(
    run_id: str,
    *,
    inventory: Sequence[str],
    limit: str | None,
    extra_vars: Sequence[str],
    accept: Sequence[str],
    pass_env: Sequence[str],
    forks: int | None,
    wait_seconds: float,
    verbosity: int,
) -> Request:
    """The request; what the earlier attempt left going has ended when it is returned.

    :raises BadInput: there is no such run, it is closed, or something that it was given is missing.
    :raises Refused: it is going on somewhere.
    """
    run = find_run(run_id)
    if run.status == "closed":
        raise BadInput(f"run {run.run_id} is closed: {run.outcome}", f"to act again: codeblue run {run.runbook}")
    kept = load_invocation(run.run_id)
    _require_values(kept, extra_vars)
    files = [f"@{path}" for path in kept.variable_files] if kept else []
    request = make_request(
        "resume",
        kept.runbook if kept else run.runbook,
        run_id=run.run_id,
        inventory=inventory or (kept.inventory if kept else ()),
        # Targets that are closed were given back; the others were chosen by the --limit of that time.
        limit=limit or ",".join(run.open_targets),
        extra_vars=[*files, *extra_vars],
        because=run.because,
        accept=tuple(dict.fromkeys([*run.accepts, *accept])),
        pass_env=pass_env or (kept.pass_env if kept else ()),
        forks=forks,
        verbosity=verbosity,
        directory=_directory_of(kept),
        settings=kept.settings if kept else None,
    )
    end_orphans(open_record(), run.run_id, wait_seconds, _say)
    return request


def _require_values(kept: Invocation | None, extra_vars: Sequence[str]) -> None:
    if kept is None:
        return
    missing = sorted(set(kept.variable_names) - set(names_of(read_extra_vars(extra_vars))))
    if missing:
        raise BadInput(
            f"the run was given -e {', '.join(missing)}: values are not kept", "give them again, the same ones"
        )


def _directory_of(kept: Invocation | None) -> Path | None:
    if kept is None:
        return None
    directory = Path(kept.directory)
    if not directory.is_dir():
        raise BadInput(f"the run was started in {directory}, which is gone", "give -i and start from where it was")
    return directory


def _say(text: str) -> None:
    # On stderr, so that JSON lines stay clean.
    print(f"codeblue: {text}", file=sys.stderr)
