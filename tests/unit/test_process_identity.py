"""Processes are told apart by more than their number, and what they leave behind is ended. About 2 s."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import (
    ProcessIdentity,
    end_process_tree,
)

# A parent with a child in a session of its own, as ansible-playbook with its worker, and a grandchild below it.
_TREE = """
import os, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", "import subprocess, sys, time\\n"
     "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\\n"
     + sys.argv[1] + "time.sleep(60)"],
    start_new_session=True, stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
time.sleep(60)
"""
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@pytest.fixture(params=["", _DEAF], ids=["listens", "deaf"])
def tree(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], list[ProcessIdentity]]]:
    parent = subprocess.Popen([sys.executable, "-c", _TREE, request.param], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    members = [ProcessIdentity.of(int(pid)) for pid in parent.stdout.readline().split()]
    yield parent, members
    parent.kill()
    parent.wait()
    for member in members:
        end_process_tree(member, 1.0)


def _ended(identities: list[ProcessIdentity]) -> bool:
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if not any(identity.is_alive() for identity in identities):
            return True
        time.sleep(0.01)
    return False


def test_this_process_and_its_parent() -> None:
    me, parent = ProcessIdentity.current(), ProcessIdentity.parent()
    assert (me.pid, parent.pid) == (os.getpid(), os.getppid())
    assert me.is_alive() is parent.is_alive() is True
    assert ProcessIdentity.current() == me


def test_a_process_that_ended_is_dead_also_before_it_is_reaped() -> None:
    process = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(process.pid)
    process.kill()
    assert _ended([identity])
    process.wait()
    assert identity.is_alive() is False
    with pytest.raises(ProcessLookupError):
        ProcessIdentity.of(process.pid)


def test_a_reused_number_another_boot_another_host_and_another_container() -> None:
    me = ProcessIdentity.current()
    assert dataclasses.replace(me, started="1").is_alive() is False
    assert dataclasses.replace(me, boot_id="00000000-0000:1").is_alive() is False
    assert dataclasses.replace(me, host="elsewhere").is_alive() is None
    boot = me.boot_id.partition(":")[0]
    assert dataclasses.replace(me, boot_id=f"{boot}:1").is_alive() is None


def test_a_whole_tree_is_ended_over_sessions(tree: tuple[subprocess.Popen[str], list[ProcessIdentity]]) -> None:
    parent, members = tree
    root = ProcessIdentity.of(parent.pid)
    assert set(members) <= set(root.descendants())
    started = time.monotonic()
    left = end_process_tree(root, 1.0)
    assert time.monotonic() - started < 2
    assert [identity for identity in left if identity != root] == []
    assert _ended([root, *members])


def test_orphans_of_a_killed_worker_are_found_by_its_session(
    tree: tuple[subprocess.Popen[str], list[ProcessIdentity]],
) -> None:
    parent, (worker, grandchild) = tree
    parent.kill()
    parent.wait()
    os.kill(worker.pid, 9)
    assert _ended([worker])
    assert worker.is_alive() is False
    assert grandchild in worker.descendants()
    assert end_process_tree(worker, 1.0) == []
    assert _ended([grandchild])


_INSIDE = """
import subprocess, sys
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import (
    ProcessIdentity, end_process_tree)
if len(sys.argv) == 1:
    sibling = subprocess.Popen(["sleep", "60"])
    child = subprocess.run([sys.executable, "-c", sys.stdin.read(), "inside"])
    assert sibling.poll() is None, "the sibling was ended"
    sibling.kill()
    sys.exit(child.returncode)
parent = ProcessIdentity.parent()
assert ProcessIdentity.current() not in parent.descendants()
assert end_process_tree(parent, 0.2) == [parent]
assert end_process_tree(ProcessIdentity.current(), 0.2) == [ProcessIdentity.current()]
"""


def test_a_tree_that_it_is_part_of_is_left_alone() -> None:
    subprocess.run([sys.executable, "-c", _INSIDE], input=_INSIDE, text=True, check=True, timeout=30)


def test_a_process_elsewhere_is_left_alone() -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        identity = dataclasses.replace(ProcessIdentity.of(victim.pid), host="elsewhere")
        assert end_process_tree(identity, 0.1) == []
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
