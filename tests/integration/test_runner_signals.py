"""Interrupted, killed and gone on with: nothing runs on unseen, nothing is left behind. About 40 s."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_support import SERVICES, Controller, ansible_pids, kill_run, message_of, wait_for_worker

_SLOW = ("run", "codeblue_test.runner.slow", "-i", str(SERVICES), "--json")


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = Controller(tmp_path)
    yield made
    for path in (tmp_path / "state").rglob("invocations/*.json"):
        kill_run(path.stem)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_run_can_be_resumed(controller: Controller, number: signal.Signals) -> None:
    process = controller.start(*_SLOW)
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    process.send_signal(number)
    sent = time.monotonic()
    out, _err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - sent < 8
    assert f"codeblue resume {run_id}" in out.splitlines()[-1]
    assert ansible_pids(run_id) == []
    assert list(controller.private.iterdir()) == []
    resumed = controller.codeblue("resume", run_id, "--json", "-e", "wait=0")
    assert (resumed.code, resumed.summary["outcome"]) == (0, "recovered"), resumed.out + resumed.err


def test_what_a_step_started_is_not_ended_with_the_run(controller: Controller) -> None:
    process = controller.start("run", "codeblue_test.runner.daemon", "-i", str(SERVICES), "--json")
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    left = ansible_pids(run_id)
    assert [Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() for pid in left] == ["sleep"]
    resumed = controller.codeblue("resume", run_id, "--json", "-e", "wait=0")
    assert resumed.code == 0, resumed.out + resumed.err
    assert set(left) <= set(ansible_pids(run_id))


def test_a_signal_before_anything_was_opened(controller: Controller) -> None:
    process = controller.start(*_SLOW)
    message_of(process, "started")
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert '"outcome": "interrupted"' in out.splitlines()[-1]


def test_a_hang_up_does_not_stop_a_recovery(controller: Controller) -> None:
    process = controller.start(*_SLOW, "-e", "wait=1")
    message_of(process, "task", name="Wait")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_runner_killed_then_resumed(controller: Controller) -> None:
    process = controller.start(*_SLOW)
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    wait_for_worker(run_id)
    process.kill()
    process.communicate()
    assert ansible_pids(run_id), "ansible-playbook outlives the command"
    assert list(controller.private.iterdir()), "its private directory is still there"
    refused = controller.run("recover")
    assert refused.code != 0
    resumed = controller.codeblue("resume", run_id, "--json", "--wait", "0.5", "-e", "wait=0")
    assert (resumed.code, resumed.summary["outcome"]) == (0, "recovered"), resumed.out + resumed.err
    assert "ending what the earlier attempt left going" in resumed.err
    assert ansible_pids(run_id) == []
    assert list(controller.private.iterdir()) == []


def test_ansible_killed_then_resumed(controller: Controller) -> None:
    process = controller.start(*_SLOW)
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    wait_for_worker(run_id)
    os.kill(ansible_pids(run_id)[0], signal.SIGKILL)
    out, _err = process.communicate(timeout=90)
    assert process.returncode == 130, out
    resumed = controller.codeblue("resume", run_id, "--json", "--wait", "0.5", "-e", "wait=0")
    assert (resumed.code, resumed.summary["outcome"]) == (0, "recovered"), resumed.out + resumed.err


def test_resume_refuses_while_the_run_is_going_on(controller: Controller) -> None:
    process = controller.start(*_SLOW, "-e", "wait=15")
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    second = controller.codeblue("resume", run_id, "-e", "wait=0")
    assert second.code == 3
    assert f"is going on in process {process.pid}" in second.err
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_resume_asks_for_values_that_were_not_kept(controller: Controller) -> None:
    process = controller.start(*_SLOW, "-e", "wait=15")
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    ended = controller.codeblue("resume", run_id)
    assert ended.code == 2
    assert "-e wait: values are not kept" in ended.err


def test_a_closed_run_is_not_resumed(controller: Controller) -> None:
    run_id = controller.run("recover").summary["run"]
    ended = controller.codeblue("resume", run_id, "--json")
    assert ended.code == 2
    assert "is closed: recovered" in ended.err


def test_doctor_closes_a_run_only_when_its_processes_are_dead(controller: Controller) -> None:
    process = controller.start(*_SLOW)
    run_id = message_of(process, "started")["run"]
    message_of(process, "task", name="Wait")
    during = controller.codeblue("doctor", "--close", "--json")
    assert any(run_id in m.get("text", "") and "is going on" in m["text"] for m in during.messages), during.out
    process.kill()
    process.communicate()
    kill_run(run_id)
    after = controller.codeblue("doctor", "--close", "--json")
    assert any(run_id in m.get("text", "") and "closed as interrupted" in m["text"] for m in after.messages), after.out
    assert controller.run("recover").code == 0
