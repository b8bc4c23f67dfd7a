"""What is asked for: one runbook on one inventory."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.collection import Runbook
from codeblue.runner.extra_vars import Source

Mode = t.Literal["run", "plan", "resume"]

# Ansible starts no more workers than it has hosts, so a number above the usual costs nothing; the bound is for
# the memory of a play with hundreds of hosts, about 60 MB each.
DEFAULT_FORKS = 100
FEWEST_FORKS = 20


@dataclass(frozen=True)
class Request:
    """One run of a runbook.

    :param run_id: a ULID; that of the earlier attempt when it is resumed.
    :param inventory: sources as Ansible takes them; empty for what ansible.cfg says.
    :param extra: variables of the operator, in order.
    :param because: why it is run although the criteria do not fire.
    :param accept: what is accepted, such as `data_loss`.
    :param origin: `cli` or `drill`, for the record.
    :param started_at: Unix seconds at which the command was started.
    :param settings: variables that options of the command stand for; no secrets, kept for a resume.
    """

    mode: Mode
    runbook: Runbook
    run_id: str
    inventory: tuple[str, ...]
    limit: str | None
    extra: tuple[Source, ...]
    because: str | None
    accept: tuple[str, ...]
    pass_env: tuple[str, ...]
    forks: int
    verbosity: int
    directory: Path
    collections: str
    started_at: float
    origin: str = "cli"
    settings: Mapping[str, t.Any] = field(default_factory=dict)


def inventory_sources(given: Sequence[str], directory: Path) -> tuple[str, ...]:
    """Inventory sources with absolute paths.

    :raises BadInput: a path does not exist or cannot be read.
    """
    sources = []
    for source in given:
        if "," in source and not Path(source).exists():
            sources.append(source)
            continue
        path = (directory / Path(source).expanduser()).absolute()
        if not path.exists():
            raise BadInput(f"inventory {source} does not exist", "name the file or directory with -i")
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise BadInput(
                f"inventory {source} cannot be read", f"it belongs to {path.owner()}: run as that user, or chmod it"
            )
        sources.append(str(path))
    return tuple(sources)


def choose_forks(given: int | None) -> int:
    """The number of forks: as asked for, else what the operator configured for Ansible, else enough for all hosts.

    :raises BadInput: ANSIBLE_FORKS is no number.
    """
    if given is not None:
        return given
    configured = os.environ.get("ANSIBLE_FORKS")
    if configured is None:
        return DEFAULT_FORKS
    if not configured.isdigit():
        raise BadInput(f"ANSIBLE_FORKS: {configured!r} is not a number")
    return max(int(configured), FEWEST_FORKS)
