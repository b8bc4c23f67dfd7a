"""What an earlier attempt of a run left going, ended before the run is gone on with.

Killing the command leaves its ansible-playbook, and killing that leaves the worker, which finishes its step.
"""

from __future__ import annotations

import signal
import time
import typing as t
from collections.abc import Callable
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import Refused

from codeblue.runner.processes import heads, is_running, processes_of_run, send, wait_for_end
from codeblue.runner.workspace import workspace_base

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_resilient import ResilientStore

_KILL_SECONDS = 5.0
# A lease lives for a minute without a heartbeat; more than this is not waited for in one go.
_MOST_LEASE_SECONDS = 180.0


def end_orphans(store: ResilientStore, run_id: str, wait_seconds: float, say: Callable[[str], None]) -> None:
    """Make sure that nothing of an earlier attempt acts any more.

    :param wait_seconds: how long a step that is being done may take to end before it is ended.
    :param say: told what is waited for.
    :raises Refused: the run is going on under another command, or cannot be ended from here.
    """
    watcher = _watcher_of(run_id)
    if watcher is not None:
        raise Refused(f"run {run_id} is going on in process {watcher}", "wait for it, or stop it with SIGINT")
    _end_marked(run_id, wait_seconds, say)
    _end_holders(store, run_id, wait_seconds, say)


def _watcher_of(run_id: str) -> int | None:
    """The pid of a command that is running this run on this machine."""
    for path in workspace_base().glob(f"{run_id}-*"):
        pid, _, started = path.name.removeprefix(f"{run_id}-").partition("-")
        if pid.isdigit() and is_running(int(pid), started):
            return int(pid)
    return None


def _end_marked(run_id: str, wait_seconds: float, say: Callable[[str], None]) -> None:
    """Ends what was started by this command: it carries the run's id in its environment."""
    left = processes_of_run(run_id)
    if not left:
        return
    say(f"ending what the earlier attempt left going ({len(left)} processes)")
    workers = {process.pid for process in left if process not in heads(left)}
    for process in heads(left):
        # ansible-playbook begins no further step, and its workers are not told: they finish what they are at.
        if workers:
            send(process, signal.SIGKILL)
    for process in wait_for_end(run_id, wait_seconds):
        send(process, signal.SIGTERM)
    for process in wait_for_end(run_id, _KILL_SECONDS):
        send(process, signal.SIGKILL)
    still = wait_for_end(run_id, _KILL_SECONDS)
    if still:
        raise Refused(f"process {still[0].pid} of run {run_id} cannot be ended", "look at what it hangs on: ps, strace")


def _end_holders(store: ResilientStore, run_id: str, wait_seconds: float, say: Callable[[str], None]) -> None:
    """Deals with leases: of processes that were started by ansible-playbook itself, or on another controller."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import end_process_tree

    seen = set()
    for lease in store.leases_of_run(run_id):
        if lease.holder in seen:
            continue
        seen.add(lease.holder)
        alive = lease.holder.is_alive()
        if alive:
            raise Refused(
                f"run {run_id} is going on in process {lease.holder.pid} on this host",
                f"wait for it, or end it: kill -INT {lease.holder.pid}",
            )
        if alive is None:
            _wait_for_expiry(lease.expires_at, f"{lease.holder.pid} on {lease.holder.host}", say)
            continue
        deadline = time.monotonic() + wait_seconds
        while lease.holder.descendants() and time.monotonic() < deadline:
            time.sleep(0.05)
        if end_process_tree(lease.holder, _KILL_SECONDS):
            raise Refused(f"workers of run {run_id} cannot be ended", "look at what they hang on: ps, strace")


def _wait_for_expiry(expires_at: str, holder: str, say: Callable[[str], None]) -> None:
    expiry = datetime.fromisoformat(expires_at)
    seconds = (expiry - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        return
    say(f"process {holder} cannot be seen from here: waiting {seconds:.0f} s for its lease to end")
    time.sleep(min(seconds, _MOST_LEASE_SECONDS) + 0.5)
