"""Simulated: what a kubelet answers for the logs of its containers; asked by the real API server, over TLS."""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from certificates import Authority

MARK = "logs of container"


class SimulatedKubelet:
    """Answers on loopback while it runs.

    :param directory: private, for its certificate.
    """

    def __init__(self, directory: Path) -> None:
        certificate, key = Authority(directory).issue("kubelet", "kubelet", server=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="simulated-kubelet", daemon=True)
        self._thread.start()

    @property
    def status(self) -> dict[str, object]:
        """What the node says of where to ask."""
        return {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        _root, _logs, _namespace, pod, container = parts.path.split("/")
        which = "previous" if query.get("previous") else "current"
        body = "".join(f"{number} {MARK} {container} of {pod}, {which}\n" for number in range(200)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing is printed."""
