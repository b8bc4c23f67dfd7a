"""An AWS account that moto simulates in this process, and a record of what it was asked."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import typing as t
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from werkzeug.serving import make_server

REGION = "us-east-1"
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_REFUSAL = (
    "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors>"
    "<Error><Code>{code}</Code><Message>no</Message></Error><RequestID>x</RequestID></Response>"
)
KEYS = {"aws_access_key_id": "AKIAEXAMPLEEXAMPLE00", "aws_secret_access_key": "example"}


@dataclass(frozen=True)
class Asked:
    """One request: an operation as `update_service`, or method and path where the service is one of REST."""

    name: str
    body: str

    @property
    def changes(self) -> bool:
        if "/" in self.name:
            return self.name.split(" ")[0] not in ("GET", "HEAD")
        return is_change(self.name)


class SimulatedAccount:
    """The account, its address, and what it was asked."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.asked: list[Asked] = []
        self.lost = ("", 0)
        self.then: Callable[[], None] | None = None
        self._answers = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._record, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.lost = ("", 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> SimulatedAccount:
        # A service of one task has it at once.
        os.environ["MOTO_ECS_SERVICE_RUNNING"] = "1"
        # Its own images and their snapshots take a minute on a busy machine.
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        self._thread.start()
        self.reset()
        return self

    def __exit__(self, *_exc: object) -> None:
        del os.environ["MOTO_ECS_SERVICE_RUNNING"], os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"]
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Forget all that is in it."""
        urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"").close()
        self.asked.clear()
        self.lost = ("", 0)
        self.then = None

    def kill_after(self, name: str, kill: Callable[[], None]) -> None:
        """Carry an operation out once, and call this in place of answering."""
        self.lost, self.then = (name, 500), kill

    def lose_answers_of(self, name: str, status: int = 403) -> None:
        """Carry an operation out and answer as if it had been refused, until told otherwise.

        :param status: 500 for trouble of the service, which is lost once.
        """
        self.lost = (name, status)

    def client(self, service: str, region: str = REGION) -> t.Any:
        return boto3.client(service, endpoint_url=self.url, region_name=region, **KEYS)

    @property
    def changes(self) -> list[str]:
        """What was asked for that changes something."""
        return [each.name for each in self.asked if each.changes]

    def _record(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = Asked(_name(environ, body), body.decode("utf-8", "replace"))
        self.asked.append(asked)
        name, status = self.lost
        if asked.name != name:
            return t.cast("Iterable[bytes]", self._answers(environ, start))
        # Carried out to its end; what moto says of it goes nowhere.
        list(self._answers(environ, lambda *_answer: lambda _data: None))
        if status >= 500:
            self.lost = ("", 0)
        if self.then is not None:
            self.then()
        code = "InternalFailure" if status >= 500 else "AccessDenied"
        is_json = "HTTP_X_AMZ_TARGET" in environ
        said = json.dumps({"__type": code}) if is_json else _REFUSAL.format(code=code)
        start(f"{status} lost", [("Content-Length", str(len(said)))])
        return [said.encode()]


def _name(environ: WSGIEnvironment, body: bytes) -> str:
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return _snake(str(target).rpartition(".")[2])
    form = urllib.parse.parse_qs(body.decode("utf-8", "replace"))
    if "Action" in form:
        return _snake(form["Action"][0])
    query = environ.get("QUERY_STRING") or ""
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{f'?{query}' if query else ''}"


def _snake(name: str) -> str:
    return _CAPITAL.sub("_", name).lower()
