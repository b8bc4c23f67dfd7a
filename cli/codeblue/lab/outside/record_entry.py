"""Whether a nurse can enter a record and gets a triage that does no harm, while the AI works and while it does not.

A suggestion may be `urgent`, which is right for this note, or `manual`, which leaves it to a person. It must come soon.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NOTE = "severe chest pain since this morning"
_HARMLESS = ("urgent", "manual")
# Shorter than the time that records waits for a suggestion: a clinic that has to wait for it each time fails here.
_LONGEST_SECONDS = 0.7
_TIMEOUT_SECONDS = 2.0


class _RecordEntry:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._ports = settings["ports"]
        self._password = Path(settings["account_password_file"]).read_text(encoding="utf-8").strip()
        self._token = ""
        self._lock = threading.Lock()

    def __call__(self) -> str:
        # The session is part of what a nurse has, not of what is measured.
        token = self._session()
        started = time.monotonic()
        body = {"patient_ref": "probe", "note": _NOTE}
        status, answer = self._post("records", "/records", body, token)
        seconds = time.monotonic() - started
        if status != 201:
            if status == 401:
                self._token = ""
            return str(status)
        if answer.get("triage") not in _HARMLESS:
            return "a harmful triage"
        return "" if seconds <= _LONGEST_SECONDS else f"after {seconds:.1f} s"

    def _session(self) -> str:
        with self._lock:
            if not self._token:
                account = {"username": "probe", "password": self._password}
                _status, answer = self._post("auth", "/login", account, "")
                self._token = str(answer.get("token") or "")
            return self._token

    def _post(self, service: str, path: str, body: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[service], timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            answer = json.loads(content) if response.status in (200, 201) else {}
            return response.status, answer if isinstance(answer, dict) else {}
        finally:
            connection.close()


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    return _RecordEntry(settings)
