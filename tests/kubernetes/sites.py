"""An account that keeps snapshots, and plays any of the collection's actions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pyrage
import yaml
from account import Account, Played, Process

_TASK = "The task under test"
_MOST_SECONDS = 120


class Keeper(Account):
    """An account with a recipient for what it keeps, and the identity that reads it."""

    def __init__(self, root: Path, services: dict[str, dict[str, t.Any]]) -> None:
        identity = pyrage.x25519.Identity.generate()
        self.identity = root / "identity"
        self.identity.write_text(f"{identity}\n", encoding="utf-8")
        self.identity.chmod(0o600)
        self.recipient = str(identity.to_public())
        super().__init__(root, services)

    def act(self, action: str, *options: str, run_id: str = "", **arguments: t.Any) -> Played:
        """Open a run, or take it up again, carry one action out, close it."""
        return self.ended(self.begin(action, *options, run_id=run_id, **arguments))

    def act_accepted(self, action: str, runbook: str, acceptance: str, **arguments: t.Any) -> Played:
        """The same in a run of another runbook, in which somebody has accepted what cannot be undone."""
        return self.ended(self._begin(action, (), {"runbook": runbook, "accept": [acceptance]}, arguments))

    def begin(self, action: str, *options: str, run_id: str = "", **arguments: t.Any) -> Process:
        """The same, without waiting for its end."""
        opening = {"runbook": "ai_service_unavailable", **({"run_id": run_id} if run_id else {})}
        return self._begin(action, options, opening, arguments)

    def _begin(
        self, action: str, options: t.Sequence[str], opening: dict[str, t.Any], arguments: dict[str, t.Any]
    ) -> Process:
        failed = {"outcome": "failed", "failure": "{{ ansible_failed_result }}"}
        tasks = [
            {"name": "Open", "codeblue.recovery.run_open": {"because": "a test", **opening}, "run_once": True},
            {"name": _TASK, f"codeblue.recovery.{action}": arguments},
            {"name": "Close", "codeblue.recovery.run_close": {"outcome": "done"}},
        ]
        block = {"block": tasks, "rescue": [{"name": "Close", "codeblue.recovery.run_close": failed}]}
        play = self.root / "tested.yml"
        plays = [{"hosts": "all", "gather_facts": False, "tasks": [block]}]
        play.write_text(yaml.safe_dump(plays), encoding="utf-8")
        return self.start_play(play, *options)

    @staticmethod
    def ended(process: Process) -> Played:
        """Wait for the end of it."""
        out, _nothing = process.communicate(timeout=_MOST_SECONDS)
        return Played(process.returncode, out, _result_of(out))

    def codeblue(self, command: str, runbook: str, *options: str) -> tuple[int, list[dict[str, t.Any]]]:
        """The command; returns its code and its lines."""
        return self._command(command, runbook, "-i", str(self.inventory), "--json", *options)

    def snapshot(self, command: str, *options: str) -> tuple[int, list[dict[str, t.Any]]]:
        """A command about snapshots, likewise."""
        return self._command("snapshot", command, *options)

    def _command(self, *words: str) -> tuple[int, list[dict[str, t.Any]]]:
        done = subprocess.run(
            [sys.executable, "-m", "codeblue", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines or done.returncode == 0, done.stderr
        return done.returncode, lines


def _result_of(out: str) -> dict[str, t.Any]:
    _before, _task, after = out.partition(_TASK)
    found = re.search(r"^(?:ok|changed|fatal): \[[a-z_]+\].*?=> (\{.*\})$", after, re.MULTILINE)
    return json.loads(found[1]) if found else {}
