# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Calls of modules that are under way, each in a process of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

# What one answer may weigh. Evidence is the largest (2 MB before encoding); beyond this the machine is misbehaving.
_LARGEST_ANSWER = 8 * 1024 * 1024
# How many machines are asked at once by one action.
_MOST_AT_ONCE = 32
# A third of the shortest lease, so that one missed beat does not lose it.
_BEAT_SECONDS = 20.0


@dataclass(frozen=True)
class MachineCall:
    """One module to run on one machine.

    :param arguments: given to the module; never logged.
    :param seconds: the total deadline, connection included.
    """

    machine: str
    module: str
    arguments: Mapping[str, t.Any] = field(repr=False)
    seconds: float = 30.0
    check_mode: bool | None = None


@dataclass(frozen=True)
class MachineAnswer:
    """What came back. Exactly one of `result`, `failure` and `unreachable` is set."""

    machine: str
    result: dict[str, t.Any] | None = None
    failure: str | None = None
    hint: str | None = None
    exit_code: int = 1
    unreachable: str | None = None
    failed_result: dict[str, t.Any] | None = None

    @property
    def ok(self) -> bool:
        return self.result is not None

    def result_or_raise(self) -> dict[str, t.Any]:
        """The result.

        :raises CodeblueError: the module failed or the machine did not answer.
        """
        if self.result is not None:
            return self.result
        if self.unreachable is not None:
            raise CodeblueError(
                f"machine {self.machine} cannot be reached: {self.unreachable}",
                f"check the connection: ansible -m ansible.builtin.ping {self.machine}",
            )
        raise CodeblueError(f"{self.machine}: {self.failure}", self.hint, self.exit_code)


class Batch:
    """Calls that are under way, at most `_MOST_AT_ONCE` of them at a time."""

    def __init__(self, calls: Sequence[MachineCall], work: t.Callable[[MachineCall], MachineAnswer]) -> None:
        self._number = len(calls)
        self._waiting = list(enumerate(calls))
        self._work = work
        self._running: list[_Child] = []
        self._answers: dict[int, MachineAnswer] = {}
        self._fill()

    def answers(self, meanwhile: t.Callable[[], None] | None = None) -> list[MachineAnswer]:
        """Wait for all and answer in the order of the calls."""
        next_beat = time.monotonic() + _BEAT_SECONDS
        try:
            while self._running:
                self._collect(next_beat)
                self._fill()
                if meanwhile is not None and time.monotonic() >= next_beat:
                    meanwhile()
                    next_beat = time.monotonic() + _BEAT_SECONDS
        finally:
            self.end()
        return [self._answers[position] for position in range(self._number)]

    def end(self) -> None:
        """End what is still under way."""
        while self._running:
            self._running.pop().end()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < _MOST_AT_ONCE:
            position, call = self._waiting.pop(0)
            self._running.append(_Child(position, call, self._work))

    def _collect(self, until: float) -> None:
        """Read what has come, and end what is over its deadline."""
        soonest = min(until, *(child.deadline for child in self._running))
        ready, _nothing, _none = select.select(
            [child.pipe for child in self._running], [], [], max(0.0, soonest - time.monotonic())
        )
        for child in list(self._running):
            if child.pipe in ready:
                answer = child.read()
            elif child.deadline <= time.monotonic():
                child.end()
                answer = MachineAnswer(
                    child.call.machine, unreachable=f"no answer within {child.call.seconds:g} s ({child.call.module})"
                )
            else:
                continue
            if answer is not None:
                self._answers[child.position] = answer
                self._running.remove(child)


class _Child:
    """One call in a process of its own.

    The child leaves with `os._exit`: nothing of the worker's clean-up may run twice.
    """

    def __init__(self, position: int, call: MachineCall, work: t.Callable[[MachineCall], MachineAnswer]) -> None:
        self.position = position
        self.call = call
        self.deadline = time.monotonic() + call.seconds
        self._received = bytearray()
        self.pipe, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.pipe)
            # A group of its own: a deadline ends the whole call, and the group stays in the worker's session,
            # by which a resumed run finds what an earlier attempt left behind.
            os.setpgid(0, 0)
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                payload = _encode(work, call)
                with os.fdopen(write_end, "wb") as pipe:
                    pipe.write(payload)
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)

    def read(self) -> MachineAnswer | None:
        """What has arrived; None while more is to come."""
        data = os.read(self.pipe, 65536)
        self._received += data
        if len(self._received) > _LARGEST_ANSWER:
            self.end()
            return MachineAnswer(self.call.machine, failure=f"{self.call.module} answered with more than 8 MB")
        if data:
            return None
        self.end()
        if not self._received:
            return MachineAnswer(self.call.machine, failure=f"{self.call.module} ended without an answer")
        return MachineAnswer(**json.loads(self._received))

    def end(self) -> None:
        """End the call if it still runs, and reap it."""
        if self._pid == 0:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            # It ended by itself, or was ended so early that it has no group yet.
            os.kill(self._pid, signal.SIGKILL)
        except PermissionError:
            pass  # what is left of the group runs as another user by become and ends when its pipe closes
        os.waitpid(self._pid, 0)
        os.close(self.pipe)
        self._pid = 0


def _encode(work: t.Callable[[MachineCall], MachineAnswer], call: MachineCall) -> bytes:
    try:
        answer = work(call)
    except Exception as error:  # noqa: BLE001 - the boundary of a process: whatever it is becomes an answer
        answer = MachineAnswer(call.machine, failure=f"{call.module}: {type(error).__name__}: {first_line(error)}")
    return json.dumps(vars(answer)).encode()


def first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines and lines[0].startswith("Traceback") else lines[0] if lines else "no message")[:500]
