"""Asks every service from outside ten times a second and writes numbered sentinels as often, in its own process.

The process reads its settings from the first line of its standard input and ends when that is closed, so it
never outlives the one who started it. It appends one JSON line for each probe to a file.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.measurement import Measurement, Outage, Sample, analyse, count_lost, find_outages, lost_sentinels
from codeblue.lab.outside import Probe, make_probe

if TYPE_CHECKING:
    import psycopg

    from codeblue.lab.lab import Lab

__all__ = [
    "Measurement",
    "Outage",
    "Prober",
    "Sample",
    "analyse",
    "count_lost",
    "find_outages",
    "lost_sentinels",
]

PERIOD_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 1.0
# A commit takes milliseconds; what takes longer counts as unacknowledged and is tried on a new connection.
WRITE_TIMEOUT_SECONDS = 0.5
# As many as can be started while the first one waits for its timeout.
_MOST_IN_FLIGHT = 12


class Prober:
    """A prober of one lab.

    :param output: the file of samples; it is replaced.
    :param longest_seconds: after this time it ends by itself, so that the file stays small.
    :param watches: further questions from outside, see `outside/`; their names are their endpoints.
    """

    def __init__(self, lab: Lab, output: Path, longest_seconds: float = 900.0, watches: Sequence[str] = ()) -> None:
        self._lab = lab
        self._watches = tuple(watches)
        self.output = output
        self._longest_seconds = longest_seconds
        self._process: subprocess.Popen[str] | None = None

    def start(self, seconds: float = 10.0) -> None:
        """Start it; returns when every endpoint was asked once.

        :raises CodeblueError: it does not get going within `seconds`.
        """
        self.output.write_text("", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "codeblue.lab.prober"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._settings()) + "\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + seconds
        while {sample.endpoint for sample in self.samples()} < {*_ENDPOINTS, *self._watches}:
            if self._process.poll() is not None or time.monotonic() >= deadline:
                self.stop()
                raise CodeblueError(f"the prober did not start within {seconds:g} s", "see what it said above")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it; probes that are under way are still written down."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            # It may have ended by itself.
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5.0)
        self._process = None

    def samples(self) -> list[Sample]:
        """All samples so far, in the order in which they ended."""
        text = self.output.read_text(encoding="utf-8")
        # While it runs, the last line may be half written.
        return [Sample.from_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _settings(self) -> dict[str, Any]:
        from codeblue.lab.gateway import FRONTS, LOGIN_PORT_NAME

        parts = self._lab.parts
        fronts = {front: parts.gateway.front_port(front) for front in FRONTS}
        return {
            "output": str(self.output.absolute()),
            "longest_seconds": self._longest_seconds,
            "root": str(parts.layout.root),
            "watches": list(self._watches),
            "ports": {**fronts, "login": parts.state.ports[LOGIN_PORT_NAME]},
            "authority_certificate": str(parts.layout.authority_certificate),
            "sentinel_password_file": str(parts.layout.secret("sentinel")),
            "account_password_file": str(parts.layout.secret("probe")),
            "ai_key_file": str(parts.layout.secret("monitoring_ai_key")),
        }


class _Recorder:
    """Appends samples; a line is one write, so lines of several threads never mix."""

    def __init__(self, output: str) -> None:
        self._descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def record(self, sample: Sample) -> None:
        os.write(self._descriptor, (sample.to_json() + "\n").encode())


class _Http:
    """Uses the services as a person would: logs in, reads a record, asks for a triage."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._ports = settings["ports"]
        self._password = Path(settings["account_password_file"]).read_text(encoding="utf-8").strip()
        self._ai_key = Path(settings["ai_key_file"]).read_text(encoding="utf-8").strip()
        self._token = ""

    def auth(self) -> str:
        status, answer = self._ask("auth", "POST", "/login", {"username": "probe", "password": self._password})
        if status == 200 and isinstance(answer.get("token"), str):
            self._token = answer["token"]
            return ""
        return str(status)

    def records(self) -> str:
        status, answer = self._ask("records", "GET", "/records/1", None)
        return "" if status == 200 and answer.get("id") == 1 else str(status)

    def ai(self) -> str:
        status, answer = self._ask("ai", "POST", "/predict", {"note": "severe chest pain"})
        return "" if status == 200 and answer.get("triage") == "urgent" else str(status)

    def _ask(self, service: str, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[service], timeout=PROBE_TIMEOUT_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
            if service == "ai":
                headers["X-Api-Key"] = self._ai_key
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
            answer = json.loads(content) if response.status == 200 else {}
            return response.status, answer if isinstance(answer, dict) else {}
        finally:
            connection.close()


class _Sentinels:
    """Writes numbers to the database through the gateway, on one connection for as long as it lasts."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._port = settings["ports"]["patient_db"]
        self._password = Path(settings["sentinel_password_file"]).read_text(encoding="utf-8").strip()
        self._connection: psycopg.Connection | None = None
        # Never used twice, not even by a later prober after some were lost.
        self._next = time.time_ns()

    def write(self) -> tuple[str, int | None]:
        """Returns an empty text when the write was acknowledged, else the class of the error; and the number."""
        import psycopg

        number: int | None = None
        try:
            if self._connection is None:
                self._connection = self._connect()
            with _deadline(self._connection, WRITE_TIMEOUT_SECONDS):
                self._next += 1
                number = self._next
                self._connection.execute("insert into codeblue_sentinel (n) values (%s)", (number,))
            return "", number
        except (psycopg.Error, OSError) as error:
            self.close()
            return getattr(error, "sqlstate", None) or type(error).__name__, number

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            dbname="clinic",
            user="sentinel",
            password=self._password,
            application_name="prober",
            connect_timeout=2,
            gssencmode="disable",
            sslmode="disable",
            autocommit=True,
        )


_ENDPOINTS = ("auth", "records", "ai", "patient_db")


@contextlib.contextmanager
def _deadline(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Break the connection when the server hangs; a timeout that the server keeps would hang with it."""
    descriptor = os.dup(connection.fileno())

    def break_off() -> None:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate, contextlib.suppress(OSError):
            # Not connected any more: then there is nothing to break.
            duplicate.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(descriptor)


def _ticks(stop: threading.Event) -> Iterator[None]:
    """One tick each period; those that were missed are left out, not made up for."""
    following = time.monotonic()
    while not stop.is_set():
        yield
        following = max(following + PERIOD_SECONDS, time.monotonic() - PERIOD_SECONDS)
        stop.wait(max(0.0, following - time.monotonic()))


def _probe(endpoint: str, ask: Probe, recorder: _Recorder) -> None:
    started, wall = time.monotonic(), time.time()
    try:
        problem = ask()
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = type(error).__name__
    recorder.record(Sample(endpoint, started, time.monotonic(), wall, not problem, problem))


def _run(endpoint: str, ask: Probe, recorder: _Recorder, stop: threading.Event) -> None:
    free = threading.BoundedSemaphore(_MOST_IN_FLIGHT)

    def probe() -> None:
        try:
            _probe(endpoint, ask, recorder)
        finally:
            free.release()

    with ThreadPoolExecutor(_MOST_IN_FLIGHT) as executor:
        for _ in _ticks(stop):
            if free.acquire(blocking=False):
                executor.submit(probe)


def _run_sentinels(sentinels: _Sentinels, recorder: _Recorder, stop: threading.Event) -> None:
    for _ in _ticks(stop):
        started, wall = time.monotonic(), time.time()
        problem, number = sentinels.write()
        recorder.record(Sample("patient_db", started, time.monotonic(), wall, not problem, problem, number))
    sentinels.close()


def main() -> None:
    """The prober's process."""
    settings = json.loads(sys.stdin.readline())
    recorder = _Recorder(settings["output"])
    client, sentinels = _Http(settings), _Sentinels(settings)
    stop = threading.Event()
    # The first token, so that the first probe of records has one.
    _probe("auth", client.auth, recorder)
    questions: dict[str, Probe] = {"auth": client.auth, "records": client.records, "ai": client.ai}
    questions |= {name: make_probe(name, settings) for name in settings["watches"]}
    threads = [
        threading.Thread(target=_run, args=(endpoint, ask, recorder, stop)) for endpoint, ask in questions.items()
    ]
    threads.append(threading.Thread(target=_run_sentinels, args=(sentinels, recorder, stop)))
    for thread in threads:
        thread.start()
    timer = threading.Timer(settings["longest_seconds"], stop.set)
    timer.daemon = True
    timer.start()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    for thread in threads:
        thread.join()


def _stop_at_end_of_input(stop: threading.Event) -> None:
    while sys.stdin.readline():
        pass
    stop.set()


if __name__ == "__main__":
    main()
