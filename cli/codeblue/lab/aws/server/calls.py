"""The record of all calls to the lab's account, one JSON line each: who asked for what, and how it ended.

Neither requests nor answers are kept. That two calls asked for the same thing is told by a digest with a key that
ends with the server.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
import typing as t
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from codeblue.lab.aws.server.operations import Operation

# Some eighty thousand calls; then it begins anew and the one before is kept.
_MOST_BYTES = 20_000_000
_REMEMBERED = 5000
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class Call:
    """One call.

    :param at: Unix seconds at which it came.
    :param seconds: until it was answered.
    :param status: of HTTP; 0 when no answer was given.
    :param error: as the service calls it; empty for none.
    :param agent: what the caller says of itself, its first and last word.
    :param source: the address that it came from.
    :param digest: the same for the same request.
    """

    at: float
    seconds: float
    operation: Operation
    status: int
    error: str
    agent: str
    source: str
    digest: str

    def as_line(self) -> dict[str, t.Any]:
        """As it is written down."""
        return {
            "at": round(self.at, 4),
            "seconds": round(self.seconds, 4),
            "service": self.operation.service,
            "action": self.operation.action,
            "region": self.operation.region,
            "changes": self.operation.changes,
            "status": self.status,
            "error": self.error,
            "key": self.operation.key,
            "agent": self.agent,
            "source": self.source,
            "digest": self.digest,
        }


class CallRecord:
    """Writes calls to a file, and remembers the last ones.

    :param path: is appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        #: The newest last.
        self.recent: deque[Call] = deque(maxlen=_REMEMBERED)

    def digest(self, environ: t.Mapping[str, t.Any], body: bytes) -> str:
        """The same for requests that ask for the same."""
        parts = (environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""))
        text = "\0".join((*parts, environ.get("HTTP_X_AMZ_TARGET", ""))).encode() + b"\0" + body
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]

    def add(self, call: Call) -> None:
        """Keep a call."""
        line = json.dumps(call.as_line(), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self.recent.append(call)
            # One write of a whole line: a reader never sees half of one.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line)
                full = os.fstat(descriptor).st_size > _MOST_BYTES
            finally:
                os.close(descriptor)
            if full:
                self._path.replace(self._path.with_suffix(".jsonl.1"))


def now() -> float:
    """Unix seconds."""
    return time.time()
