"""An operator's account that plays any of the collection's actions against an account of AWS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Store, open_store

_BIN = Path(sys.executable).parent
_TASK = "The task under test"
_MOST_SECONDS = 600
Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Played:
    """How a play ended.

    :param result: of the task under test; empty when it never ended.
    """

    code: int
    out: str
    result: dict[str, t.Any]

    @property
    def summary(self) -> str:
        return str(self.result["codeblue"]["summary"])

    def worked(self) -> Played:
        assert self.code == 0, self.out[-4000:]
        return self

    def failed(self, exit_code: int) -> str:
        """What it said when it failed in this way."""
        assert self.code != 0 and self.result.get("codeblue", {}).get("exit_code") == exit_code, self.out[-4000:]
        return str(self.result["msg"])


class OperatorSite:
    """All that plays write is below its directory.

    :param services: by name, the variables of each.
    :param environment: of every process, by which AWS is reached.
    :param runbook: in whose runs actions are carried out.
    """

    def __init__(
        self,
        root: Path,
        services: dict[str, dict[str, t.Any]],
        environment: dict[str, str],
        runbook: str = "database_connection_failure",
    ) -> None:
        self.root = root
        self._runbook = runbook
        for name in ("home", "state", "run", "spool", "tmp"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {**local, **each} for name, each in services.items()}
        databases = {name: None for name, each in services.items() if each["codeblue_kind"] == "database"}
        group = {"hosts": hosts, "children": {"codeblue_databases": {"hosts": databases}}}
        self.inventory = root / "inventory.yml"
        tree = {"all": {"children": {"codeblue_services": group}}}
        self.inventory.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self._aws = dict(environment)
        if "AWS_ACCESS_KEY_ID" in environment:
            self._keep_keys()

    def _keep_keys(self) -> None:
        """The command hands no key of its environment on: they come from a file, as an operator's do."""
        keys = self.root / "credentials"
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        lines = ["[default]", *(f"{name.lower()} = {self._aws.pop(name)}" for name in names)]
        keys.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._aws["AWS_SHARED_CREDENTIALS_FILE"] = str(keys)

    def edit(self, service: str, variable: str, **values: t.Any) -> None:
        """Change what the inventory says of a service."""
        tree = yaml.safe_load(self.inventory.read_text(encoding="utf-8"))
        tree["all"]["children"]["codeblue_services"]["hosts"][service].setdefault(variable, {}).update(values)
        self.inventory.write_text(yaml.safe_dump(tree), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "TMPDIR": str(self.root / "tmp"),
            "CODEBLUE_SPOOL_DIR": str(self.root / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            **self._aws,
        }

    def store(self) -> Store:
        return open_store(f"sqlite:///{self.root / 'state' / 'codeblue' / 'state.sqlite'}")

    @property
    def last_run(self) -> str:
        return max(each.run_id for each in self.store().runs())

    def steps(self) -> list[tuple[str, str]]:
        """What the last run did, with the outcome of each step."""
        found = [each for each in self.store().steps(self.last_run) if each.stage != "diagnose"]
        return [(each.action, str(each.outcome)) for each in found]

    def act(self, action: str, *options: str, run_id: str = "", accept: str = "", **arguments: t.Any) -> Played:
        """Open a run, or take it up again, carry one action out, close it."""
        return self.ended(self.begin(action, *options, run_id=run_id, accept=accept, **arguments))

    def begin(self, action: str, *options: str, run_id: str = "", accept: str = "", **arguments: t.Any) -> Process:
        """The same, without waiting for its end.

        :param accept: what a person accepts of it.
        """
        opening: dict[str, t.Any] = {"runbook": self._runbook, "because": "a test"}
        opening |= ({"run_id": run_id} if run_id else {}) | ({"accept": [accept]} if accept else {})
        failed = {"outcome": "failed", "failure": "{{ ansible_failed_result }}"}
        tasks = [
            {"name": "Open", "codeblue.recovery.run_open": opening, "run_once": True},
            {"name": _TASK, f"codeblue.recovery.{action}": arguments},
            {"name": "Close", "codeblue.recovery.run_close": {"outcome": "done"}},
        ]
        rescue = [
            {"name": "Close", "codeblue.recovery.run_close": failed},
            {"name": "Fail", "ansible.builtin.fail": {"msg": "it failed"}},
        ]
        play = self.root / "play.yml"
        block = {"block": tasks, "rescue": rescue}
        play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [block]}]), encoding="utf-8")
        return subprocess.Popen(
            [_BIN / "ansible-playbook", "-v", "-i", str(self.inventory), str(play), *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def ended(process: Process) -> Played:
        """Wait for the end of it."""
        out, _nothing = process.communicate(timeout=_MOST_SECONDS)
        return Played(process.returncode, out, _result_of(out))

    def codeblue(self, command: str, runbook: str, *options: str) -> tuple[int, list[dict[str, t.Any]]]:
        """The command; returns its code and its lines."""
        done = subprocess.run(
            [sys.executable, "-m", "codeblue", command, runbook, "-i", str(self.inventory), "--json", *options],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr
        return done.returncode, lines


def _result_of(out: str) -> dict[str, t.Any]:
    _before, _task, after = out.partition(_TASK)
    found = re.search(r"^(?:ok|changed|fatal): \[[a-z_]+\].*?=> (\{.*\})$", after, re.MULTILINE)
    return json.loads(found[1]) if found else {}
