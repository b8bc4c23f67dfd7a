"""Whether known records read as they were written, asked through the gateway as a person who has logged in."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codeblue.lab.patient_records import known_record

_TIMEOUT_SECONDS = 1.0
# One that is routine and one that is urgent.
_ASKED = (1, 44)


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    ports = settings["ports"]
    password = Path(settings["account_password_file"]).read_text(encoding="utf-8").strip()
    token = ""

    def request(service: str, method: str, path: str, body: dict[str, str] | None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", ports[service], timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
            answer = json.loads(content) if response.status == 200 else {}
            return response.status, answer if isinstance(answer, dict) else {}
        finally:
            connection.close()

    def ask() -> str:
        nonlocal token
        for number in _ASKED:
            status, answer = request("records", "GET", f"/records/{number}", None)
            if status == 401:
                status, login = request("auth", "POST", "/login", {"username": "probe", "password": password})
                token = str(login.get("token", ""))
                status, answer = request("records", "GET", f"/records/{number}", None)
            if status != 200:
                return str(status)
            wrong = [name for name, value in known_record(number).items() if answer.get(name) != value]
            if wrong:
                return f"record {number}: {', '.join(wrong)} altered"
        return ""

    return ask
