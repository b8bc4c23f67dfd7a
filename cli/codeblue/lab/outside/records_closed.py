"""Whether patients' data is refused to who has not said who they are, asked through the gateway."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any

_PAGES = ("/records/1", "/patients")
_TIMEOUT_SECONDS = 1.0


def make(settings: dict[str, Any]) -> Callable[[], str]:
    """See `codeblue.lab.outside`."""
    port = settings["ports"]["records"]

    def ask() -> str:
        for page in _PAGES:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
            try:
                connection.request("GET", page)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    return "given to nobody in particular"
            except TimeoutError:
                # Slow is not open; whether the service works is another probe's question.
                continue
            finally:
                connection.close()
        return ""

    return ask
