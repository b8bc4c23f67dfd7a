"""The lab as a whole: up, down, status, break, heal."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.lab.layout import (
    DATABASE_MEMBERS,
    LONGEST_DIRECTORY,
    Layout,
    default_directory,
)
from codeblue.lab.processes import end, interruptions_as_exceptions, is_running, processes_of, send, wait_gone
from codeblue.lab.state import LabState, boot_id, exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeblue.lab.faults import Injection
    from codeblue.lab.parts import Parts
    from codeblue.lab.status import LabStatus
    from codeblue.lab.supervisor import Supervisor

# Two members of 30 MB, their WAL of up to 256 MB each, the archive, logs, and a copy of PostgreSQL where needed.
_NEEDED_BYTES = 800_000_000
# A process that was just ended may leave a last file in a directory that is being removed.
_REMOVALS = 20
_REMOVAL_PAUSE = 0.05


@dataclass(frozen=True)
class UpResult:
    """What `up` did.

    :param already: it was up before, nothing was done.
    """

    already: bool
    inventory_path: Path
    seconds: float


class Lab:
    """One lab in one directory.

    :param directory: None for the default (`CODEBLUE_LAB_DIR`, else below the user's state directory).
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        root = default_directory() if directory is None else Path(directory).expanduser().absolute()
        self.layout = Layout(root)

    @classmethod
    def load(cls, directory: Path | str | None = None) -> Lab:
        """A lab that is up.

        :raises BadInput: there is none in the directory.
        """
        lab = cls(directory)
        lab.require_up()
        return lab

    @property
    def directory(self) -> Path:
        return self.layout.root

    @property
    def inventory_path(self) -> Path:
        return self.layout.inventory

    @property
    def state(self) -> LabState:
        """What lab.json says.

        :raises BadInput: there is no lab in the directory.
        """
        state = LabState.load(self.layout)
        if state is None:
            raise BadInput(f"there is no lab in {self.layout.root}", "start one with: codeblue lab up")
        return state

    @property
    def parts(self) -> Parts:
        from codeblue.lab.parts import Parts

        return Parts(self.layout, self.state)

    def is_up(self) -> bool:
        """Its supervisord runs and everything answered once. A fault that was injected since does not count."""
        state = LabState.load(self.layout)
        return state is not None and state.phase == "ready" and _supervisord_runs(state)

    def require_up(self) -> None:
        state = self.state
        if state.phase != "ready" or not _supervisord_runs(state):
            raise BadInput(f"the lab in {self.layout.root} is not running", "start it with: codeblue lab up")

    def up(self, postgresql_bin_dir: Path | None = None) -> UpResult:
        """Start the clinic; a lab that is up stays as it is, what is left of a crashed one is cleaned up.

        :param postgresql_bin_dir: the machine's own PostgreSQL instead of the one from the wheel.
        :raises CodeblueError: it could not be started; nothing is left running.
        """
        started = time.monotonic()
        self._check_directory()
        with _errors_of_the_system(self.layout.root), exclusive(self.layout):
            if self.is_up():
                return UpResult(True, self.inventory_path, 0.0)
            if self.layout.state_file.exists():
                self._end_processes()
                self._remove()
            elif self.layout.root.exists() and any(self.layout.root.iterdir()):
                raise BadInput(f"{self.layout.root} is not empty and holds no lab", "choose another with --dir")
            with interruptions_as_exceptions():
                self._start_or_clean_up(postgresql_bin_dir, started)
        return UpResult(False, self.inventory_path, time.monotonic() - started)

    def down(self, keep: bool = False) -> bool:
        """End all of the lab's processes and remove its directory.

        :param keep: leave the directory, for a look at its logs; the next `up` begins anew.
        :returns: False when there was no lab.
        """
        from codeblue.lab.intrusion_faults import remove_intrusion

        with _errors_of_the_system(self.layout.root), exclusive(self.layout):
            if not self.layout.state_file.exists():
                self.layout.lock_file.unlink()
                return False
            self._end_processes()
            # What a fault hid, and what a recovery closed in the machine's network.
            remove_intrusion(self.layout)
            if not keep:
                self._remove()
            self.layout.lock_file.unlink()
        return True

    def status(self) -> LabStatus:
        from codeblue.lab.status import look

        return look(self.parts)

    def active_faults(self) -> list[str]:
        """Injected and not healed yet, oldest first."""
        from codeblue.lab.injection import active_faults

        return active_faults(self.layout)

    def break_(self, fault: str) -> Injection:
        """Inject a fault.

        :raises BadInput: there is no such fault, or no lab.
        """
        from codeblue.lab.faults import inject

        with _errors_of_the_system(self.layout.root), exclusive(self.layout):
            self.require_up()
            return inject(self.parts, fault)

    def heal(self) -> float:
        """Undo all faults and bring the clinic to its normal state; returns the seconds that it took."""
        from codeblue.lab.faults import heal_all
        from codeblue.lab.normal import restore_normal_state

        started = time.monotonic()
        with _errors_of_the_system(self.layout.root), exclusive(self.layout):
            self.require_up()
            parts = self.parts
            heal_all(parts)
            restore_normal_state(parts)
        return time.monotonic() - started

    def _check_directory(self) -> None:
        root = self.layout.root
        if len(os.fsencode(root)) > LONGEST_DIRECTORY:
            raise BadInput(
                f"{root} is longer than {LONGEST_DIRECTORY} bytes, too long for the sockets in it",
                "choose a shorter one with --dir",
            )
        if any(character in str(root) for character in "'\"\\\n ,;#%"):
            raise BadInput(f"{root} holds blanks or quotes", "choose a plain path with --dir")
        if root.is_symlink() or (root.exists() and (not root.is_dir() or root.stat().st_uid != os.geteuid())):
            raise BadInput(f"{root} is not a directory of your own", "choose another with --dir")

    def _start_or_clean_up(self, postgresql_bin_dir: Path | None, started: float) -> None:
        try:
            self._start(postgresql_bin_dir, started)
        except BaseException as error:
            self._end_processes()
            # After a failure the logs say why; an interruption or a full disk leaves nothing worth keeping.
            if not isinstance(error, Exception) or _is_disk_full(error):
                self._remove()
            raise

    def _start(self, postgresql_bin_dir: Path | None, started: float) -> None:
        from codeblue.lab.binaries import can_traverse, find_binaries, postgresql_user
        from codeblue.lab.building import build, choose_lab_ports
        from codeblue.lab.files import make_directory
        from codeblue.lab.parts import Parts

        layout = self.layout
        make_directory(layout.root, 0o755 if os.geteuid() == 0 else 0o700)
        state = LabState(boot_id=boot_id(), created_at=datetime.now(UTC).isoformat(timespec="seconds"))
        state.save(layout)
        free = shutil.disk_usage(layout.root).free
        if free < _NEEDED_BYTES:
            raise OSError(errno.ENOSPC, f"only {free // 1_000_000} MB free, {_NEEDED_BYTES // 1_000_000} MB are needed")
        user = postgresql_user()
        if not can_traverse(layout.root, user):
            raise BadInput(
                f"{layout.root} cannot be reached by {user.pw_name}, who runs PostgreSQL when you are root",
                "choose a directory below /var/tmp with --dir",
            )
        state.os_user = user.pw_name
        state.ports = choose_lab_ports(layout.root)
        state.binaries = find_binaries(layout, postgresql_bin_dir)
        state.save(layout)
        parts = Parts(layout, state)
        build(parts, lambda: self._launch_supervisord(parts))
        parts.wait_answering(15.0)
        state.phase = "ready"
        state.seconds_to_ready = round(time.monotonic() - started, 3)
        state.save(layout)

    def _launch_supervisord(self, parts: Parts) -> None:
        from codeblue.lab.ports import is_free

        for name, port in parts.state.ports.items():
            if not is_free(port):
                raise CodeblueError(f"port {port} ({name}) was taken by another program meanwhile", "run up again")
        parts.supervisor.write_config(parts.programs())
        parts.state.supervisord = parts.supervisor.launch()
        parts.state.save(self.layout)
        parts.supervisor.wait_ready()

    def _end_processes(self) -> None:
        """Let everything stop in an orderly way, then end whatever of the lab is left."""
        from codeblue.lab.supervisor import Supervisor
        from codeblue.lab.sysv import remove_leftover_segment

        own = processes_of(self.layout.root)
        for process in own:
            send(process, signal.SIGCONT)
        state = _load_if_readable(self.layout)
        if state and state.supervisord in own and _ask_all_to_stop(Supervisor(self.layout)):
            wait_gone([process for process in own if process != state.supervisord], 8.0)
        # Some may have been started meanwhile, by a supervisord that was about to end.
        for _ in range(5):
            left = processes_of(self.layout.root)
            if not left:
                break
            end(left, signal.SIGKILL, 2.0)
        else:
            raise CodeblueError(f"processes of {self.layout.root} do not end", "see: ps -ef")
        for member in DATABASE_MEMBERS:
            remove_leftover_segment(self.layout.data_dir(member))

    def _remove(self) -> None:
        from codeblue.lab.ports import give_back

        state = _load_if_readable(self.layout)
        if state is not None:
            give_back(state.ports.values(), self.layout.root)
        # Last of all what says that this is a lab, so that an interrupted removal can be repeated.
        for entry in self.layout.root.iterdir():
            if entry == self.layout.state_file:
                continue
            if entry.is_dir() and not entry.is_symlink():
                _remove_tree(entry)
            else:
                entry.unlink()
        self.layout.state_file.unlink()
        self.layout.root.rmdir()


def _remove_tree(directory: Path) -> None:
    """Remove a directory, even while a process that was just ended still leaves a last file in it."""
    for _ in range(_REMOVALS):
        try:
            shutil.rmtree(directory)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(_REMOVAL_PAUSE)
    shutil.rmtree(directory)


def _supervisord_runs(state: LabState) -> bool:
    return state.supervisord is not None and state.boot_id == boot_id() and is_running(state.supervisord)


def _ask_all_to_stop(supervisor: Supervisor) -> bool:
    """All at once: at its own end supervisord would stop one after the other. False when it does not answer."""
    try:
        for name in supervisor.pids():
            supervisor.ask_to_stop(name)
    except CodeblueError:
        # It may be broken or not ready yet; its processes are ended all the same.
        return False
    return True


def _load_if_readable(layout: Layout) -> LabState | None:
    try:
        return LabState.load(layout)
    except CodeblueError:
        # Cleaning up must work for a damaged lab too: its processes are found by what they are.
        return None


def _is_disk_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or (
        "No space left on device" in str(error)
    )


@contextmanager
def _errors_of_the_system(root: Path) -> Iterator[None]:
    """One clear line for what the operating system refuses."""
    try:
        yield
    except OSError as error:
        if _is_disk_full(error):
            raise CodeblueError(
                f"no space for the lab in {root}: {error.strerror}", "free some, or use --dir"
            ) from error
        where = error.filename or root
        raise CodeblueError(f"{where}: {error.strerror or error}", "check its owner and mode, or use --dir") from error
