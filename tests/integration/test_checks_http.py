"""HTTP and TCP checks against real sockets: good servers, wrong ones, silent ones, and a thousand at once."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm, run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, PlannedCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks_reading import read_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

ANSWERS: dict[str, bytes] = {
    "/ok": b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"token": "abc"}'[:-1],
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntok\r\n2\r\nen\r\n0\r\n\r\n",
    "/until_close": b"HTTP/1.0 200 OK\r\n\r\ntoken",
    "/error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "/unavailable": b"HTTP/1.0 503 Service Unavailable\r\n\r\n<html>no server</html>",
    "/forbidden": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
    "/garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
    "/closed": b"",
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nonly this",
    "/secret_body": b"HTTP/1.1 500 Oops\r\nContent-Length: 21\r\n\r\npatient Jane Canary-7\n"[:-1],
}


class Server:
    """Answers by path, in its own thread. `/silent` never answers, `/drip` never ends, `/endless` floods."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.requests: list[bytes] = []
        self.fail_next = 0
        self.at_once = 0
        self.most_at_once = 0
        self._context = context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context, backlog=2048)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self.loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        counted = True
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            # Before the answer: after it the checker may be with its next one already.
            self.at_once, counted = self.at_once - 1, False
            await self._answer(head.split()[1].decode(), writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the checker went away, as it does from those that do not answer
        finally:
            self.at_once -= counted
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/silent":
            await asyncio.sleep(30)
        elif path == "/drip":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        elif path == "/endless":
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        elif path == "/later":
            await asyncio.sleep(0.3)
            writer.write(ANSWERS["/ok"])
        elif path == "/recovers" and self.fail_next > 0:
            self.fail_next -= 1
            writer.write(ANSWERS["/error"])
        else:
            writer.write(ANSWERS["/ok" if path == "/recovers" else path])
        await writer.drain()

    def stop(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.05, self.loop.stop)

        self.loop.call_soon_threadsafe(end)
        self._thread.join(5)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def tls_server(certificate: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running = Server(context)
    yield running
    running.stop()


def plan(*checks: dict[str, t.Any], **pace: t.Any) -> list[PlannedCheck]:
    problems = Problems("records")
    values = [{"id": f"c{number}", "type": "http", "timeout": "2s", **check} for number, check in enumerate(checks)]
    read = read_checks(TypedMapping({"shallow": values}, "codeblue_checks", problems))
    problems.raise_if_any()
    return [PlannedCheck("records", "shallow", check, **pace) for check in read.shallow]


def one(check: dict[str, t.Any]) -> CheckResult:
    (result,) = run_checks(plan(check))
    return result


@pytest.mark.parametrize(
    ("path", "extra", "error_class"),
    [
        ("/ok", {}, None),
        ("/ok", {"body_has": "token", "method": "POST", "json": {"a": 1}}, None),
        ("/chunked", {"body_has": "token"}, None),
        ("/until_close", {"body_has": "token"}, None),
        ("/endless", {"body_has": "xxx"}, None),
        ("/endless", {"body_has": "never"}, "body"),
        ("/error", {"status": [200, 500]}, None),
        ("/moved", {"status": 302}, None),
        ("/moved", {}, "status"),
        ("/error", {}, "status"),
        ("/unavailable", {}, "unavailable"),
        ("/forbidden", {}, "credentials_refused"),
        ("/ok", {"body_has": "something else"}, "body"),
        ("/garbage", {}, "protocol"),
        ("/closed", {}, "closed"),
        ("/cut", {}, "closed"),
        ("/later", {"max_response": "100ms"}, "slow"),
        ("/silent", {"timeout": "300ms"}, "timeout"),
        ("/drip", {"timeout": "300ms"}, "timeout"),
    ],
)
def test_answers_are_classified(server: Server, path: str, extra: dict[str, t.Any], error_class: str | None) -> None:
    started = time.monotonic()
    result = one({"url": f"http://127.0.0.1:{server.port}{path}", **extra})
    assert result.error_class == error_class, result
    assert result.ok is (error_class is None)
    assert time.monotonic() - started < 2.5
    assert abs(result.at - time.time()) < 5


def test_tcp_and_addresses_where_nobody_is(server: Server) -> None:
    tcp = {"type": "tcp", "address": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", 0)) as closing:
        free_port = closing.getsockname()[1]
    results = run_checks(
        plan(
            {**tcp, "port": server.port},
            {**tcp, "port": free_port},
            {"type": "tcp", "address": "no-such-host.invalid", "port": 80},
            {**tcp, "address": "localhost", "port": server.port},
        )
    )
    assert [result.error_class for result in results] == [None, "refused", "name_resolution", None]


def test_a_full_backlog_that_never_answers_is_over_at_the_deadline() -> None:
    """The port accepts nothing and refuses nothing, which hangs clients that only bound the reads."""
    with socket.socket() as stuck:
        stuck.bind(("127.0.0.1", 0))
        stuck.listen(0)
        port = stuck.getsockname()[1]
        fillers = [socket.socket() for _number in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        results = run_checks(plan(*[{"url": f"http://127.0.0.1:{port}/", "timeout": "400ms"}] * 50))
        elapsed = time.monotonic() - started
        for filler in fillers:
            filler.close()
    assert {result.error_class for result in results} == {"timeout"}
    assert elapsed < 1.5


def test_certificates_are_verified(tls_server: Server, certificate: Path) -> None:
    url = f"https://localhost:{tls_server.port}/ok"
    known, unknown, missing, plain = run_checks(
        plan(
            {"url": url, "ca_file": str(certificate)},
            {"url": url},
            {"url": url, "ca_file": "/no/such/ca.pem"},
            {"url": f"http://localhost:{tls_server.port}/ok"},
        )
    )
    assert known.ok, known
    assert unknown.error_class == "tls" and "self" in unknown.detail
    assert missing.error_class == "controller" and "/no/such/ca.pem" in missing.detail
    assert plain.error_class in ("closed", "protocol")


def test_a_plain_port_is_no_tls(server: Server, certificate: Path) -> None:
    result = one({"url": f"https://127.0.0.1:{server.port}/ok", "ca_file": str(certificate), "timeout": "1s"})
    assert result.error_class in ("tls", "closed", "timeout")


def test_secrets_and_bodies_stay_out_of_results(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = tmp_path / "password"
    password.write_text("canary-Pa55word\n")
    monkeypatch.setenv("PROBE_TOKEN", "canary-T0ken")
    checks = plan(
        {
            "url": f"http://127.0.0.1:{server.port}/secret_body",
            "method": "POST",
            "headers": {"Authorization": {"secret_from": "env:PROBE_TOKEN"}},
            "json": {"user": "probe", "password": {"secret_from": f"file:{password}"}},
        },
        {"url": f"http://127.0.0.1:{server.port}/ok", "headers": {"x-key": {"secret_from": "env:NOT_SET_ANYWHERE"}}},
    )
    server.requests.clear()
    results = run_checks(checks)
    (request,) = server.requests
    assert b"canary-T0ken" in request and b"canary-Pa55word" in request
    assert "canary" not in repr(results).lower() and "canary" not in repr(checks)
    assert results[1].error_class == "secret_unreadable" and "NOT_SET_ANYWHERE" in results[1].detail


def test_a_failure_is_confirmed_and_a_recovery_ends_the_tries(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    server.fail_next = 2
    started = time.monotonic()
    found = confirm(
        plan({"url": f"{url}/error"}, {"url": f"{url}/ok"}, {"url": f"{url}/recovers"}), consecutive=3, interval=0.1
    )
    elapsed = time.monotonic() - started
    assert [result.ok for result in found.results] == [False, True, True]
    tries = [sum(seen.id == f"c{number}" for seen in found.observations) for number in range(3)]
    assert tries == [3, 1, 3]
    assert [seen.at for seen in found.observations] == sorted(seen.at for seen in found.observations)
    assert 0.2 <= elapsed < 1.0


def test_when_enough_is_known_slow_checks_are_not_waited_for(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    checks = plan({"url": f"{url}/error"}, {"url": f"{url}/ok"}, {"url": f"{url}/silent"})
    started = time.monotonic()
    found = confirm(checks, 3, 0.05, enough=lambda seen: sum(not result.ok for result in seen) >= 3)
    assert time.monotonic() - started < 1.0
    assert [result.id for result in found.results] == ["c0", "c1"]
    assert [result.ok for result in found.observations].count(False) == 3


def test_an_error_of_the_caller_is_not_swallowed(server: Server) -> None:
    with pytest.raises(ZeroDivisionError):
        confirm(plan({"url": f"http://127.0.0.1:{server.port}/ok"}), enough=lambda seen: bool(1 // 0))


def test_the_deadline_of_the_whole_call_holds(server: Server) -> None:
    checks = plan(
        *[{"url": f"http://127.0.0.1:{server.port}/silent"}] * 1, {"url": f"http://127.0.0.1:{server.port}/ok"}
    )
    started = time.monotonic()
    silent, queued = run_checks(checks, in_flight=1, deadline=0.4)
    assert time.monotonic() - started < 1.0
    assert (silent.error_class, queued.error_class) == ("timeout", "timeout")
    assert "not asked" in queued.detail
    assert len(confirm(checks[:1], consecutive=50, interval=0.05, deadline=0.4).observations) < 5


def test_a_thousand_checks_at_once_stay_within_the_bound(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    checks = plan(*[{"url": f"http://127.0.0.1:{server.port}/ok", "timeout": "10s"}] * 1000)
    server.most_at_once = 0
    started = time.monotonic()
    results = run_checks(checks)
    elapsed = time.monotonic() - started
    with capsys.disabled():
        print(f"\n1,000 HTTP checks: {elapsed:.2f} s, at most {server.most_at_once} at once")
    assert all(result.ok for result in results), next(result for result in results if not result.ok)
    assert server.most_at_once <= 200
