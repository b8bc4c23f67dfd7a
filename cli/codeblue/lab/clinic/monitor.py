"""monitor: the site's monitoring. It looks at the machines from beside and answers what is dangerous.

GET /signals/<name>/<service> answers 200 while a signal is clear and 503 while it is not. A signal is a file
`signal_<name>.py` with `look(service, config)`, which returns an empty text or a few words, never patient data.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_OWN_FOLDER = Path(__file__).parent


class Signals:
    """All signals, each looked at by one caller at a time."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._looks: dict[str, Any] = {
            path.stem.removeprefix("signal_"): importlib.import_module(path.stem).look
            for path in sorted(_OWN_FOLDER.glob("signal_*.py"))
        }
        # One each: a signal that takes its time must not make the others late.
        self._locks = {name: threading.Lock() for name in self._looks}

    def answer(self, name: str, service: str) -> tuple[int, dict[str, Any]]:
        look = self._looks.get(name)
        if look is None:
            return 404, {"error": "no such signal"}
        with self._locks[name]:
            detail = str(look(service, self._config))
        return (503 if detail else 200), {"clear": not detail, "detail": detail[:200]}


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    signals = Signals(config)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        timeout = 15

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if len(parts) == 3 and parts[0] == "signals":
                status, value = signals.answer(parts[1], parts[2])
            else:
                status, value = (200, {"status": "alive"}) if parts == ["health"] else (404, {"error": "no such path"})
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Checks alone ask dozens of times a second."""

    server = ThreadingHTTPServer((config["host"], config["port"]), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
