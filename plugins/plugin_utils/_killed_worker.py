# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ends an ansible-playbook that would wait for ever, because a worker was killed while it gave its result.

All workers give their results through one queue, behind one lock. Who is killed with that lock in its hand (`kill -9`,
or the kernel that is out of memory) leaves it closed: every later worker waits for it, and ansible-playbook for them.
Ansible looks for workers that were killed, but not at one whose result has come and whose place another one has taken.

So the lock is tried before each worker is started. When nobody can hold it any more, this process ends as if it had
been killed itself: that leaves a run to be resumed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import typing as t

# Who gives a result holds the lock for less than a millisecond; a machine that swaps may take longer.
_ALONE_SECONDS = 1.0
_BESIDE_OTHERS_SECONDS = 30.0
_POLL_SECONDS = 0.05
# From the hook up to the start of a worker: the parts of multiprocessing in between.
_MOST_FRAMES = 16
_LINE = (
    "ansible-playbook: a worker was killed while it gave its result, and nothing can go on; this process ends:"
    " take the run up again with codeblue resume RUN\n"
)


def end_when_results_are_stuck() -> None:
    """Have this process look before it starts a worker."""
    owner = os.getpid()

    def before_fork() -> None:
        # Forks inherit this hook, and are not meant.
        if os.getpid() == owner:
            lock = _lock_of_results()
            if lock is not None and not _comes_free(lock):
                sys.stderr.write(_LINE)
                sys.stderr.flush()
                os.kill(owner, signal.SIGKILL)

    os.register_at_fork(before=before_fork)


def _lock_of_results() -> t.Any:
    """The lock of the queue of the worker that is being started; None when something else is."""
    frame: t.Any = sys._getframe(1)
    for _depth in range(_MOST_FRAMES):
        frame = frame.f_back
        if frame is None:
            return None
        if frame.f_code.co_name == "start":
            queue = getattr(frame.f_locals.get("self"), "_final_q", None)
            return getattr(queue, "_wlock", None)
    return None


def _comes_free(lock: t.Any) -> bool:
    """Wait until the lock can be taken; False when who held it is gone."""
    began = time.monotonic()
    while not lock.acquire(timeout=_POLL_SECONDS):
        # Those that are alive may hold it, or wait for it.
        patience = _BESIDE_OTHERS_SECONDS if multiprocessing.active_children() else _ALONE_SECONDS
        if time.monotonic() - began > patience:
            return False
    with contextlib.suppress(ValueError):
        lock.release()
    return True
