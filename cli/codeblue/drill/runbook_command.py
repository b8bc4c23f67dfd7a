"""`codeblue run` as an operator starts it: a process of its own, whose JSON lines are read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from codeblue.runner.processes import processes_of_run, send, wait_for_end

# More than any runbook takes in the lab, on a machine that is busy too; one that is still going is not coming back.
LONGEST_RUN_SECONDS = 180.0
# The runner itself gives ansible-playbook 10 s to end, and 3 s more after a kill.
_STOP_SECONDS = 16.0
_KILL_SECONDS = 3.0
# A run of the lab writes about a hundred lines.
_MOST_MESSAGES = 5_000
_MOST_ERROR_BYTES = 400


@dataclass(frozen=True)
class RunReport:
    """How a run went.

    :param started_at: Unix seconds at which the command was started, before its interpreter was.
    :param seconds: until the process ended.
    :param exit_code: negative when a signal ended it.
    :param messages: its JSON lines, in order.
    :param said: the end of what it wrote to stderr, for people.
    """

    started_at: float
    seconds: float
    exit_code: int
    messages: list[dict[str, Any]] = field(repr=False)
    said: str = ""

    @property
    def summary(self) -> dict[str, Any]:
        """The last line; empty when the command did not get to it."""
        return self.messages[-1] if self.messages and self.messages[-1].get("message_type") == "summary" else {}

    @property
    def run(self) -> str | None:
        return next((str(each["run"]) for each in self.messages if each.get("run")), None)

    @property
    def outcome(self) -> str:
        return str(self.summary.get("outcome") or f"ended with exit status {self.exit_code}")

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each.get("message_type") == "step"]

    @property
    def first_change_at(self) -> float | None:
        """Unix seconds of the first change that a target accepted; None when there was none."""
        accepted = [float(step["accepted_at"]) for step in self.steps if step.get("accepted_at") is not None]
        return min(accepted, default=None)

    @property
    def first_action_seconds(self) -> float | None:
        """Until the first change that a target accepted; None when there was none."""
        return None if self.first_change_at is None else self.first_change_at - self.started_at

    @property
    def cause(self) -> str | None:
        """What the diagnosis said, in its own words."""
        return next((str(step["summary"]) for step in self.steps if step.get("stage") == "diagnose"), None)

    @property
    def why(self) -> str:
        """Why it did not work out, in one line."""
        return str(self.summary.get("error") or self.said or "it did not say why")


class RunbookCommand:
    """One run.

    :param arguments: further ones, e.g. `--accept data_loss`.
    """

    def __init__(self, runbook: str, inventory: Path, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", "codeblue", "run", runbook, "-i", str(inventory), "--json", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: list[dict[str, Any]] = []
        self._reader: threading.Thread | None = None
        self._errors: IO[bytes] | None = None
        self._started_at = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Start it in a session of its own: a Ctrl-C at the terminal reaches it through `stop`, once."""
        # Not a pipe: nobody would read it until the end. It has no name and goes with this object.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._started_at, self._started = time.time(), time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "CODEBLUE_ORIGIN": "drill"},
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def wait(self, seconds: float = LONGEST_RUN_SECONDS) -> RunReport:
        """Wait for its end; one that takes longer is stopped."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
        return self._report()

    def stop(self) -> None:
        """End it and everything that it started; a run that it left open, because it could not close it, is closed."""
        if self._process is None:
            return
        if self._process.poll() is not None:
            if (ended := self._report().run) is not None:
                _close_stopped(ended)
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        run_id = self._report().run
        # Killed, it could not end its own; otherwise there is nothing left.
        for process in processes_of_run(run_id) if run_id else []:
            send(process, signal.SIGKILL)
        if run_id:
            wait_for_end(run_id, _KILL_SECONDS)
            _close_stopped(run_id)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                # What is no JSON is no message; the exit status tells when something is wrong.
                if not line.startswith(b"{"):
                    continue
                if len(self._messages) == _MOST_MESSAGES:
                    # The last one is the summary, so it is the one to keep.
                    self._messages.pop()
                self._messages.append(json.loads(line))

    def _report(self) -> RunReport:
        assert self._process is not None and self._reader is not None and self._errors is not None
        self._reader.join(_KILL_SECONDS)
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _MOST_ERROR_BYTES))
        said = " ".join(self._errors.read().decode("utf-8", "replace").split())
        return RunReport(
            started_at=self._started_at,
            seconds=time.monotonic() - self._started,
            exit_code=self._process.returncode,
            messages=list(self._messages),
            said=said,
        )


def _close_stopped(run_id: str) -> None:
    """Close a run that is open still: its drill is undone, so nobody resumes it, and the next one wants its targets."""
    # Imported late: SQLAlchemy takes a fifth of a second, and most drills are not interrupted.
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store

    store = open_store()
    run = store.run(run_id)
    if run is not None and run.status == "open":
        store.close_run(run_id, "interrupted", {"reason": "the drill was interrupted and undone"})
