"""The command runs real plays through ansible-runner and judges them by their record. About 40 s."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from runner_support import SERVICES, Controller


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_run_tells_every_step_and_ends_with_its_record(controller: Controller) -> None:
    ended = controller.run("recover", "--because", "a test says so")
    assert ended.code == 0, ended.err
    assert ended.messages[0]["message_type"] == "started"
    steps = [(step["stage"], step["target"], step["status"]) for step in ended.of_type("step")]
    assert ("open", "records", "ok") in steps
    assert ("recover", "patient_db", "changed") in steps
    summary = ended.summary
    assert summary["outcome"] == "recovered"
    assert summary["targets"] == {"records": "recovered", "patient_db": "recovered"}
    assert 0 < summary["first_action_seconds"] < summary["seconds"]
    assert ended.of_type("difference")[0]["lines"][-2:] == ["-down", "+up"]
    report = controller.codeblue("report", summary["run"], "--format", "json")
    assert '"because": "a test says so"' in report.out


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("degraded", 4), ("failed_safe", 1), ("failed_unsafe", 5), ("nothing_to_do", 0), ("refused", 3)],
)
def test_exit_code_is_that_of_the_record(controller: Controller, outcome: str, code: int) -> None:
    ended = controller.run("recover", "-e", f"outcome={outcome}")
    assert (ended.code, ended.summary["outcome"]) == (code, outcome)


def test_a_rescued_or_broken_play_that_left_the_run_open_is_not_called_safe(controller: Controller) -> None:
    ended = controller.run("open_only")
    assert (ended.code, ended.summary["outcome"]) == (5, "failed_unsafe")
    assert ended.summary["next_step"] == f"codeblue resume {ended.summary['run']}"


def test_refusal_carries_its_line_hint_and_exit_code(controller: Controller) -> None:
    ended = controller.run("refuse")
    assert ended.code == 3
    assert ended.summary["error"] == "patient_db: held by another run"
    assert ended.summary["hint"] == "wait for it to end"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["run", "codeblue_test.runner.recovr", "-i", str(SERVICES)],
            "there is no playbook codeblue_test.runner.recovr",
        ),
        (["run", "database_connection_failur", "-i", str(SERVICES)], "there is no runbook"),
        (
            ["run", "codeblue_test.runner.recover", "-i", "/nowhere/hosts.yml"],
            "inventory /nowhere/hosts.yml does not exist",
        ),
        (["run", "codeblue_test.runner.recover", "-i", str(SERVICES), "-e", "@/nowhere"], "-e @/nowhere: No such file"),
        (["run", "codeblue_test.runner.recover", "-i", str(SERVICES), "-e", "word"], "-e: a word without ="),
        (["run", "codeblue_test.runner.recover", "-i", str(SERVICES), "--forks", "0"], "--forks"),
        (["run", "codeblue_test.runner.recover", "-i", str(SERVICES), "--pass-env", "NOT_SET"], "NOT_SET is not set"),
        (["resume", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "there is no run"),
        (["rnu"], "Did you mean run?"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(controller: Controller, arguments: list[str], line: str) -> None:
    ended = controller.codeblue(*arguments)
    assert ended.code == 2
    assert line in ended.err
    assert len(ended.err.strip().splitlines()) <= 2
    assert ended.out == ""
    assert not list((controller.root / "state").rglob("*.json"))


def test_bad_input_that_only_ansible_sees_is_one_line_too(controller: Controller, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("all: [unclosed\n", encoding="utf-8")
    recover = "codeblue_test.runner.recover"
    cases = {
        f"inventory {broken}:2:1 cannot be read: While parsing": [recover, "-i", str(broken)],
        "no target matches": [recover, "-i", str(SERVICES), "--limit", "nobody"],
        "found unexpected end of stream": ["codeblue_test.runner.broken", "-i", str(SERVICES)],
        f"{broken}:2:1 cannot be read": [recover, "-i", str(SERVICES), "-e", "a=b", "-e", f"@{broken}"],
    }
    for line, arguments in cases.items():
        ended = controller.codeblue("run", *arguments, "--json")
        assert (ended.code, ended.summary["outcome"]) == (2, "bad_input"), line
        assert line in ended.summary["error"]


def test_plan_changes_nothing_and_lists_what_is_not_taken(controller: Controller) -> None:
    ended = controller.run("recover", command="plan")
    assert ended.code == 0, ended.err
    assert [(branch["condition"], branch["steps"]) for branch in ended.of_type("branch")] == [
        ("cause | default('pool') == 'primary'", ["Promote the standby"])
    ]
    # Ansible tells of them in the order in which they end.
    assert sorted(ended.of_type("branch")[0]["targets"]) == ["patient_db", "records"]
    assert ended.summary["first_action_seconds"] is None
    assert not (controller.root / "state" / "codeblue" / "state.sqlite").exists()


def test_the_operators_own_ansible_cfg_stays_in_force(controller: Controller) -> None:
    work = controller.root / "work"
    # A stdout plugin, a log and a strategy of the operator's are overruled; the inventory is not.
    (work / "ansible.cfg").write_text(
        f"[defaults]\ninventory = {SERVICES}\nlog_path = {work}/ansible.log\n"
        "stdout_callback = oneline\nstrategy = free\n",
        encoding="utf-8",
    )
    ended = controller.codeblue("run", "codeblue_test.runner.recover", "--json")
    assert ended.code == 0, ended.err
    assert not (work / "ansible.log").exists()


def test_a_stale_copy_of_the_collection_is_not_run(controller: Controller) -> None:
    stale = controller.root / "home" / ".ansible" / "collections" / "ansible_collections" / "codeblue" / "recovery"
    (stale / "plugins" / "plugin_utils").mkdir(parents=True)
    (stale / "galaxy.yml").write_text("namespace: codeblue\nname: recovery\nversion: 0.0.1\n", encoding="utf-8")
    del controller.variables  # the configured paths are the default ones
    controller.variables = {}
    collections = controller.environment["ANSIBLE_COLLECTIONS_PATH"]
    controller.variables = {"ANSIBLE_COLLECTIONS_PATH": f"{collections}:{stale.parents[2]}"}
    ended = controller.run("recover")
    assert ended.code == 0, ended.err
    doctor = controller.codeblue("doctor", "--json")
    copies = [finding for finding in doctor.messages if finding.get("check") == "collection copies"]
    assert "0.0.1" in copies[0]["text"]


def test_two_runs_at_once_the_second_says_who_holds_it(controller: Controller) -> None:
    from runner_support import kill_run, message_of

    first = controller.start("run", "codeblue_test.runner.slow", "-i", str(SERVICES), "--json", "-e", "wait=20")
    run_id = message_of(first, "started")["run"]
    try:
        message_of(first, "step", stage="open")
        second = controller.run("recover")
        assert "held by run" in second.out
        assert run_id in second.out
        assert second.code != 0
    finally:
        first.kill()
        first.communicate()
        kill_run(run_id)


def test_plain_lines_without_a_terminal_have_no_colours(controller: Controller) -> None:
    ended = controller.codeblue("run", "codeblue_test.runner.recover", "-i", str(SERVICES))
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "recovered and validated" in ended.out


def test_a_reader_that_leaves_does_not_stop_the_run(controller: Controller) -> None:
    process = controller.start("run", "codeblue_test.runner.recover", "-i", str(SERVICES))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_nothing_is_left_behind(controller: Controller) -> None:
    started = time.time()
    controller.run("recover")
    assert list(controller.private.iterdir()) == []
    home = controller.root / "home"
    left = [path for path in home.rglob("*") if path.is_file() and path.stat().st_mtime >= started]
    assert left == []
