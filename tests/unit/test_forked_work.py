"""Work in a process of its own: result, errors, end. And actions that are loaded without a package. About 6 s."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._forked_work import ForkedWork

ACTIONS = Path(__file__).parents[2] / "plugins" / "action"
# Fails for the packages as if they were not installed, then imports all actions as Ansible does: in one process.
WITHOUT = """
import importlib, sys
sys.modules[sys.argv[1]] = None
for name in sys.argv[2:]:
    importlib.import_module(f"ansible_collections.codeblue.recovery.plugins.action.{name}")
"""


def all_children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())


@pytest.fixture(autouse=True)
def _others() -> None:
    """Earlier tests of this process may have left something running; that is not meant here."""
    global others
    others = all_children()


others: set[str] = set()


def children() -> set[str]:
    return all_children() - others


def test_the_result_comes_from_another_process() -> None:
    pid, text = ForkedWork("look", lambda: (os.getpid(), "x" * 3_000_000), 10.0).result()
    assert pid != os.getpid() and len(text) == 3_000_000
    assert children() == set()


def test_an_error_keeps_its_next_step_and_its_exit_code() -> None:
    def refuse() -> None:
        raise Refused("held by another run", "wait for it")

    with pytest.raises(CodeblueError) as raised:
        ForkedWork("look", refuse, 10.0).result()
    assert (raised.value.message, raised.value.hint, raised.value.exit_code) == (
        "held by another run",
        "wait for it",
        3,
    )


def test_a_missing_package_is_told_by_its_name() -> None:
    def need() -> None:
        raise ImportError("no module", name="h11")

    with pytest.raises(ImportError) as raised:
        ForkedWork("detection", need, 10.0).result()
    assert raised.value.name == "h11"


def test_a_process_that_dies_or_takes_too_long_is_an_error_and_leaves_nothing() -> None:
    with pytest.raises(CodeblueError, match="without an answer"):
        ForkedWork("look", lambda: os._exit(1), 10.0).result()
    with pytest.raises(CodeblueError, match="not done in time"):
        ForkedWork("look", lambda: time.sleep(60), 0.1).result()
    assert children() == set()


def test_it_can_be_ended_at_any_moment_and_twice() -> None:
    # At once: before the process has made a group of its own.
    for _ in range(20):
        work = ForkedWork("look", lambda: time.sleep(60), 60.0)
        work.end()
        work.end()
    assert children() == set()


@pytest.mark.parametrize("package", ["h11", "sqlalchemy", "psycopg", "ulid"])
def test_actions_can_be_loaded_without_a_package(package: str) -> None:
    """Ansible loads them in its main process, where a failing import ends the play and no rescue is run."""
    names = [path.stem for path in sorted(ACTIONS.glob("[a-z]*.py"))]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *names], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
