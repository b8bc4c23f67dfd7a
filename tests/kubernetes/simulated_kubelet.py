"""Simulated: what a kubelet answers for the logs of its containers; asked by the real API server, over TLS.

What a container has written follows from the tag of its image:

- `…:phi`: every tenth line holds a patient, who does not exist
- `…:public`: the access log has answers with patients to callers whom nobody asked who they are
- anything else: nothing about anybody, and an access by somebody who logged in
"""

from __future__ import annotations

import json
import ssl
import threading
import typing as t
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from certificates import Authority

MARK = "logs of container"
_LINES = 100
_WHEN = "2026-01-02T03:04:05.000000006Z"


class SimulatedKubelet:
    """Answers on loopback while it runs.

    :param directory: private, for its certificate.
    :param tag_of: the tag of a pod's image, by namespace and name.
    """

    def __init__(self, directory: Path, tag_of: t.Callable[[str, str], str]) -> None:
        certificate, key = Authority(directory).issue("kubelet", "kubelet", server=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        handler = type("Handler", (_Handler,), {"tag_of": staticmethod(tag_of)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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


def lines_of(tag: str, pod: str, container: str, which: str) -> list[str]:
    """What a container has written."""
    access: dict[str, t.Any] = {
        "time": _WHEN,
        "method": "GET",
        "path": "/records/7",
        "status": 200,
        "client": "10.1.2.3",
    }
    found = [f"{number} {MARK} {container} of {pod}, {which}" for number in range(_LINES)]
    found.append(json.dumps({**access, "subject": "nurse-1", "patients": ["PT-000001"]}))
    if tag == "phi":
        for number in range(0, _LINES, 10):
            patient = {"patient_ref": f"PT-{number:06d}", "date_of_birth": "1950-01-31", "diagnosis": "made up"}
            found[number] = json.dumps({"message": "record opened", **patient})
    if tag == "public":
        found += [
            json.dumps({**access, "path": "/patients", "client": "203.0.113.9", "patients": [f"PT-{number:06d}"]})
            for number in range(5)
        ]
    return found


class _Handler(BaseHTTPRequestHandler):
    tag_of: t.ClassVar[t.Callable[[str, str], str]]

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        _root, _logs, namespace, pod, container = parts.path.split("/")
        which = "previous" if query.get("previous") else "current"
        # As asked for with times, and cut where a kubelet cuts.
        lines = [f"{_WHEN} {line}\n" for line in lines_of(self.tag_of(namespace, pod), pod, container, which)]
        last = int(query.get("tailLines", [str(len(lines))])[0])
        most = int(query.get("limitBytes", [str(1 << 30)])[0])
        body = "".join(lines[-last:]).encode()[:most]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing is printed."""
