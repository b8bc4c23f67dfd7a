"""The private directory that ansible-runner works in: in memory where possible, gone afterwards, also after a kill."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.runner.processes import is_running, processes_with, start_of

# ansible-runner's callback in ansible-playbook writes to the directory that this variable names.
_DIRECTORY_VARIABLE = "AWX_ISOLATED_DATA_DIR"


class Workspace:
    """One run's directory; use it as a context manager."""

    def __init__(self, run_id: str) -> None:
        base = workspace_base()
        sweep(base)
        self.path = base / f"{run_id}-{os.getpid()}-{start_of(os.getpid())}"
        self.path.mkdir(mode=0o700)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists() and not processes_with(_DIRECTORY_VARIABLE, str(self.path)):
            # An orphan that was just ended may have written once more.
            shutil.rmtree(self.path, ignore_errors=True)


def workspace_base() -> Path:
    """Where the directories are made: XDG_RUNTIME_DIR or /dev/shm (both in memory), else the temporary directory.

    :raises BadInput: somebody else prepared a directory of that name.
    """
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", tempfile.gettempdir()]
    for candidate in candidates:
        if candidate and os.access(candidate, os.W_OK | os.X_OK) and _fits(Path(candidate)):
            return _private(Path(candidate) / f"codeblue-{os.geteuid()}")
    raise BadInput("no temporary directory can be written", "set TMPDIR")


def sweep(base: Path) -> list[Path]:
    """Remove what runs left behind whose processes are all gone.

    :returns: what was removed.
    """
    removed = []
    for path in base.iterdir():
        _run_id, _, identity = path.name.partition("-")
        pid, _, started = identity.partition("-")
        if not pid.isdigit() or is_running(int(pid), started):
            continue
        # A killed runner leaves its ansible-playbook going, which still writes there.
        if processes_with(_DIRECTORY_VARIABLE, str(path)):
            continue
        shutil.rmtree(path, ignore_errors=True)
        removed.append(path)
    return removed


def _fits(directory: Path) -> bool:
    found = directory.stat()
    # A runtime directory that sudo kept in the environment is another user's.
    return bool(found.st_mode & stat.S_ISVTX) or found.st_uid == os.geteuid()


def _private(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInput(f"{path} is a link, or is open to others", f"remove it: rm -r {path}")
    return path
