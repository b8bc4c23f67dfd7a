"""The processes of the server: one that keeps the account as it was filled, and one forked off it that serves.

While the account is filled there is one process with one thread. Then it forks a worker, which answers from then on.
Going back to the filled account is to end the worker and to fork another: the same account, with the same names and
ids, within a few hundredths of a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import traceback
import typing as t
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_RESET_STATUS = 75
_BACKLOG = 256


@dataclass(frozen=True)
class Settings:
    """What the server is told.

    :param control: port that always answers: the control, and every region of the account.
    :param regions: region to the port of its endpoint.
    :param edge: port at which people use the clinic, by its names.
    :param fronts: region to the port at which its load balancer answers by itself.
    :param calls: file for the record of calls.
    """

    control: int
    regions: dict[str, int]
    edge: int
    fronts: dict[str, int]
    calls: str

    @property
    def ports(self) -> dict[str, int]:
        """All of them, as the state of a lab names them."""
        named = {"aws": self.regions, "front": self.fronts}
        each = {f"{kind}-{region}": port for kind, found in named.items() for region, port in found.items()}
        return {"control": self.control, "edge": self.edge, **each}


class Keeper:
    """Runs in the foreground, and ends with the process that started it only when it is told to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: int | None = None
        self._ended = False

    def run(self) -> int:
        """Serve until a signal; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        self._prepare_moto()
        from codeblue.lab.aws.server.service import be_filled

        listener = _listen(self._settings.control)
        facts = be_filled(self._settings, listener)
        while not self._ended:
            self._worker = os.fork()
            if self._worker == 0:
                self._work(listener, facts)
            status = self._wait()
            if status != _RESET_STATUS and not self._ended:
                print(f"the worker ended with {status}", file=sys.stderr, flush=True)
                return 1
        return 0

    def _prepare_moto(self) -> None:
        from codeblue.lab.aws.server.behaviour import install

        # moto fills up what a request leaves out from the environment, where a person's own account may stand.
        for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL"):
            os.environ.pop(name, None)
        os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "lab"
        install()

    def _work(self, listener: socket.socket, facts: dict[str, t.Any]) -> t.NoReturn:
        """Be the worker."""
        from codeblue.lab.aws.server.service import serve

        # Nothing of the lab outlives its keeper, however that one ends.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = 1
        try:
            status = _RESET_STATUS if serve(self._settings, listener, facts) == "reset" else 0
        finally:
            # What ends it otherwise is told before nobody can tell any more.
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            sys.stderr.flush()
            # Threads that still answer end with it.
            os._exit(status)

    def _wait(self) -> int:
        while True:
            try:
                _pid, status = os.waitpid(t.cast(int, self._worker), 0)
            except InterruptedError:
                continue
            self._worker = None
            return os.waitstatus_to_exitcode(status)

    def _end(self, _number: int, _frame: object) -> None:
        self._ended = True
        if self._worker:
            os.kill(self._worker, signal.SIGTERM)
        else:
            os._exit(0)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(_BACKLOG)
    return listener
