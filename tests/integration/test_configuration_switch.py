"""configuration_switch on a real git repository (about 4 s)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from host_cluster import ModuleResult, run_module


def git(tree: Path, *arguments: str, date: str | None = None) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    if date:
        environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    command = ["git", "-C", str(tree), "-c", "user.name=ops", "-c", "user.email=ops@clinic.invalid", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three states of two files, the last of them wrong; and a file that is nobody's business."""
    root = tmp_path / "etc"
    root.mkdir()
    git(root, "init", "--quiet")
    for day, (port, level) in enumerate([("5432", "info"), ("6432", "info"), ("9999", "debug")], start=1):
        (root / "records.json").write_text(f'{{"port": {port}}}\n')
        (root / "log.conf").write_text(f"level={level}\n")
        (root / "other").write_text(str(day))
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", f"state {day}", date=f"2026-01-0{day}T09:00:00+00:00")
    (root / "records.json").chmod(0o640)
    return root


def switch(tree: Path, key: str = "k", check: bool = False, **options: Any) -> ModuleResult:
    step = {"run_id": "run", "target": "records", "key": key, "generation": 1, "lock_dir": str(tree.parent / "locks")}
    files = [str(tree / "records.json"), str(tree / "log.conf")]
    return run_module(
        "configuration_switch",
        {"work_tree": str(tree), "files": files, "step": step, **options},
        check=check,
        diff=True,
    )


def listed(tree: Path) -> list[dict[str, Any]]:
    return switch(tree, mode="list").result["history"]


def test_the_files_go_back_and_nothing_else_does(tree: Path) -> None:
    history = listed(tree)
    assert [each["deployed_at"][:10] for each in history] == ["2026-01-03", "2026-01-02", "2026-01-01"]
    good = history[1]["version"]
    planned = switch(tree, version=good, check=True).result
    assert planned["changed"] and planned["accepted_at"] is None
    assert (tree / "records.json").read_text() == '{"port": 9999}\n'
    done = switch(tree, version=good, reason="the port is wrong").result
    assert done["changed"] and done["after"] == {"current": good}
    assert (tree / "records.json").read_text() == '{"port": 6432}\n'
    assert (tree / "log.conf").read_text() == "level=info\n"
    assert (tree / "records.json").stat().st_mode & 0o777 == 0o640
    assert (tree / "other").read_text() == "3"
    assert "the port is wrong" in git(tree, "log", "-1", "--format=%s")
    assert git(tree, "status", "--porcelain") == ""
    assert not switch(tree, key="l", version=good).result["changed"]


def test_the_bad_state_has_the_same_version_whenever_it_comes_back(tree: Path) -> None:
    bad, good = (each["version"] for each in listed(tree)[:2])
    switch(tree, version=good)
    assert [each["version"] for each in listed(tree)][:2] == [good, bad]
    switch(tree, key="l", version=bad)
    assert listed(tree)[0]["version"] == bad


def test_what_nobody_committed_is_a_state_and_is_kept(tree: Path) -> None:
    (tree / "log.conf").write_text("level=nonsense\n")
    history = listed(tree)
    assert history[0]["commit"] is None and len(history) == 4
    switch(tree, version=history[1]["version"])
    assert (tree / "log.conf").read_text() == "level=debug\n"
    assert "level=nonsense" in git(tree, "show", "HEAD~1:log.conf")


def test_a_file_that_was_not_there_goes_away_again(tree: Path) -> None:
    git(tree, "rm", "--quiet", "log.conf")
    git(tree, "commit", "--quiet", "--message", "gone")
    gone = listed(tree)[0]["version"]
    before = listed(tree)[1]["version"]
    switch(tree, version=before)
    assert (tree / "log.conf").read_text() == "level=debug\n"
    switch(tree, key="l", version=gone)
    assert not (tree / "log.conf").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"version": "0000"}, "is not in the history"),
        ({"version": "x", "git_dir": "/nonexistent"}, "is no repository"),
        ({"version": "x", "files": ["/etc/passwd"]}, "is not in"),
        ({"version": "x", "files": []}, "is empty"),
        ({"mode": "list", "history_entries": 0}, "not between 1 and"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_touched(tree: Path, options: dict[str, Any], said: str) -> None:
    failed = switch(tree, **options)
    assert said in failed.result["msg"]
    assert (tree / "records.json").read_text() == '{"port": 9999}\n'


def test_a_binary_file_is_refused_before_anything_changes(tree: Path) -> None:
    (tree / "log.conf").write_bytes(b"\xff\xfe\x00")
    git(tree, "commit", "--quiet", "--all", "--message", "binary")
    (tree / "log.conf").write_text("level=info\n")
    (tree / "records.json").write_text("{}\n")
    wanted = listed(tree)[1]["version"]
    failed = switch(tree, version=wanted)
    assert "no text in UTF-8" in failed.result["msg"]
    assert (tree / "records.json").read_text() == "{}\n"
