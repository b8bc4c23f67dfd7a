"""What a lab remembers of itself: lab.json, and the lock that lets one command at a time change it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused

from codeblue.lab.files import write_json
from codeblue.lab.layout import Layout
from codeblue.lab.processes import ProcessIdentity

FORMAT = 1


@dataclass(frozen=True)
class Binaries:
    """The programs that this lab runs.

    :param postgresql_bin_dir: where `os_user` can execute them.
    """

    postgresql_bin_dir: str
    postgresql_version: str
    haproxy: str
    haproxy_version: str
    python: str


@dataclass
class LabState:
    """lab.json.

    :param phase: `starting` until everything answered once, then `ready`.
    :param boot_id: start times are counted from a boot, so they mean nothing after the next one.
    :param os_user: whose processes PostgreSQL's are.
    """

    boot_id: str
    created_at: str
    phase: str = "starting"
    os_user: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    binaries: Binaries | None = None
    supervisord: ProcessIdentity | None = None
    seconds_to_ready: float | None = None
    format: int = FORMAT

    def save(self, layout: Layout) -> None:
        write_json(layout.state_file, asdict(self))

    @staticmethod
    def load(layout: Layout) -> LabState | None:
        """None when there is no lab in the directory.

        :raises CodeblueError: lab.json is there and is not one.
        """
        try:
            value = json.loads(layout.state_file.read_text(encoding="utf-8"))
            binaries, supervisord = value.pop("binaries"), value.pop("supervisord")
            state = LabState(
                **value,
                binaries=Binaries(**binaries) if binaries else None,
                supervisord=ProcessIdentity(**supervisord) if supervisord else None,
            )
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CodeblueError(
                f"{layout.state_file} is damaged: {error}", "clean up with: codeblue lab down"
            ) from error
        if state.format != FORMAT:
            raise CodeblueError(
                f"{layout.state_file} was written by another version of codeblue",
                "clean up with: codeblue lab down",
            )
        return state


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@contextmanager
def exclusive(layout: Layout, seconds: float = 20.0) -> Iterator[None]:
    """Hold the lab for one command.

    :param seconds: how long to wait for another command to finish.
    :raises Refused: another command still holds it; names its process.
    """
    layout.lock_file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    descriptor = _open_lock(layout)
    try:
        while not _try_lock(layout, descriptor):
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Refused(
                    f"another lab command (process {holder}) is at work on {layout.root}", "wait for it to finish"
                )
            time.sleep(0.05)
            os.close(descriptor)
            descriptor = _open_lock(layout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _open_lock(layout: Layout) -> int:
    return os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try_lock(layout: Layout, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        # `down` removes the file: a lock on one that is no longer there keeps nobody out.
        return os.fstat(descriptor).st_ino == layout.lock_file.stat().st_ino
    except FileNotFoundError:
        return False
