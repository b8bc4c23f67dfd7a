"""One ansible-playbook, run by ansible-runner, with nothing of it left on disk.

ansible-runner's `run()` is not used: it writes variables and settings into files first. Its two parts, the
configuration and the runner, are used as they are.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from codeblue.runner.processes import heads, processes_of_run, send, wait_for_end

# How long ansible-playbook and its workers have to end after a signal before they are killed.
STOP_SECONDS = 10.0
_KILL_SECONDS = 3.0
# ansible-playbook passes a signal on to its workers, but misses one that it is just starting.
_PASS_ON_SECONDS = 1.0
# How often a pending stop is looked after.
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Command:
    """What is run.

    :param playbook: a name such as `codeblue.recovery.database_connection_failure`.
    :param inventory: sources, absolute where they are paths; empty for Ansible's own configuration.
    :param arguments: further arguments, without secrets.
    :param directory: the current directory, so that the operator's ansible.cfg and relative paths work.
    """

    run_id: str
    playbook: str
    inventory: Sequence[str]
    limit: str | None
    arguments: Sequence[str]
    forks: int
    verbosity: int
    directory: Path
    environment: dict[str, str]


class StoppedBeforeStart(Exception):
    """A signal arrived before ansible-playbook was started."""


class Stopper:
    """Passes SIGINT and SIGTERM on once, and bounds what comes after.

    A hang-up is ignored: half a recovery is worse than one that nobody watches.

    :param notify: told once that the run is being stopped; never inside of the signal handler, where the output
        may be in the middle of a line.
    """

    def __init__(self, run_id: str, notify: Callable[[], None]) -> None:
        self._run_id = run_id
        self._notify = notify
        self._deadline: float | None = None
        self._delivered_at: float | None = None
        self._told_workers = False
        self._notified = False
        self._previous: dict[signal.Signals, t.Any] = {}

    @property
    def requested(self) -> bool:
        return self._deadline is not None

    def __enter__(self) -> Stopper:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def expired(self) -> bool:
        """Whether it is time to kill. Called by ansible-runner a few times a second."""
        if self._deadline is None:
            return False
        self._deliver()
        if not self._notified:
            self._notified = True
            self._notify()
        return time.monotonic() >= self._deadline

    def end_leftovers(self) -> None:
        """After a stop: no worker outlives the command.

        ansible-playbook that is interrupted while it forks ends without telling that worker.
        """
        for process in processes_of_run(self._run_id):
            send(process, signal.SIGINT)
        remaining = (self._deadline or 0.0) - time.monotonic()
        for process in wait_for_end(self._run_id, max(0.0, remaining)):
            send(process, signal.SIGKILL)
        wait_for_end(self._run_id, _KILL_SECONDS)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._deadline is not None:
            # Asked twice: whoever is there does not want to wait.
            self._deadline = time.monotonic()
            return
        self._deadline = time.monotonic() + STOP_SECONDS
        self._deliver()

    def _deliver(self) -> None:
        if self._delivered_at is None:
            # Between fork and exec the child does not carry the mark yet; then the next poll finds it.
            for process in heads(processes_of_run(self._run_id)):
                send(process, signal.SIGINT)
                self._delivered_at = time.monotonic()
        elif not self._told_workers and time.monotonic() - self._delivered_at >= _PASS_ON_SECONDS:
            self._told_workers = True
            left = processes_of_run(self._run_id)
            told = heads(left)
            for process in left:
                if process not in told:
                    send(process, signal.SIGINT)


def run_ansible(
    command: Command,
    workspace: Path,
    on_event: Callable[[dict[str, t.Any]], None],
    stopper: Stopper,
) -> int:
    """Run the playbook to its end.

    :param on_event: gets every event.
    :returns: the exit status of ansible-playbook; 254 when it was killed.
    :raises StoppedBeforeStart: nothing was started.
    """
    from ansible_runner.config.runner import RunnerConfig
    from ansible_runner.runner import Runner

    config = RunnerConfig(
        private_data_dir=str(workspace),
        # It becomes the current directory of ansible-playbook.
        project_dir=str(command.directory),
        ident=command.run_id,
        playbook=command.playbook,
        inventory=list(command.inventory) or None,
        limit=command.limit,
        cmdline=shlex.join(command.arguments) or None,
        forks=command.forks,
        verbosity=command.verbosity or None,
        fact_cache_type="memory",
        quiet=True,
        suppress_env_files=True,
    )
    config.prepare()
    _adjust(config, command, workspace)

    def on_status(status: dict[str, t.Any], runner_config: RunnerConfig) -> None:
        if status["status"] == "running":
            # ansible-runner has just written the command and its environment there; nobody needs it.
            (Path(runner_config.artifact_dir) / "command").unlink(missing_ok=True)
            if stopper.requested:
                raise StoppedBeforeStart

    def handle_event(event: dict[str, t.Any]) -> bool:
        on_event(event)
        return False

    runner = Runner(config, event_handler=handle_event, status_handler=on_status, cancel_callback=stopper.expired)
    _status, code = runner.run()
    return 254 if code is None else int(code)


def _adjust(config: t.Any, command: Command, workspace: Path) -> None:
    """What `prepare` sets from files that are not there, and from an environment that is not ours."""
    added = {
        name: config.env[name]
        for name in (
            "ANSIBLE_CALLBACK_PLUGINS",
            "ORIGINAL_STDOUT_CALLBACK",
            "AWX_ISOLATED_DATA_DIR",
            "RUNNER_OMIT_EVENTS",
            "RUNNER_ONLY_FAILED_EVENTS",
        )
        if name in config.env
    }
    config.env = {**command.environment, **added, "ANSIBLE_STDOUT_CALLBACK": "awx_display"}
    # The base that awx_display derives from; the operator's own output plugin is not for this.
    config.env["ORIGINAL_STDOUT_CALLBACK"] = "default"
    # Modules are put together there with their arguments: in memory, and gone with the directory also after a kill.
    config.env["ANSIBLE_LOCAL_TEMP"] = str(workspace / "tmp")
    config.command[0] = _ansible_playbook()
    config.suppress_output_file = True
    config.suppress_ansible_output = True
    config.pexpect_timeout = _POLL_SECONDS


def _ansible_playbook() -> str:
    """The ansible-playbook of this environment, else the one on PATH."""
    beside = Path(sys.executable).parent / "ansible-playbook"
    return str(beside) if beside.is_file() else "ansible-playbook"
