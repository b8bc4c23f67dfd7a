"""A proxy in front of a real API server that answers badly when it is told to; everything else passes."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

import urllib3

_HOP = ("transfer-encoding", "connection", "content-length")


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of the server.

    :param status: that is answered; 0 to end the connection without an answer.
    :param passes: the server gets the request all the same, only its answer is lost.
    :param then: called before the answer.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    passes: bool = False
    then: Callable[[], None] | None = None


class FaultyProxy:
    """Listens on loopback without TLS; accounts come by bearer token.

    :param upstream: address of the API server.
    :param authority: file with the certificate that it is known by.
    """

    def __init__(self, upstream: str, authority: str) -> None:
        self._upstream = upstream
        self._pool = urllib3.PoolManager(ca_certs=authority, retries=False)
        self._faults: dict[str, list[Fault]] = {}
        self.seen: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_words: object) -> None:
                """Say nothing; `seen` has it."""

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                proxy.answer(self)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next(self, method: str, *faults: Fault) -> None:
        """The next requests of a method meet these, one each."""
        self._faults.setdefault(method, []).extend(faults)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        self.seen.append(handler.command)
        waiting = self._faults.get(handler.command) or []
        fault = waiting.pop(0) if waiting else None
        if fault is None or fault.passes:
            headers = {key: value for key, value in handler.headers.items() if key.lower() not in (*_HOP, "host")}
            found = self._pool.request(handler.command, self._upstream + handler.path, body=body, headers=headers)
        if fault is None:
            self._send(handler, found.status, dict(found.headers), found.data)
            return
        if fault.then is not None:
            fault.then()
        if not fault.status:
            handler.close_connection = True
            return
        self._send(handler, fault.status, fault.headers, json.dumps({"kind": "Status", "message": "injected"}).encode())

    @staticmethod
    def _send(handler: t.Any, status: int, headers: dict[str, str], body: bytes) -> None:
        handler.send_response(status)
        for key, value in headers.items():
            if key.lower() not in _HOP:
                handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
