"""Whether the stolen token is refused, asked from an address that nothing blocks: the token itself must fail."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 1.0


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    token_file = Path(settings["root"]) / "intrusion" / "token"
    port = settings["ports"]["records"]

    def ask() -> str:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            # Nothing was stolen.
            return ""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/records/1", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            return "the stolen token is accepted" if response.status == 200 else ""
        except (OSError, http.client.HTTPException):
            # Whoever gets no answer gets no record; whether the service works is another probe's question.
            return ""
        finally:
            connection.close()

    return ask
