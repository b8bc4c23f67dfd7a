"""Whether a service gives patients' data to who has not said who they are.

Reads access logs for what was given to nobody in particular, remembers these pages, and asks each instance for them.
"""

from __future__ import annotations

import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Asked in any case.
_KNOWN = ("/records/1",)
_MOST_PAGES = 5
_TIMEOUT_SECONDS = 1.2
_seen: dict[str, set[str]] = {}
# Path and inode -> how far it was read.
_read: dict[tuple[str, int], int] = {}


def look(service: str, config: dict[str, Any]) -> str:
    pages = _seen.setdefault(service, set(_KNOWN))
    instances = config["instances"].get(service, [])
    for instance in instances:
        for page in _given_to_nobody(instance["access_log"]):
            if len(pages) < _MOST_PAGES:
                pages.add(page)
    ports = [config["fronts"][service], *(instance["port"] for instance in instances)]
    asked = [(port, page) for page in sorted(pages) for port in ports]
    # Side by side: an instance that is slow must not make the answer late.
    with ThreadPoolExecutor(len(asked)) as executor:
        answers = list(executor.map(lambda each: _is_given(*each), asked))
    open_pages = {page for (_port, page), given in zip(asked, answers, strict=True) if given}
    return f"{len(open_pages)} pages with patients' data are public" if open_pages else ""


def _given_to_nobody(path: str) -> set[str]:
    try:
        with open(path, "rb") as stream:
            key = (path, os.fstat(stream.fileno()).st_ino)
            stream.seek(_read.get(key, 0))
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            _read[key] = _read.get(key, 0) + whole
    except FileNotFoundError:
        return set()
    found = set()
    # Cheap before dear: nearly every line names somebody.
    for line in content[:whole].splitlines():
        if b'"subject": ""' in line and b'"patients": []' not in line:
            found.add(str(json.loads(line)["path"]))
    return found


def _is_given(port: int, page: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        # Silence gives nothing away.
        return False
    finally:
        connection.close()
