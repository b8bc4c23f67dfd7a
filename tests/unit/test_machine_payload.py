"""What is sent to a machine runs there with the standard library alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_payload import START, program
from test_arguments import NAMES

SYSTEM = shutil.which("python3", path="/usr/bin")
PYTHONS = [sys.executable, *([SYSTEM] if SYSTEM is not None else [])]


def run(python: str, module: str, arguments: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
    """As on a machine: nothing that is installed beside Python is found."""
    done = subprocess.run(
        [python, "-I", "-S", "-c", START],
        input=program(module, arguments),
        capture_output=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    assert lines and lines[-1].startswith("{"), done.stderr.decode()
    return done.returncode, json.loads(lines[-1])


@pytest.mark.parametrize("python", PYTHONS)
def test_every_module_brings_all_that_it_needs(python: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(NAMES, pool.map(lambda name: run(python, name, {"unheard_of": 1}), NAMES), strict=True))
    assert len(answers) > 40
    for name, (code, answer) in answers.items():
        assert code == 1 and answer["failed"], name
        assert answer["msg"] == "Unsupported parameters: unheard_of", (name, answer)
        assert answer["exit_code"] == 2


def test_a_module_works_and_answers(tmp_path: t.Any) -> None:
    flags = tmp_path / "flags.json"
    flags.write_text('{"ai_enabled": true}')
    code, answer = run(sys.executable, "feature_flag", {"path": str(flags)})
    assert code == 0 and not answer["changed"]
    assert answer["before"] == {"ai_enabled": True}
    wish = {"path": str(flags), "flags": {"ai_enabled": False}, "_ansible_check_mode": True, "_ansible_diff": True}
    code, answer = run(sys.executable, "feature_flag", wish)
    assert code == 0 and answer["changed"] and answer["diff"]["after"] == {"ai_enabled": False}
    assert flags.read_text() == '{"ai_enabled": true}'


def test_a_defect_says_where_it_is_and_not_what_was_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = program("feature_flag", {"path": "/nowhere", "secret": "hunter2"}).replace(
        b"import_module('ansible_collections.codeblue.recovery.plugins.modules.feature_flag').main()",
        b"import_module('json').loads('hunter2')",
    )
    done = subprocess.run([sys.executable, "-c", START], input=spoilt, capture_output=True, timeout=60, check=False)
    answer = json.loads(done.stdout.decode().splitlines()[-1])
    assert done.returncode == 1 and answer["failed"]
    assert "JSONDecodeError in decoder.py line" in answer["msg"]
    assert b"hunter2" not in done.stdout + done.stderr


def test_nothing_of_the_controller_is_sent() -> None:
    sent = program("postgresql_status", {})
    assert b"plugin_utils" not in sent
