"""The step protocol at a machine: lock, generation, receipts (under 2 s)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._target_guard import RUNS_KEPT, Step, TargetGuard

_HOLDER = """
import sys, time
from ansible_collections.codeblue.recovery.plugins.module_utils._target_guard import Step, TargetGuard
with TargetGuard(Step("run1", "patient_db", "hold", 1, sys.argv[1])) as guard:
    guard.accept({"role": "primary"})
    print("held", flush=True)
    time.sleep(60)
"""


def step(lock_dir: Path, key: str = "promote", run_id: str = "run1", generation: int = 1) -> Step:
    return Step(run_id, "patient_db", key, generation, str(lock_dir))


def test_a_finished_step_is_not_done_again(tmp_path: Path) -> None:
    with TargetGuard(step(tmp_path), now=lambda: 100.0) as guard:
        assert guard.finished is None and not guard.in_doubt
        assert guard.accept({"role": "standby"}) == 100.0
        assert guard.accept({"role": "something else"}) == 100.0
        guard.done({"after": {"role": "primary"}})
    with TargetGuard(step(tmp_path)) as guard:
        assert guard.finished == {"after": {"role": "primary"}}
        assert guard.before_first_attempt is None
    with TargetGuard(step(tmp_path, key="another")) as guard:
        assert guard.finished is None
    with TargetGuard(step(tmp_path, run_id="run2")) as guard:
        assert guard.finished is None


def test_an_attempt_without_a_result_is_in_doubt_and_keeps_what_it_found(tmp_path: Path) -> None:
    with TargetGuard(step(tmp_path), now=lambda: 100.0) as guard:
        guard.accept({"limit": -1})
    with TargetGuard(step(tmp_path, generation=2), now=lambda: 200.0) as guard:
        assert guard.in_doubt
        assert guard.before_first_attempt == {"limit": -1}
        guard.accept({"limit": 3})
        assert guard.accepted_at == 100.0
    with TargetGuard(step(tmp_path, generation=2)) as guard:
        assert guard.before_first_attempt == {"limit": -1}


def test_a_torn_receipt_is_ignored_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    with TargetGuard(step(tmp_path)) as guard:
        guard.accept()
    receipts = tmp_path / "receipts" / "patient_db" / "run1.jsonl"
    with receipts.open("a") as stream:
        stream.write('{"key":"promote","event":"do')
    with TargetGuard(step(tmp_path)) as guard:
        assert guard.in_doubt
        guard.done({"changed": True})
    with TargetGuard(step(tmp_path)) as guard:
        assert guard.finished == {"changed": True}


def test_a_replaced_generation_is_refused(tmp_path: Path) -> None:
    with TargetGuard(step(tmp_path, generation=5)):
        pass
    with pytest.raises(Refused, match="generation 4"), TargetGuard(step(tmp_path, generation=4)):
        pass
    with TargetGuard(step(tmp_path, generation=5)):
        pass
    (tmp_path / "patient_db.generation").write_text("scribble")
    with pytest.raises(Refused, match="holds no generation"), TargetGuard(step(tmp_path, generation=6)):
        pass


def test_the_lock_is_waited_for_and_names_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(Refused, match=rf"pid {holder.pid}, run run1, step hold"),
            TargetGuard(step(tmp_path), wait=0.2),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()
    # A killed holder leaves the lock free and its step in doubt.
    with TargetGuard(step(tmp_path, key="hold"), wait=0.2) as guard:
        assert guard.before_first_attempt == {"role": "primary"}


def test_a_tool_that_outlives_its_module_keeps_the_lock(tmp_path: Path) -> None:
    with TargetGuard(step(tmp_path)) as guard:
        tool = subprocess.Popen(["sleep", "30"], pass_fds=(guard.lock_descriptor,))
    try:
        with pytest.raises(Refused, match="holds the lock"), TargetGuard(step(tmp_path), wait=0.1):
            pass
    finally:
        tool.kill()
        tool.wait()
    with TargetGuard(step(tmp_path), wait=1.0):
        pass


def test_only_the_last_runs_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "receipts" / "patient_db"
    for number in range(RUNS_KEPT + 10):
        with TargetGuard(step(tmp_path, run_id=f"run{number}", generation=number)) as guard:
            guard.accept()
        os.utime(directory / f"run{number}.jsonl", (number + 1, number + 1))
    left = {path.stem for path in directory.glob("*.jsonl")}
    assert len(left) <= RUNS_KEPT + 1
    assert "run0" not in left and f"run{RUNS_KEPT + 9}" in left


def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    lock_dir = tmp_path / "locks"
    with TargetGuard(step(lock_dir)) as guard:
        guard.accept()
    for path in lock_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    record = json.loads((lock_dir / "receipts" / "patient_db" / "run1.jsonl").read_text())
    assert record["event"] == "accepted" and record["generation"] == 1


@pytest.mark.parametrize(
    "changes", [{"target": "../etc"}, {"run_id": ""}, {"key": ""}, {"generation": -1}, {"lock_dir": "relative"}]
)
def test_a_step_that_cannot_be_a_file_is_bad_input(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Step(**{**vars(step(tmp_path)), **changes})
