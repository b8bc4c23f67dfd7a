"""How long a person waits for the clinic: what the probes for latency share. It is no probe itself."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 3.0
# A person who waits does not press the button ten times a second, and a probe must not become the load.
_MOST_AT_ONCE = 2


class Clinic:
    """A person's way into the clinic: logs in once, and again when the session has ended.

    :param settings: those of the prober.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._ports = settings["ports"]
        self._password = Path(settings["account_password_file"]).read_text(encoding="utf-8").strip()
        self._token = ""
        self._lock = threading.Lock()

    def login(self) -> int:
        """One login; the status of its answer."""
        account = {"username": "probe", "password": self._password}
        status, answer = self.ask("auth", "POST", "/login", account)
        self._token = str(answer.get("token") or "")
        return status

    def session(self) -> None:
        """Have a session; not part of what is measured."""
        with self._lock:
            if not self._token:
                self.login()

    def ask(self, service: str, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[service], timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status == 401:
                self._token = ""
            return response.status, json.loads(content) if response.status == 200 else {}
        finally:
            connection.close()


class Timed:
    """A question that has to be answered within a limit.

    While two are under way the last verdict stands, unless one of them has been waiting for longer than the limit.

    :param ask: returns the status; 200 is right.
    :param limit: seconds, ten times and more of what is normal.
    """

    def __init__(self, clinic: Clinic, ask: Any, limit: float) -> None:
        self._clinic = clinic
        self._ask = ask
        self._limit = limit
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._verdict = ""
        self._under_way: set[float] = set()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        if not self._free.acquire(blocking=False):
            with self._lock:
                oldest = min(self._under_way, default=time.monotonic())
            return "still waiting" if time.monotonic() - oldest > self._limit else self._verdict
        try:
            self._verdict = self._look()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._verdict = type(error).__name__
        finally:
            self._free.release()
        return self._verdict

    def _look(self) -> str:
        self._clinic.session()
        started = time.monotonic()
        with self._lock:
            self._under_way.add(started)
        try:
            status = self._ask()
        finally:
            with self._lock:
                self._under_way.discard(started)
        seconds = time.monotonic() - started
        if status != 200:
            return str(status)
        return "" if seconds <= self._limit else f"after {seconds:.2f} s"
