# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A worker that is killed while it gives its result does not leave ansible-playbook waiting for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_ACTION = """
import os
import signal

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _step_action


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        queue = Display()._final_q
        give = queue.send_task_result

        def give_and_die(result):
            give(result)
            if DIES:
                queue._wlock.acquire()
                os.kill(os.getpid(), signal.SIGKILL)

        queue.send_task_result = give_and_die
        return {"changed": False, "module": _step_action.__name__}
"""
_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: First
      the_last_word: {}
    - name: Second
      ansible.builtin.set_fact:
        got_there: true
    - name: Third
      ansible.builtin.debug:
        msg: the end
"""
_MOST_SECONDS = 60


def play(root: Path, dies: bool) -> subprocess.CompletedProcess[str]:
    """Run the play in which the first worker gives its result, and then dies or not."""
    for folder in ("action_plugins", "library"):
        (root / folder).mkdir()
    (root / "action_plugins" / "the_last_word.py").write_text(f"DIES = {dies}\n{_ACTION}", encoding="utf-8")
    (root / "library" / "the_last_word.py").write_text("", encoding="utf-8")
    (root / "play.yml").write_text(_PLAY, encoding="utf-8")
    process = subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", "play.yml"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, error = process.communicate()
        pytest.fail(f"it waits: {out} {error}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def test_it_ends_as_if_it_had_been_killed_itself(tmp_path: Path) -> None:
    ended = play(tmp_path, dies=True)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert "a worker was killed while it gave its result" in ended.stderr and "codeblue resume" in ended.stderr
    assert "the end" not in ended.stdout


def test_workers_that_live_are_not_in_the_way(tmp_path: Path) -> None:
    ended = play(tmp_path, dies=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the end" in ended.stdout
