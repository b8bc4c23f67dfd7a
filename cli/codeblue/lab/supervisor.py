"""The lab's supervisord: its configuration, starting it, and calls over its unix socket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.files import write_text
from codeblue.lab.layout import Layout
from codeblue.lab.processes import MARKER, ProcessIdentity, identity

_RUNNING_STATES = ("STARTING", "RUNNING")


@dataclass(frozen=True)
class Program:
    """One process under supervisord.

    :param autorestart: come back after a crash (a service) or stay down (a database server).
    :param start_seconds: how long it must live to count as started; a death before that is retried.
    """

    name: str
    command: Sequence[str]
    directory: str
    log_file: str
    user: str | None = None
    autorestart: bool = False
    start_seconds: int = 1
    start_retries: int = 3
    stop_signal: str = "TERM"
    stop_wait_seconds: int = 5
    environment: dict[str, str] = field(default_factory=dict)

    def section(self) -> str:
        environment = ",".join(f'{name}="{_escape(value)}"' for name, value in self.environment.items())
        lines = {
            "command": " ".join(f'"{_escape(word)}"' if " " in word else _escape(word) for word in self.command),
            "directory": _escape(self.directory),
            "autostart": "false",
            "autorestart": str(self.autorestart).lower(),
            "startsecs": str(self.start_seconds),
            "startretries": str(self.start_retries),
            "stopsignal": self.stop_signal,
            "stopwaitsecs": str(self.stop_wait_seconds),
            "redirect_stderr": "true",
            "stdout_logfile": _escape(self.log_file),
            "stdout_logfile_maxbytes": "5MB",
            "stdout_logfile_backups": "1",
        }
        if self.user:
            lines["user"] = self.user
        if environment:
            lines["environment"] = environment
        return f"[program:{self.name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def _escape(value: str) -> str:
    return value.replace("%", "%%")


class Supervisor:
    """Calls to the supervisord of one lab."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write_config(self, programs: Sequence[Program]) -> None:
        as_root = "user = root\n" if os.geteuid() == 0 else ""
        text = (
            f"[supervisord]\nnodaemon = true\n{as_root}"
            f"logfile = {_escape(str(self._layout.supervisor_log))}\n"
            "logfile_maxbytes = 5MB\nlogfile_backups = 1\n"
            f"pidfile = {_escape(str(self._layout.run / 'supervisord.pid'))}\n"
            f"childlogdir = {_escape(str(self._layout.run))}\nstrip_ansi = false\nminfds = 256\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\n"
            f"[unix_http_server]\nfile = {_escape(str(self._layout.supervisor_socket))}\nchmod = 0600\n\n"
            f"[supervisorctl]\nserverurl = unix://{_escape(str(self._layout.supervisor_socket))}\n\n"
        )
        text += "\n".join(program.section() for program in programs)
        write_text(self._layout.supervisor_config, text, 0o600)

    def launch(self) -> ProcessIdentity:
        """Start supervisord in a session of its own; it answers when `wait_ready` returns."""
        # Nothing of the caller's environment gets into the clinic, credentials least of all.
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONDONTWRITEBYTECODE": "1",
            MARKER: str(self._layout.root),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._layout.supervisor_config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._layout.root,
            env=environment,
            start_new_session=True,
        )
        launched = identity(process.pid)
        if launched is None:
            raise CodeblueError("supervisord ended at once", f"see {self._layout.supervisor_log}")
        return launched

    def wait_ready(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._call("getState")
                return
            except CodeblueError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)

    def start(self, *names: str) -> None:
        """Start those that do not run; returns at once, the caller looks whether they answer."""
        states = self.states()
        # Between two failing starts it counts as running, and would wait out a growing pause.
        pausing = [name for name in names if states[name] == "BACKOFF"]
        if pausing:
            self.stop(*pausing)
        for name in names:
            if states[name] not in _RUNNING_STATES:
                self._call("startProcess", name, False)

    def stop(self, *names: str, seconds: float = 15.0) -> None:
        """Stop those that run, all at once, and wait until supervisord has reaped each.

        :raises CodeblueError: one still runs after `seconds`.
        """
        waiting: set[str] = set()
        for name, state in self.states().items():
            # EXITED, FATAL and STOPPED have no process; BACKOFF would start one again.
            if name in names and state in (*_RUNNING_STATES, "BACKOFF", "STOPPING"):
                if state != "STOPPING":
                    self.ask_to_stop(name)
                waiting.add(name)
        deadline = time.monotonic() + seconds
        while waiting:
            states = self.states()
            waiting = {name for name in waiting if states[name] not in ("STOPPED", "EXITED", "FATAL")}
            if waiting and time.monotonic() >= deadline:
                raise CodeblueError(f"{', '.join(sorted(waiting))} did not stop in {seconds:g} s", self._log_hint())
            if waiting:
                time.sleep(0.02)

    def ask_to_stop(self, name: str) -> None:
        """Send the stop signal and return; from now on supervisord does not start it again by itself."""
        self._call("stopProcess", name, False)

    def wait_down(self, name: str, seconds: float = 5.0) -> None:
        """Wait until supervisord has noticed that a killed process is gone."""
        deadline = time.monotonic() + seconds
        while self.states()[name] in (*_RUNNING_STATES, "STOPPING"):
            if time.monotonic() >= deadline:
                raise CodeblueError(f"supervisord does not notice that {name} ended", self._log_hint())
            time.sleep(0.02)

    def states(self) -> dict[str, str]:
        return {each["name"]: each["statename"] for each in self._call("getAllProcessInfo")}

    def pid(self, name: str) -> int | None:
        """None when it has no process."""
        return self._call("getProcessInfo", name)["pid"] or None

    def pids(self) -> dict[str, int]:
        return {each["name"]: each["pid"] for each in self._call("getAllProcessInfo") if each["pid"]}

    def _log_hint(self) -> str:
        return f"see {self._layout.supervisor_log}"

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._layout.supervisor_socket}")
        try:
            server = xmlrpc.client.ServerProxy("http://lab", transport=transport)
            return getattr(server.supervisor, method)(*arguments)
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise CodeblueError(f"supervisord: {method} failed: {error}", self._log_hint()) from error
        finally:
            transport.close()
