# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What keeps a step at one target from being done twice, at once with another, or by one who was replaced.

The controller may die, a module may outlive it, and a second controller may take over. The target itself is
the only place where all of them meet, so the lock, the generation and the receipts lie there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import append_line, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import read_process

# Receipts of older runs are removed: a run that is resumed is among the last ones of its target.
RUNS_KEPT = 50
DEFAULT_LOCK_WAIT_SECONDS = 10.0

_SAFE_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}\Z")
_LARGEST_RECEIPTS = 8 * 1024 * 1024
# The end of a lock's text whose holder may be ended.
_YIELDS = ", yields"


@dataclass(frozen=True)
class Step:
    """Which step of which run a module is doing.

    :param key: names the step within the run; the same on every attempt.
    :param generation: of the lease; grows whenever somebody else takes over.
    :param lock_dir: on the machine; made when it is missing, for this user alone.
    :param yields: another step may end this one when it wants the lock: a snapshot does not hold up an emergency.
    """

    run_id: str
    target: str
    key: str
    generation: int
    lock_dir: str
    yields: bool = False

    def __post_init__(self) -> None:
        for name in ("run_id", "target"):
            value = getattr(self, name)
            if not _SAFE_NAME.match(value):
                raise BadInput("step.%s: %r cannot be a file name" % (name, value), "use letters, digits, _ . @ -")
        if not self.key:
            raise BadInput("step.key is empty", "name the step within its run")
        if self.generation < 0:
            raise BadInput("step.generation: %d is negative" % self.generation)
        if not os.path.isabs(self.lock_dir):
            raise BadInput("step.lock_dir: %r is not an absolute path" % self.lock_dir)


class TargetGuard:
    """Held while a step changes a target; a context manager.

    :param wait: seconds to wait for the lock.
    :param now: wall clock in Unix seconds; given in tests.
    """

    def __init__(
        self, step: Step, wait: float = DEFAULT_LOCK_WAIT_SECONDS, now: t.Callable[[], float] = time.time
    ) -> None:
        self._step = step
        self._wait = wait
        self._now = now
        self._lock: t.Optional[int] = None
        self._accepted_at: t.Optional[float] = None
        self._earlier: t.Dict[str, t.Any] = {}
        self._finished: t.Optional[t.Dict[str, t.Any]] = None
        self._receipts_dir = os.path.join(step.lock_dir, "receipts", step.target)
        self._receipts = os.path.join(self._receipts_dir, step.run_id + ".jsonl")

    def __enter__(self) -> TargetGuard:
        self._make_directories()
        self._lock = self._acquire()
        try:
            self._check_generation()
            self._read_receipts()
            self._forget_old_runs()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._release()

    @property
    def lock_descriptor(self) -> int:
        """The descriptor that holds the lock, for tools that outlive a killed module."""
        if self._lock is None:
            raise CodeblueError("the lock of %s is not held" % self._step.target)
        return self._lock

    @property
    def finished(self) -> t.Optional[t.Dict[str, t.Any]]:
        """The result of this very step when it was finished before, else None."""
        return self._finished

    @property
    def in_doubt(self) -> bool:
        """An earlier attempt was accepted and left no result: what it changed shows only at the target."""
        return bool(self._earlier) and self._finished is None

    @property
    def before_first_attempt(self) -> t.Optional[t.Dict[str, t.Any]]:
        """The state that the first attempt found, when that attempt did not finish."""
        return self._earlier.get("before") if self.in_doubt else None

    @property
    def accepted_at(self) -> t.Optional[float]:
        """Unix seconds of the first changing call of this step, in an unfinished earlier attempt too, or None."""
        return self._earlier.get("at", self._accepted_at) if self.in_doubt else self._accepted_at

    def accept(self, before: t.Optional[t.Dict[str, t.Any]] = None) -> float:
        """Say on disk that the first change comes right now. Called again it does nothing.

        :param before: the state that is about to change; no secrets.
        :return: Unix seconds.
        """
        if self._accepted_at is None:
            self._accepted_at = self._now()
            self._append("accepted", self._accepted_at, before=before)
        return self._accepted_at

    def done(self, result: t.Dict[str, t.Any]) -> None:
        """Say on disk that the step is finished, with its result; no secrets."""
        self._append("done", self._now(), result=result)

    def _append(self, event: str, at: float, **content: t.Any) -> None:
        record = {"key": self._step.key, "event": event, "at": at, "generation": self._step.generation}
        record.update({name: value for name, value in content.items() if value is not None})
        append_line(self._receipts, json.dumps(record, sort_keys=True, separators=(",", ":")))

    def _make_directories(self) -> None:
        lock_dir = self._step.lock_dir
        try:
            os.makedirs(os.path.dirname(lock_dir), exist_ok=True)
            # os.makedirs would give its mode to the last one only.
            for directory in (lock_dir, os.path.join(lock_dir, "receipts"), self._receipts_dir):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
        except OSError as error:
            raise CodeblueError(
                "%s cannot be made: %s" % (self._receipts_dir, error.strerror),
                "set codeblue_lock_dir to a directory that this user may write",
            ) from error

    def _acquire(self) -> int:
        path = os.path.join(self._step.lock_dir, self._step.target + ".lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = Deadline(self._wait)

        def taken() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not taken() and not self._step.yields:
            _end_yielding_holders(lock, path)
        if not deadline.wait_until(taken):
            holder = os.pread(lock, 512, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(lock)
            raise Refused(
                "%s: another step holds the lock since before %.1f s: %s" % (self._step.target, self._wait, holder),
                "wait for it, or look at that process on the machine",
            )
        os.ftruncate(lock, 0)
        said = "pid %d, run %s, step %s" % (os.getpid(), self._step.run_id, self._step.key)
        os.pwrite(lock, (said + (_YIELDS if self._step.yields else "")).encode(), 0)
        return lock

    def _release(self) -> None:
        if self._lock is not None:
            # Closing frees the lock unless a tool of a long step still shares it, which is what is wanted then.
            os.close(self._lock)
            self._lock = None

    def _check_generation(self) -> None:
        path = os.path.join(self._step.lock_dir, self._step.target + ".generation")
        highest = -1
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii", errors="replace") as stream:
            text = stream.read(64).strip()
            if not text.isdigit():
                raise Refused("%s holds no generation" % path, "find out who wrote it, then remove it")
            highest = int(text)
        if self._step.generation < highest:
            raise Refused(
                "%s: generation %d of the lease was replaced by %d"
                % (self._step.target, self._step.generation, highest),
                "another run took over this target; see codeblue audit show",
            )
        if self._step.generation > highest:
            write_file(path, b"%d\n" % self._step.generation)

    def _read_receipts(self) -> None:
        try:
            with open(self._receipts, encoding="utf-8", errors="replace") as stream:
                lines = stream.read(_LARGEST_RECEIPTS).splitlines()
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except ValueError:
                # A write that a crash cut short was never acknowledged to anybody.
                continue
            if not isinstance(record, dict) or record.get("key") != self._step.key:
                continue
            if record.get("event") == "done":
                result = record.get("result")
                if not isinstance(result, dict):
                    raise CodeblueError("%s:%d: a finished step without a result" % (self._receipts, number))
                self._finished = result
            elif record.get("event") == "accepted" and not self._earlier:
                self._earlier = record

    def _forget_old_runs(self) -> None:
        with os.scandir(self._receipts_dir) as entries:
            receipts = [(entry.stat().st_mtime, entry.path) for entry in entries if entry.name.endswith(".jsonl")]
        for _modified, path in sorted(receipts)[:-RUNS_KEPT]:
            if path != self._receipts:
                os.unlink(path)


def _end_yielding_holders(lock: int, path: str) -> None:
    """End who holds the lock, module and tools alike, when its text says that they give way.

    Whoever has the file open shares the lock or waits for it. Those that wait are modules, thus Python; what shares it
    with the holder are the tools that it has started.
    """
    text = os.pread(lock, 512, 0).decode(errors="replace")
    found = re.match(r"pid (\d+), .*" + re.escape(_YIELDS) + r"\Z", text, re.DOTALL)
    if found is None:
        return
    holder = int(found.group(1))
    for pid in _processes_with(path):
        process = read_process(pid)
        if process is not None and (pid == holder or not process.name.startswith("python")):
            process.kill(signal.SIGTERM)


def _processes_with(path: str) -> t.List[int]:
    """Processes that have a file open, as far as this user may look."""
    wanted = os.stat(path)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            for name in os.listdir("/proc/%s/fd" % entry):
                opened = os.stat("/proc/%s/fd/%s" % (entry, name))
                if (opened.st_dev, opened.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry))
                    break
        except OSError:
            # It has ended meanwhile, or belongs to somebody else.
            continue
    return found
