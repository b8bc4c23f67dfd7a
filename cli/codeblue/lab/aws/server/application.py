"""What answers requests to the lab's account: moto, behind what AWS has in front of its services.

In their order: a region that is away, faults that were set, identities that are refused, what moto does not know, moto.
Each call is recorded.
"""

from __future__ import annotations

import contextlib
import io
import socket
import time
import typing as t

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from codeblue.lab.aws.server.calls import Call, CallRecord
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.operations import Operation, read_operation
from codeblue.lab.aws.server.refusals import Answer, error_code, refusal

_MOST_BYTES = 64_000_000
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}
# They answer from every region, and the account's own are in none.
GLOBAL_SERVICES = frozenset({"iam", "route53", "cloudfront", "sts"})

Environ = dict[str, t.Any]
Start = t.Callable[..., t.Any]
#: Answers a call in moto's place; None for moto's answer.
Answerer = t.Callable[[Operation, Environ, bytes], Answer | None]


class AccountApplication:
    """The account as a WSGI application.

    :param ports: port to the region of which it is the endpoint.
    :param gatekeepers: refuse a call, or let it pass with None; in their order.
    :param answerers: by service and action.
    """

    def __init__(
        self,
        record: CallRecord,
        conditions: Conditions,
        ports: t.Mapping[str, str],
        gatekeepers: t.Sequence[Answerer] = (),
        answerers: t.Mapping[tuple[str, str], Answerer] | None = None,
    ) -> None:
        self._record = record
        self._conditions = conditions
        self._ports = ports
        self._gatekeepers = gatekeepers
        self._answerers = answerers or {}
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start_response: Start) -> t.Iterable[bytes]:
        came, began = time.time(), time.monotonic()
        body = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), _MOST_BYTES))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = read_operation(environ, body)
        # Digested before moto reads, and changes, what it was given.
        digest = self._record.digest(environ, body)
        answer: Answer | None = (500, [], b"")
        try:
            answer = self._answer(operation, environ, body)
        finally:
            status, headers, content = answer or (0, [], b"")
            agent = environ.get("HTTP_USER_AGENT", "").split(" ")
            error = error_code(status, headers, content)
            source = environ.get("HTTP_X_CODEBLUE_SOURCE") or environ.get("REMOTE_ADDR", "")
            spent = time.monotonic() - began
            self._record.add(Call(came, spent, operation, status, error, f"{agent[0]} {agent[-1]}", source, digest))
        if answer is None:
            _hang_up(environ)
        if not any(name.lower() == "content-length" for name, _value in headers):
            # Else the server would end the connection to say that the answer ends.
            headers = [*headers, ("Content-Length", str(len(content)))]
        start_response(f"{status} {_REASONS.get(status, 'Answer')}", headers)
        return [content]

    def _answer(self, operation: Operation, environ: Environ, body: bytes) -> Answer | None:
        """None when nobody answers."""
        where = self._ports.get(environ.get("SERVER_PORT", ""), operation.region)
        if where in self._conditions.closed_regions and operation.service not in GLOBAL_SERVICES:
            return None
        fault = self._conditions.interference(operation)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.error:
                return refusal(operation.service, environ, fault.status, fault.error, "set by the lab")
        with self._conditions.world:
            answer = self._granted(operation, environ, body)
        return None if fault is not None and fault.lost else answer

    def _granted(self, operation: Operation, environ: Environ, body: bytes) -> Answer:
        for keeper in self._gatekeepers:
            refused = keeper(operation, environ, body)
            if refused is not None:
                return refused
        answerer = self._answerers.get((operation.service, operation.action))
        answer = answerer(operation, environ, body) if answerer is not None else None
        try:
            return answer or self._ask_moto(environ)
        except NotImplementedError as error:
            return refusal(operation.service, environ, 501, "NotImplemented", f"moto: {error}")

    def _ask_moto(self, environ: Environ) -> Answer:
        found: list[t.Any] = []

        def start(status: str, headers: list[tuple[str, str]], _error: t.Any = None) -> t.Callable[[bytes], None]:
            found[:] = [int(status.split(" ")[0]), headers]
            return lambda data: None

        chunks = self._moto(environ, start)
        try:
            content = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return found[0], found[1], content


def _hang_up(environ: Environ) -> t.NoReturn:
    """End the connection without an answer, as a host that is gone does."""
    connection = environ.get("werkzeug.socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("no answer is given")
