# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One piece of work in a process of its own, while this process does something else."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import typing as t
from collections.abc import Callable

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

Result = t.TypeVar("Result")


class ForkedWork(t.Generic[Result]):
    """Starts at once; `result` waits for it, `end` ends it.

    A process and not a thread: imports on both sides would take turns for one interpreter, and checks would measure
    that as slow answers.

    :param name: what it is, for errors.
    :param work: returns something that can be pickled; it only reads, and never touches the state store.
    :param seconds: the total deadline.
    """

    def __init__(self, name: str, work: Callable[[], Result], seconds: float) -> None:
        self._name = name
        self._deadline = time.monotonic() + seconds
        self._pipe, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            # As for calls of machines: a group of its own within the worker's session.
            os.setpgid(0, 0)
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                payload = _answer(work)
                with os.fdopen(write_end, "wb") as pipe:
                    pipe.write(payload)
                status = 0
            finally:
                # Nothing of the worker's clean-up may run twice.
                os._exit(status)
        os.close(write_end)

    def result(self) -> Result:
        """Wait for it.

        :raises CodeblueError: the work raised it, failed, or was not done in time.
        :raises ImportError: the work needs a package that is missing.
        """
        received = bytearray()
        try:
            while True:
                ready, _nothing, _none = select.select(
                    [self._pipe], [], [], max(0.0, self._deadline - time.monotonic())
                )
                if not ready:
                    raise CodeblueError(
                        f"{self._name}: not done in time", "run it again when the controller has less load"
                    )
                data = os.read(self._pipe, 1024 * 1024)
                if not data:
                    break
                received += data
        finally:
            self.end()
        if not received:
            raise CodeblueError(f"{self._name}: its process ended without an answer", "look for the cause in dmesg")
        # Written by this very program a moment ago, through a pipe that nobody else has.
        kind, value = pickle.loads(received)
        if kind == "result":
            return t.cast(Result, value)
        if kind == "missing":
            raise ImportError(f"{self._name}: the package {value} is missing", name=value)
        message, hint, exit_code = value
        raise CodeblueError(message, hint, exit_code)

    def end(self) -> None:
        """End it if it still runs, and reap it."""
        if self._pid == 0:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            # It has not made its group yet, or has ended by itself.
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._pid = 0


def _answer(work: Callable[[], t.Any]) -> bytes:
    try:
        return pickle.dumps(("result", work()))
    except CodeblueError as error:
        return pickle.dumps(("error", (error.message, error.hint, error.exit_code)))
    except ImportError as error:
        return pickle.dumps(("missing", error.name or str(error)))
    except Exception as error:  # noqa: BLE001 - the boundary of a process: whatever it is becomes an answer
        return pickle.dumps(("error", (f"{type(error).__name__}: {str(error)[:500]}", None, 1)))
