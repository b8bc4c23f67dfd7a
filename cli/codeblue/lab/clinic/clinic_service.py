"""What the clinic's services share: HTTP, JSON logs, flags, health, the database pool, an orderly end."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

LARGEST_BODY = 64 * 1024
VERSION = (Path(__file__).parent / "VERSION").read_text(encoding="ascii").strip()


class HttpError(Exception):
    """An answer other than success, with a text for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request, its body parsed.

    :param audit: what the handler says about it for the access log: `subject`, and `patients` in the answer.
    """

    body: dict[str, Any]
    parameters: tuple[str, ...]
    bearer: str | None
    api_key: str | None = None
    audit: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str, longest: int = 10_000) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise HttpError(400, f"{name} must be a text of 1 to {longest} characters")
        return value


Answer = tuple[int, dict[str, Any]]
Handler = Callable[[Request], Answer]
# Each dependency by name: a call that returns when it works and raises when it does not.
Dependencies = dict[str, Callable[[], None]]


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "version": VERSION,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Service:
    """A service: routes and dependencies, served until SIGTERM.

    :param config: the content of the configuration file named on the command line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        with open(sys.argv[1], encoding="utf-8") as stream:
            self.config: dict[str, Any] = json.load(stream)
        self.routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self.dependencies: Dependencies = {}
        self.log = self._make_log()
        self.access_log = self._make_access_log()

    def route(self, method: str, path: str, handler: Handler) -> None:
        self.routes.append((method, re.compile(path), handler))

    def flag(self, name: str) -> bool:
        """A feature flag, read anew for each request; a missing or broken file means that all is on."""
        return self._flag(name, True) is not False

    def flag_share(self, name: str) -> float:
        """How many of a hundred requests use a feature, read anew for each; all when nothing usable is said."""
        value = self._flag(name, 100)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool)
        return min(100.0, max(0.0, float(value))) if usable else 100.0

    def _flag(self, name: str, default: Any) -> Any:
        try:
            return json.loads(Path(self.config["flags_file"]).read_text(encoding="utf-8")).get(name, default)
        except (OSError, ValueError, AttributeError) as error:
            self.log.warning("flags file is unreadable", extra={"fields": {"error": str(error)}})
            return default

    def health(self, _request: Request) -> Answer:
        found: dict[str, str] = {}
        for name, check in self.dependencies.items():
            try:
                check()
                found[name] = "ok"
            except Exception as error:
                self.log.exception("a dependency fails", extra={"fields": {"dependency": name}})
                found[name] = type(error).__name__
        healthy = all(value == "ok" for value in found.values())
        return (200 if healthy else 503), {
            "status": "ok" if healthy else "failing",
            "service": self.name,
            "version": VERSION,
            "dependencies": found,
        }

    def alive(self, _request: Request) -> Answer:
        return 200, {"status": "alive", "service": self.name, "version": VERSION}

    def answer(self, method: str, path: str, body: bytes, headers: Mapping[str, str], client: str = "") -> Answer:
        audit: dict[str, Any] = {}
        status, value = self._handled(method, path, body, headers, audit)
        if self.access_log is not None and not path.startswith("/health"):
            line = {"time": _now(), "subject": "", "client": client, "method": method, "path": path, "status": status}
            self.access_log.info(json.dumps({**line, "patients": [], **audit}))
        return status, value

    def _handled(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], audit: dict[str, Any]
    ) -> Answer:
        authorization = headers.get("Authorization")
        for route_method, pattern, handler in self.routes:
            match = pattern.fullmatch(path)
            if match is None or route_method != method:
                continue
            try:
                if self._flag("maintenance", False) is True and path != "/health/live":
                    raise HttpError(503, "closed for maintenance")
                parsed = json.loads(body) if body else {}
                if not isinstance(parsed, dict):
                    raise HttpError(400, "the body must be a JSON object")
                bearer = authorization.removeprefix("Bearer ") if authorization else None
                return handler(Request(parsed, match.groups(), bearer, headers.get("X-Api-Key"), audit))
            except HttpError as error:
                return error.status, {"error": str(error)}
            except json.JSONDecodeError:
                return 400, {"error": "the body is not JSON"}
            except Exception as error:
                # The last line of defence: the caller learns that it failed, the log why.
                self.log.exception("request failed", extra={"fields": {"path": path}})
                unavailable = type(error).__name__ in ("PoolTimeout", "OperationalError", "TooManyRequests")
                return (503 if unavailable else 500), {"error": type(error).__name__}
        return 404, {"error": "no such path"}

    def serve(self) -> None:
        self.route("GET", "/health/live", self.alive)
        self.route("GET", "/health", self.health)
        server = _Server((self.config["host"], self.config["port"]), _handler_for(self))
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
        self.log.info("serving", extra={"fields": {"port": self.config["port"], "pid": os.getpid()}})
        server.serve_forever(poll_interval=0.05)
        server.server_close()
        server.wait_idle(seconds=3.0)
        self.log.info("stopped")
        logging.shutdown()
        # Threads that wait for the next request of a kept connection would hold the process for seconds.
        os._exit(0)

    def _make_log(self) -> logging.Logger:
        handler = logging.handlers.RotatingFileHandler(
            self.config["log_file"], maxBytes=2_000_000, backupCount=1, encoding="utf-8"
        )
        handler.setFormatter(JsonFormatter())
        log = logging.getLogger(self.name)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        return log

    def _make_access_log(self) -> logging.Logger | None:
        """Who was given whose data. It names patients, so nobody but the service's own account may read it."""
        if "access_log" not in self.config:
            return None
        previous = os.umask(0o077)
        try:
            handler = logging.handlers.RotatingFileHandler(
                self.config["access_log"], maxBytes=20_000_000, backupCount=3, encoding="utf-8"
            )
        finally:
            os.umask(previous)
        log = logging.getLogger(f"{self.name}.access")
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        return log


def _now() -> str:
    moment = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.busy = 0
        self.idle = threading.Condition()
        super().__init__(address, handler)

    def wait_idle(self, seconds: float) -> None:
        with self.idle:
            self.idle.wait_for(lambda: self.busy == 0, timeout=seconds)


def _handler_for(service: Service) -> type[BaseHTTPRequestHandler]:
    class RequestHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        timeout = 15
        server: _Server

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            with self.server.idle:
                self.server.busy += 1
            try:
                length = int(self.headers.get("Content-Length") or 0)
                if length > LARGEST_BODY:
                    self.close_connection = True
                    status, value = 413, {"error": f"the body is larger than {LARGEST_BODY} bytes"}
                else:
                    body = self.rfile.read(length)
                    client = self.headers.get("X-Forwarded-For") or self.client_address[0]
                    # A mapping in all that is asked of it: names in any case, one value each.
                    headers = cast(Mapping[str, str], self.headers)
                    status, value = service.answer(self.command, self.path, body, headers, client)
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                self.close_connection = True
            finally:
                with self.server.idle:
                    self.server.busy -= 1
                    self.server.idle.notify_all()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Successful requests are not logged: monitoring alone makes dozens a second."""

        def log_error(self, format: str, *arguments: Any) -> None:
            service.log.warning(format % arguments)

    return RequestHandler


class Database:
    """A bounded pool of connections to the clinic's database, by way of the gateway.

    Connections are recycled after seconds, so that a new primary or a new password is used soon.
    """

    def __init__(self, config: dict[str, Any], log: logging.Logger) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
        from psycopg_pool import ConnectionPool

        password_file = Path(config["password_file"])

        class FileCredentialConnection(psycopg.Connection[Any]):
            """Reads the password when it connects, so that a rotated one is used from then on."""

            @classmethod
            def connect(cls, conninfo: str = "", **arguments: Any) -> Any:
                given = password_file.read_text(encoding="utf-8").strip()
                # A password alone, or user and password together: then a rotation can name another login.
                held = conninfo_to_dict(given) if given.startswith("user=") else {"password": given}
                return super().connect(conninfo, **{**arguments, **held})

        logging.getLogger("psycopg.pool").addHandler(log.handlers[0])
        self._pool = ConnectionPool(
            kwargs={
                "host": config["host"],
                "port": config["port"],
                "dbname": config["dbname"],
                "user": config["user"],
                "application_name": config["application_name"],
                "connect_timeout": 2,
                "options": "-c statement_timeout=1000",
                "autocommit": True,
            },
            connection_class=FileCredentialConnection,
            min_size=1,
            max_size=config["pool_size"],
            timeout=1.0,
            max_lifetime=5.0,
            max_idle=5.0,
            # Give up an attempt at once: the next request makes a new one, and a pool that waits longer and
            # longer between its own attempts would prolong every outage.
            reconnect_timeout=0.1,
            num_workers=2,
            open=False,
        )
        self._pool.open(wait=False)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        connection = self._working_connection(seconds=1.0)
        try:
            with _deadline(connection, 1.5):
                yield connection
        finally:
            self._pool.putconn(connection)

    def _working_connection(self, seconds: float) -> Any:
        """A connection that answers. The pool's own check pauses a whole second after the first stale one."""
        import psycopg

        give_up_at = time.monotonic() + seconds
        while True:
            connection = self._pool.getconn(timeout=max(0.01, give_up_at - time.monotonic()))
            try:
                self._check(connection)
                return connection
            except psycopg.OperationalError:
                # A broken one is thrown away when it is given back, and replaced.
                self._pool.putconn(connection)
                if time.monotonic() >= give_up_at:
                    raise

    @staticmethod
    def _check(connection: Any) -> None:
        with _deadline(connection, 0.5):
            connection.execute("")


@contextmanager
def _deadline(connection: Any, seconds: float) -> Iterator[None]:
    """Break the connection when a server that hangs does not answer in time; no server setting could help then."""
    descriptor = os.dup(connection.fileno())

    def break_off() -> None:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # It may be running just now and still need the descriptor.
        timer.join()
        os.close(descriptor)
