"""How a run was started, kept so that it can be gone on with: never the value of a variable."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# Older ones are of no use: a resume is a matter of minutes, at most of days.
_MOST_KEPT = 500


@dataclass(frozen=True)
class Invocation:
    """The arguments of `codeblue run` that are no secrets.

    :param inventory: sources, absolute where they are paths.
    :param variable_files: the files of `-e @file`.
    :param variable_names: names that `-e` gave values to; the values have to be given again.
    :param pass_env: names of environment variables that were let through.
    :param settings: variables that options of the command stand for.
    """

    run_id: str
    runbook: str
    inventory: tuple[str, ...]
    limit: str | None
    because: str | None
    accept: tuple[str, ...]
    variable_files: tuple[str, ...]
    variable_names: tuple[str, ...]
    pass_env: tuple[str, ...]
    directory: str
    settings: dict[str, t.Any] = field(default_factory=dict)


def invocations_dir() -> Path:
    """Where they are kept: `$XDG_STATE_HOME/codeblue/invocations`, for this user alone."""
    base = os.environ.get("XDG_STATE_HOME")
    path = (Path(base) if base else Path.home() / ".local" / "state") / "codeblue"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path / "invocations"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def save_invocation(invocation: Invocation) -> str | None:
    """Write it down before anything starts.

    :returns: a warning when it could not be written. That does not hinder the run: a resume then needs `-i` again.
    """
    try:
        directory = invocations_dir()
        handle, name = tempfile.mkstemp(dir=directory, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(invocation), file)
        Path(name).replace(directory / f"{invocation.run_id}.json")
        _forget_oldest(directory)
    except OSError as error:
        return f"the arguments of this run could not be kept ({error.strerror}): a resume will need -i and --limit"
    return None


def load_invocation(run_id: str) -> Invocation | None:
    """The arguments of an earlier run; None when it was not started by this command on this machine.

    :raises BadInput: the file is damaged.
    """
    path = invocations_dir() / f"{run_id}.json"
    try:
        values: dict[str, t.Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("inventory", "accept", "variable_files", "variable_names", "pass_env"):
            values[name] = tuple(values[name])
        return Invocation(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path} is damaged", "remove it and give -i and --limit") from error


def _forget_oldest(directory: Path) -> None:
    kept = sorted(directory.glob("*.json"))
    # ULIDs sort by time.
    for path in kept[: max(0, len(kept) - _MOST_KEPT)]:
        path.unlink(missing_ok=True)
    for path in directory.glob(".new-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()
