# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP and TCP checks over asyncio streams, with h11 for the protocol.

httpx is not used: it takes 100 ms to import and several times as long for a thousand requests, and these checks
stand between a person and the first recovery action.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import socket
import ssl
import threading
import typing as t
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import Check, HttpCheck, SessionCheck, TcpCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import SecretReference

# Actions import this at the top of their files, where a failing import would abort the whole play, past rescue.
# Whoever carries out checks raises it instead.
try:
    import h11

    MISSING: ImportError | None = None
except ImportError as error:
    MISSING = error

# How much of a body is searched and kept. A health answer is small; a download is not read to its end.
LARGEST_BODY = 1024 * 1024
_READ_SIZE = 64 * 1024


@dataclass(frozen=True)
class Finding:
    """What one check found. `error_class` is None when all is well; see `ERROR_CLASSES`."""

    error_class: str | None
    detail: str


class CheckError(Exception):
    """A check failed in a known way."""

    def __init__(self, error_class: str, detail: str) -> None:
        super().__init__(detail)
        self.finding = Finding(error_class, detail)


class Resolver:
    """Looks names up, each once. Lives as long as one event loop.

    `getaddrinfo` cannot be interrupted. In the loop's own thread pool a name server that does not answer would
    hold up the end of the loop, so it runs in a daemon thread that may be left behind.
    """

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, numeric ones as they are.

        :raises CheckError: the name cannot be resolved.
        """
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass  # a name
        if host not in self._pending:
            self._pending[host] = self._look_up(host)
        return await asyncio.shield(self._pending[host])

    def _look_up(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()
        # Whoever asked may be gone by the deadline; an error that nobody fetches is no news then.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

        def settle(found: list[str] | CheckError) -> None:
            if future.done():
                return
            if isinstance(found, CheckError):
                future.set_exception(found)
            else:
                future.set_result(found)

        def work() -> None:
            found: list[str] | CheckError
            try:
                answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
            except (OSError, UnicodeError) as error:
                found = CheckError(
                    "name_resolution", f"{host}: {getattr(error, 'strerror', None) or 'is no valid name'}"
                )
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(settle, found)
                except RuntimeError:
                    return  # the loop was closed in between, and with it everybody who waited

        threading.Thread(target=work, daemon=True, name=f"resolve {host}").start()
        return future


class HttpChecker:
    """Carries out HTTP and TCP checks within one event loop. Deadlines are the caller's."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    async def check_tcp(self, check: TcpCheck) -> Finding:
        async with self._connection(check.address, check.port, None):
            return Finding(None, "accepts connections")

    async def check_http(self, check: HttpCheck) -> Finding:
        """:raises CheckError: no answer came; an answer that is wrong is a finding."""
        status, answer = await self.answer(check)
        return _judge(check, status, answer)

    async def check_session(self, check: SessionCheck) -> Finding:
        """:raises CheckError: nobody answers to the login."""
        # The whole answer, where another check stops reading as soon as it has seen what it wants.
        status, answer = await self.answer(dataclasses.replace(check, body_has=None))
        found = _judge(check, status, answer)
        if found.error_class is not None:
            return found
        try:
            token = json.loads(answer)[check.token_field]
        except (ValueError, KeyError, TypeError):
            return Finding("body", f"HTTP {status}, but the answer has no {check.token_field!r}")
        bearer = {"authorization": f"Bearer {token}"}
        use = dataclasses.replace(check, url=check.use_url, method="GET", json=None, headers=bearer, body_has=None)
        try:
            status, _answer = await self.answer(use)
        except CheckError as error:
            return Finding(None, f"logged in; whether the token is taken is not known ({error.finding.error_class})")
        if status in (401, 403):
            return Finding("token_refused", f"a token of this moment is refused with HTTP {status}")
        return Finding(None, f"logged in, and the token is taken (HTTP {status})")

    async def answer(self, check: HttpCheck) -> tuple[int, bytes]:
        """Status and body, read up to `LARGEST_BODY`, whatever they are.

        :raises CheckError: no answer came.
        """
        parts = urlsplit(check.url)
        context = self._context(check) if parts.scheme == "https" else None
        request, body = _request(check, parts.netloc, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}")
        name = t.cast(str, parts.hostname)
        host, port = check.connect_to or (name, parts.port or (443 if context else 80))
        async with self._connection(host, port, context, name) as (reader, writer):
            return await _exchange(reader, writer, request, body, check.body_has)

    def _context(self, check: HttpCheck) -> ssl.SSLContext:
        # Loading the system's certificates takes tens of milliseconds, so each context is made once.
        if check.ca_file not in self._contexts:
            try:
                self._contexts[check.ca_file] = ssl.create_default_context(cafile=check.ca_file)
            except (OSError, ssl.SSLError) as error:
                reason = error.strerror or "holds no certificate"
                raise CheckError("controller", f"ca_file {check.ca_file}: {reason}") from None
        return self._contexts[check.ca_file]

    @asynccontextmanager
    async def _connection(
        self, host: str, port: int, context: ssl.SSLContext | None, name: str = ""
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._open(host, port, context, name or host)
        try:
            yield reader, writer
        finally:
            # A polite close waits for the peer, and the peer may be the one that never answers.
            writer.transport.abort()

    async def _open(
        self, host: str, port: int, context: ssl.SSLContext | None, name: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        last: CheckError | None = None
        for address in await self._resolver.addresses(host):
            try:
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=name if context else None
                )
            except ssl.SSLError as error:
                reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
                raise CheckError("tls", f"{host}: {str(reason).lower().replace('_', ' ')}") from None
            except OSError as error:
                last = CheckError(_class_of(error), f"{address}:{port}: {error.strerror or type(error).__name__}")
        raise last or CheckError("name_resolution", f"{host}: has no address")


def resolve_secrets(value: t.Any, secrets: list[str]) -> t.Any:
    """The structure with every secret reference replaced; the values are added to `secrets` for scrubbing.

    :raises BadInput: a secret cannot be read.
    """
    if isinstance(value, SecretReference):
        secrets.append(value.resolve())
        return secrets[-1]
    if isinstance(value, Mapping):
        return {name: resolve_secrets(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolve_secrets(inner, secrets) for inner in value]
    return value


def _class_of(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)):
        return "closed"
    return "unreachable"


def _request(check: HttpCheck, netloc: str, target: str) -> tuple[h11.Request, bytes]:
    secrets: list[str] = []
    sent: dict[str, str] = {"host": netloc, "user-agent": "codeblue-check", "accept": "*/*", "connection": "close"}
    body = b""
    if check.json is not None:
        body = json.dumps(resolve_secrets(check.json, secrets)).encode()
        sent["content-type"] = "application/json"
    if body or check.method in ("POST", "PUT", "PATCH"):
        sent["content-length"] = str(len(body))
    sent.update({name.lower(): value for name, value in resolve_secrets(check.headers, secrets).items()})
    try:
        request = h11.Request(
            method=check.method,
            target=target.encode("ascii"),
            headers=[(name.encode("ascii"), value.encode("utf-8")) for name, value in sent.items()],
        )
    except (h11.LocalProtocolError, UnicodeEncodeError):
        # The error would quote a header, and with it a secret.
        raise CheckError("controller", "the url or a header holds characters that HTTP does not allow") from None
    return request, body


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes, wanted: str | None
) -> tuple[int, bytes]:
    """Send, and read until the answer is whole, or holds what is wanted, or is larger than `LARGEST_BODY`."""
    connection = h11.Connection(h11.CLIENT)
    status = 0
    found = bytearray()
    needle = wanted.encode() if wanted is not None else None
    try:
        head = connection.send(request)
        content = connection.send(h11.Data(data=body)) if body else b""
        writer.write((head or b"") + (content or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_READ_SIZE)
                if not data and status == 0:
                    raise CheckError("closed", "closed the connection without an answer")
                connection.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                found += event.data
                if len(found) >= LARGEST_BODY or (needle is not None and needle in found):
                    return status, bytes(found)
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return status, bytes(found)
    except h11.RemoteProtocolError as error:
        if status:
            raise CheckError("closed", f"HTTP {status}, but the body ends early") from None
        raise CheckError("protocol", f"the answer is no HTTP: {str(error)[:80]}") from None
    except ssl.SSLError as error:
        raise CheckError("tls", str(error.reason or "the TLS connection broke")) from None
    except OSError as error:
        raise CheckError(_class_of(error), error.strerror or type(error).__name__) from None


def _judge(check: HttpCheck, status: int, body: bytes) -> Finding:
    # The body never goes into the detail: it can hold patient data and tokens.
    if status not in check.status:
        wanted = " or ".join(str(code) for code in check.status)
        error_class = "status"
        if status in (502, 503, 504):
            error_class = "unavailable"
        elif status in (401, 403):
            error_class = "credentials_refused"
        return Finding(error_class, f"HTTP {status}, wanted {wanted}")
    if check.body_has is not None and check.body_has.encode() not in body:
        return Finding("body", f"HTTP {status}, but the body of {len(body)} bytes does not hold {check.body_has!r}")
    return Finding(None, f"HTTP {status}")


def slow(check: Check, seconds: float) -> Finding | None:
    """The finding that a right answer came too late, or None."""
    if check.max_response is not None and seconds > check.max_response:
        return Finding("slow", f"answered after {seconds:.2f} s, wanted within {check.max_response:g} s")
    return None
