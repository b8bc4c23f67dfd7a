"""A canary in the environment, the variables and the inventory gets into no file and no output. About 15 s."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from runner_support import SERVICES, Controller

CANARY = "canary-3f9a7c52e1"


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(
        tmp_path,
        {
            "PGPASSWORD": CANARY,
            "AWS_SECRET_ACCESS_KEY": CANARY,
            "CODEBLUE_TICKET_TOKEN": CANARY,
            "ANSIBLE_BECOME_PASSWORD": CANARY,
            "SOMETHING_ELSE": CANARY,
        },
    )


class Watcher:
    """Reads everything in a directory over and over while a run is going on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.files: set[str] = set()
        self.hits: set[str] = set()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            names = [Path(root) / name for root, _folders, files in os.walk(self._directory) for name in files]
            for path in names:
                try:
                    # A pipe is opened by Ansible alone: its content is not in the file system.
                    if not path.is_file():
                        continue
                    content = path.read_bytes()
                except OSError:
                    continue
                self.files.add(path.name)
                if CANARY.encode() in content:
                    self.hits.add(str(path))


def _inventory(directory: Path) -> Path:
    values = json.loads(
        json.dumps({"all": {"children": {"codeblue_services": {"hosts": {"records": {}, "patient_db": {}}}}}})
    )
    values["all"]["vars"] = {"ansible_connection": "local", "codeblue_environment": "lab", "db_password": CANARY}
    path = directory / "hosts.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("playbook", ["recover", "leak"])
def test_canary_gets_nowhere(controller: Controller, tmp_path: Path, playbook: str) -> None:
    (tmp_path / "inventory").mkdir()
    inventory = _inventory(tmp_path / "inventory")
    with Watcher(tmp_path / "run") as watcher:
        ended = controller.codeblue(
            "run",
            f"codeblue_test.runner.{playbook}",
            "-i",
            str(inventory),
            "-vvvv",
            "--json",
            "-e",
            f"api_password={CANARY}",
        )
    assert ended.code == (0 if playbook == "recover" else 2), ended.out + ended.err
    assert CANARY not in ended.out + ended.err
    assert watcher.files, "the watcher saw no file at all"
    assert not {name for name in watcher.files if name in ("stdout", "stderr", "extravars", "envvars", "settings")}
    # An event lies in memory for some milliseconds, until it is read: a foreign task that quotes a secret is in it.
    assert not {path for path in watcher.hits if playbook == "recover" or "/job_events/" not in path}
    left = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path != inventory and CANARY.encode() in path.read_bytes()
    ]
    assert left == []


def test_variables_arrive_without_being_in_an_argument(controller: Controller) -> None:
    process = controller.start(
        "run", "codeblue_test.runner.echo", "-i", str(SERVICES), "--json", "-e", 'word="two w"', "-e", '{"number": 7}'
    )
    out, err = process.communicate(timeout=60)
    summaries = [json.loads(line) for line in out.splitlines()]
    said = next(message["summary"] for message in summaries if message["message_type"] == "step")
    assert said == "word is two w (str), number is 7 (int), leaked 0", err


def test_what_is_let_through_arrives_and_what_is_not_does_not(controller: Controller) -> None:
    controller.variables["EXTRA_SETTING"] = "visible"
    ended = controller.codeblue(
        "run", "codeblue_test.runner.environment", "-i", str(SERVICES), "--json", "--pass-env", "EXTRA_SETTING"
    )
    said = next(message["summary"] for message in ended.messages if message["message_type"] == "step")
    assert said.startswith(
        "EXTRA_SETTING set, PGPASSWORD unset, SOMETHING_ELSE unset, ANSIBLE_BECOME_PASSWORD unset"
    ), ended.out
