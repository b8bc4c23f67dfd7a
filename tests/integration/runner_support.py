"""Runs the real command on a small collection of plays, with a state and a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).parent / "data"
SERVICES = DATA / "services.yml"
COLLECTION = "codeblue_test.runner"
_MOST_SECONDS = 60


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, t.Any]:
        last = self.messages[-1]
        assert last["message_type"] == "summary"
        return last

    def of_type(self, kind: str) -> list[dict[str, t.Any]]:
        return [message for message in self.messages if message["message_type"] == kind]


@dataclass
class Controller:
    """An operator's account in a directory."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "state", "run", "work", "spool"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def private(self) -> Path:
        """Where the private directories of runs are."""
        return self.root / "run" / f"codeblue-{os.geteuid()}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "CODEBLUE_SPOOL_DIR": str(self.root / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "ANSIBLE_COLLECTIONS_PATH": str(DATA / "collections"),
            **self.variables,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in its own session, as a terminal would not be there."""
        return subprocess.Popen(
            [sys.executable, "-m", "codeblue", *arguments],
            cwd=self.root / "work",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def codeblue(self, *arguments: str) -> Finished:
        """Run the command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=_MOST_SECONDS)
        return Finished(process.returncode, out, err)

    def run(self, playbook: str, *arguments: str, command: str = "run") -> Finished:
        """Run one of the plays with JSON lines."""
        return self.codeblue(command, f"{COLLECTION}.{playbook}", "-i", str(SERVICES), "--json", *arguments)


def message_of(process: subprocess.Popen[str], kind: str, **values: t.Any) -> dict[str, t.Any]:
    """Wait for a JSON line of a running command."""
    assert process.stdout is not None
    deadline = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line, "the command ended without saying it"
        message = t.cast("dict[str, t.Any]", json.loads(line))
        if message["message_type"] == kind and all(message[name] == value for name, value in values.items()):
            return message
    raise AssertionError(f"no {kind} within {_MOST_SECONDS} s")


def ansible_pids(run_id: str) -> list[int]:
    """Processes of a run, ansible-playbook first."""
    needle = f"CODEBLUE_RUN_ID={run_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "environ").read_bytes().split(b"\0") and (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def wait_for_worker(run_id: str) -> None:
    """Wait until a worker is at its step: ansible-playbook tells of a task before it has begun it."""
    deadline = time.monotonic() + _MOST_SECONDS
    while len(ansible_pids(run_id)) < 2:
        assert time.monotonic() < deadline, "no worker was started"
        time.sleep(0.02)


def kill_run(run_id: str) -> None:
    """End what a test has left."""
    for pid in ansible_pids(run_id):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
