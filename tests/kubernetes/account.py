"""An operator's account: plays that open a run, roll back and close, with a state of their own."""

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

BIN = Path(sys.executable).parent
_MOST_SECONDS = 90
RUNBOOK = "ai_service_unavailable"
# The name of the task, in the roles as well.
_ROLLBACK = "Bring the workload back to its last good version"
Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Played:
    """How a play ended.

    :param result: of the rollback; empty when it never ran.
    """

    code: int
    out: str
    result: dict[str, t.Any]

    @property
    def said(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.result["codeblue"])

    @property
    def summary(self) -> str:
        return str(self.said["summary"])


class Account:
    """All that plays write is below its directory.

    :param services: by name, the variables of each.
    """

    def __init__(self, root: Path, services: dict[str, dict[str, t.Any]]) -> None:
        self.root = root
        for name in ("home", "state", "run", "spool", "tmp"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"codeblue_services": {"hosts": {name: {**local, **each} for name, each in services.items()}}}
        self.inventory = root / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"children": inventory}}), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(self.root / "home"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "TMPDIR": str(self.root / "tmp"),
            "CODEBLUE_SPOOL_DIR": str(self.root / "spool"),
            "CODEBLUE_ALLOW_LOCAL_STATE": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
        }

    def store(self) -> Store:
        return open_store(f"sqlite:///{self.root / 'state' / 'codeblue' / 'state.sqlite'}")

    def bad_versions(self, target: str) -> list[str]:
        return [each.version for each in self.store().bad_versions(target)]

    def start(self, *options: str, shape: str = "actions", run_id: str = "", **arguments: t.Any) -> Process:
        """Start the play in a session of its own.

        :param shape: `actions`, `roles` as in a runbook, or `foreign`: without opening a run.
        """
        play = self.root / "play.yml"
        play.write_text(yaml.safe_dump(_SHAPES[shape](run_id, arguments)), encoding="utf-8")
        return self.start_play(play, *options)

    def start_play(self, play: Path, *options: str) -> Process:
        """Start any play in a session of its own."""
        return subprocess.Popen(
            [BIN / "ansible-playbook", "-v", "-i", str(self.inventory), str(play), *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def roll_back(self, *options: str, shape: str = "actions", run_id: str = "", **arguments: t.Any) -> Played:
        """Play to the end."""
        process = self.start(*options, shape=shape, run_id=run_id, **arguments)
        out, _nothing = process.communicate(timeout=_MOST_SECONDS)
        return Played(process.returncode, out, _result_of(out))


def _result_of(out: str) -> dict[str, t.Any]:
    """What the output shows of the rollback; empty when it never ran."""
    _before, _task, after = out.partition(_ROLLBACK)
    found = re.search(r"^(?:ok|changed|fatal): \[records\].*?=> (\{.*\})$", after, re.MULTILINE)
    return json.loads(found[1]) if found else {}


def _by_actions(run_id: str, arguments: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    opening = {"runbook": RUNBOOK, "because": "a test", **({"run_id": run_id} if run_id else {})}
    failed = {"outcome": "failed", "failure": "{{ ansible_failed_result }}"}
    tasks = [
        {"name": "Open", "codeblue.recovery.run_open": opening, "run_once": True},
        {"name": _ROLLBACK, "codeblue.recovery.kubernetes_rollback": arguments},
        {"name": "Close", "codeblue.recovery.run_close": {"outcome": "done"}},
    ]
    return _play([{"block": tasks, "rescue": [{"name": "Close", "codeblue.recovery.run_close": failed}]}])


def _by_roles(_run_id: str, arguments: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return _play(
        [
            _role("incident", "open", incident_runbook=RUNBOOK, incident_because="a test"),
            _role("rollback", "release", rollback_way="rollback", rollback_reason="a test", **arguments),
            _role("incident", "close_operation", incident_work="rolled back"),
        ]
    )


def _foreign(_run_id: str, arguments: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return _play([{"name": _ROLLBACK, "codeblue.recovery.kubernetes_rollback": arguments}])


def _play(tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


def _role(name: str, entry: str, **variables: t.Any) -> dict[str, t.Any]:
    role = {"name": f"codeblue.recovery.{name}", "tasks_from": entry}
    return {"name": entry, "ansible.builtin.import_role": role, "vars": variables}


_SHAPES = {"actions": _by_actions, "roles": _by_roles, "foreign": _foreign}
