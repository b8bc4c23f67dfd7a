"""People can log in by the secured way, whose certificate is valid."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SECONDS = 1.0


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """A login over TLS that trusts the clinic's authority only."""
    context = ssl.create_default_context(cafile=settings["authority_certificate"])
    password = Path(settings["account_password_file"]).read_text(encoding="utf-8").strip()
    body = json.dumps({"username": "probe", "password": password})
    port = settings["ports"]["login"]

    def ask() -> str:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=context)
        try:
            connection.request("POST", "/login", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            return "" if response.status == 200 and "token" in answer else str(response.status)
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        finally:
            connection.close()

    return ask
