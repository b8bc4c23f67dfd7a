"""The `codeblue` command as a process, and what its JSON lines say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# All drills of all cards take some minutes, many more on a busy machine; a test that hangs says so all the same.
LONGEST_SECONDS = 1_800.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    messages: list[dict[str, Any]]
    errors: str

    @property
    def drills(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["message_type"] == "drill"]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.messages, self.errors
        return self.messages[-1]


def codeblue(*arguments: str) -> Ended:
    """Run the command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "codeblue", *arguments],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    return Ended(done.returncode, _messages(done.stdout.splitlines()), done.stderr)


def interrupted(
    *arguments: str, when: Callable[[dict[str, Any]], bool], after: float, number: signal.Signals, times: int = 1
) -> Ended:
    """Run the command, and signal it some seconds after the message that `when` recognises.

    :param times: how often, a tenth of a second apart: people press Ctrl-C again.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "codeblue", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As at a terminal of its own; a signal for the group of the tests would end those as well.
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    guard = threading.Timer(LONGEST_SECONDS, process.kill)
    guard.start()
    try:
        lines = []
        sent = False
        for line in process.stdout:
            lines.append(line)
            if not sent and when(json.loads(line)):
                sent = True
                time.sleep(after)
                for _ in range(times):
                    process.send_signal(number)
                    time.sleep(0.1)
        errors = process.stderr.read()
        return Ended(process.wait(), _messages(lines), errors)
    finally:
        guard.cancel()
        process.stdout.close()
        process.stderr.close()


def phase(name: str) -> Callable[[dict[str, Any]], bool]:
    """Recognises a phase of a drill."""
    return lambda message: message.get("phase") == name


def _messages(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]
