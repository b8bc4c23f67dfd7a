# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an address as a user does: `lookup('clinic_http', url)` gives `status`, `seconds` and `body`.

Status 0 means that nobody answered. Only for the scenarios: nothing of the collection takes part.
"""

from __future__ import annotations

import http.client
import json
import time
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.plugins.lookup import LookupBase

_SECONDS = 5.0


class LookupModule(LookupBase):
    """One answer for each URL; with `json` the request is a POST, with `key_file` one that carries an API key."""

    def run(self, terms: list[str], variables: t.Any = None, **options: t.Any) -> list[dict[str, t.Any]]:
        headers = {"Content-Type": "application/json"}
        if "key_file" in options:
            headers["X-Api-Key"] = Path(str(options["key_file"])).read_text(encoding="utf-8").strip()
        return [_ask(str(term), options.get("json"), headers) for term in terms]


def _ask(url: str, body: t.Any, headers: dict[str, str]) -> dict[str, t.Any]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=_SECONDS)
    started = time.monotonic()
    try:
        connection.request(
            "POST" if body is not None else "GET",
            place.path or "/",
            None if body is None else json.dumps(body, default=str),
            headers,
        )
        response = connection.getresponse()
        content = response.read(65536).decode(errors="replace")
        return {"status": response.status, "seconds": time.monotonic() - started, "body": content}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "seconds": time.monotonic() - started, "body": type(error).__name__}
    finally:
        connection.close()
