# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL checks over libpq's non-blocking calls, as psycopg wraps them in `psycopg.pq`.

Not `AsyncConnection`: when it is cancelled it waits for the server to confirm, and a check's deadline has to hold
against a server that says nothing any more. Here the deadline ends the connection from this side.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import re
import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_http import CheckError, Finding, Resolver
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import PostgresqlCheck, SentinelCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._redact import redact_text
from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo

_LONGEST_DETAIL = 200
# Apart from row 1, which plain write checks use with times of their own.
_SENTINEL_ROW = 2
_PQERRORS_VERBOSE = 2
# What libpq writes with PQERRORS_VERBOSE: the severity in the server's language, two spaces, SQLSTATE, message.
_CONNECT_ERROR = re.compile(r"\S:  ([0-9A-Z]{5}): (.*)")
_BY_SQLSTATE = {
    "53300": "too_many_connections",
    "53100": "disk_full",
    "3D000": "database_missing",
    "25006": "read_only",
    "57014": "timeout",
    "57P01": "starting",
    "57P02": "starting",
    "57P03": "starting",
    "57P04": "starting",
    "57P05": "starting",
}
# libpq's own messages, which carry no SQLSTATE. They are in English in every build of psycopg[binary].
_BY_TEXT = (
    ("refused", "refused"),
    ("closed the connection", "closed"),
    ("connection reset", "closed"),
    ("no route to host", "unreachable"),
    ("network is unreachable", "unreachable"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
    ("no password supplied", "credentials_refused"),
    ("certificate", "tls"),
    ("ssl", "tls"),
)


class PostgresqlChecker:
    """Carries out PostgreSQL checks within one event loop. Deadlines are the caller's."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def check(self, check: PostgresqlCheck) -> Finding:
        """:raises CheckError: it failed; the class comes from the SQLSTATE wherever the server gave one."""
        password = check.password.resolve() if check.password is not None else None
        try:
            if isinstance(check, SentinelCheck):
                return await self._write_and_read_back(check, password)
            rows = await self._query(check, password, check.query, check.writes)
        except CheckError as error:
            known = (password,) if password else ()
            raise CheckError(error.finding.error_class or "", redact_text(error.finding.detail, known)) from None
        if rows == [("f",)]:
            raise CheckError("query_failed", "the query answered false")
        return Finding(None, "the query was answered" + (" and committed" if check.writes else ""))

    async def _write_and_read_back(self, check: SentinelCheck, password: str | None) -> Finding:
        micros = "(extract(epoch FROM checked_at) * 1000000)::bigint"
        rows = await self._query(
            check,
            password,
            # The time never goes back: two checks at once may get the row's lock in the other order.
            f"INSERT INTO {check.table} AS kept (id, checked_at) VALUES ({_SENTINEL_ROW}, clock_timestamp()) "
            "ON CONFLICT (id) DO UPDATE SET checked_at = greatest(kept.checked_at, excluded.checked_at) "
            f"RETURNING {micros.replace('checked_at', 'kept.checked_at')}",
            writes=True,
        )
        # A later writer may have been there already, so the row must be at least as new.
        seen = await self._query(
            check, password, f"SELECT {micros} FROM {check.table} WHERE id = {_SENTINEL_ROW}", writes=False
        )
        if not seen or int(seen[0][0] or 0) < int(rows[0][0] or 0):
            raise CheckError("sentinel_lost", "a committed row is not there on the next connection")
        return Finding(None, "a row was written, committed and read back")

    async def _query(
        self, check: PostgresqlCheck, password: str | None, query: str, writes: bool
    ) -> list[tuple[str | None, ...]]:
        last: CheckError | None = None
        for address in await self._resolver.addresses(check.address):
            connection = _start(check, address, password)
            try:
                await _connect(connection)
                return await _run(connection, query, writes, check)
            except CheckError as error:
                last = error
                # Only an address where nobody is may be followed by the host's next one.
                if error.finding.error_class not in ("refused", "unreachable"):
                    raise
            finally:
                connection.finish()
        raise last or CheckError("name_resolution", f"{check.address}: has no address")


def _start(check: PostgresqlCheck, address: str, password: str | None) -> t.Any:
    conninfo = make_conninfo(
        host=check.address,
        hostaddr=address,
        port=check.port,
        dbname=check.database,
        user=check.user,
        password=password,
        sslmode=check.sslmode,
        sslrootcert=check.ca_file,
        # Kerberos would be asked first, with a round trip and a library of its own.
        gssencmode="disable",
        client_encoding="utf8",
        application_name="codeblue-check",
    )
    connection: t.Any = pq.PGconn.connect_start(conninfo.encode())
    library = _libpq()
    if library is not None and connection.pgconn_ptr is not None:
        library.PQsetErrorVerbosity(connection.pgconn_ptr, _PQERRORS_VERBOSE)
    return connection


@functools.lru_cache(maxsize=1)
def _libpq() -> ctypes.CDLL | None:
    """The very libpq that psycopg has loaded, or None where it cannot be told.

    libpq keeps the SQLSTATE of a refused connection to itself, unless its messages are verbose. psycopg has no
    call for that, and the texts are in the server's language.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/libpq" in line}
        for path in sorted(paths):
            library = ctypes.CDLL(path)
            library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
            library.PQsetErrorVerbosity.restype = ctypes.c_int
            return library
    except (OSError, AttributeError):
        return None
    return None


async def _connect(connection: t.Any) -> None:
    while True:
        if connection.status == pq.ConnStatus.BAD:
            raise _libpq_error(connection)
        state = connection.connect_poll()
        if state == pq.PollingStatus.OK:
            connection.nonblocking = 1
            return
        if state == pq.PollingStatus.FAILED:
            raise _libpq_error(connection)
        # libpq changes the socket between attempts, so it is asked for each time.
        await _ready(connection.socket, for_writing=state == pq.PollingStatus.WRITING)


async def _ready(descriptor: int, for_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    add(descriptor, settle)
    try:
        await ready
    finally:
        remove(descriptor)


async def _run(connection: t.Any, query: str, writes: bool, check: PostgresqlCheck) -> list[tuple[str | None, ...]]:
    """One transaction in one round trip; the rows of the last statement that had any.

    The server is given the same deadline: sentinels that wait for a lock or for a synchronous standby would
    otherwise stay behind as sessions and use up the slots that everybody needs. SET LOCAL, because behind a pooler
    a SET would outlive the check.
    """
    begin = "BEGIN" if writes else "BEGIN READ ONLY"
    limit = max(1, int(check.timeout * 1000))
    connection.send_query(f"{begin};\nSET LOCAL statement_timeout = {limit};\n{query}\n;\nCOMMIT".encode())
    while connection.flush():
        await _ready(connection.socket, for_writing=True)
    rows: list[tuple[str | None, ...]] = []
    committed = False
    while True:
        while connection.is_busy():
            await _ready(connection.socket, for_writing=False)
            try:
                connection.consume_input()
            except OperationalError:
                raise _libpq_error(connection) from None
        result = connection.get_result()
        if result is None:
            break
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise _query_error(result, writes)
        if result.status == pq.ExecStatus.TUPLES_OK:
            rows = _rows(result)
        committed = result.command_status == b"COMMIT"
    if not committed:
        raise CheckError("query_failed", "the transaction was not committed")
    return rows


# A check looks at one row at most; a query that was meant for something else must not fill the memory.
_MOST_ROWS = 2


def _rows(result: t.Any) -> list[tuple[str | None, ...]]:
    return [
        tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
        for row in range(min(result.ntuples, _MOST_ROWS))
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _libpq_error(connection: t.Any) -> CheckError:
    message = connection.error_message.decode("utf-8", "replace")
    match = _CONNECT_ERROR.search(message)
    if match is None:
        return _text_error(message)
    return CheckError(_class_of(match[1]), f"{match[2].strip()[:_LONGEST_DETAIL]} (SQLSTATE {match[1]})")


def _query_error(result: t.Any, writes: bool) -> CheckError:
    sqlstate = _text(result.error_field(pq.DiagnosticField.SQLSTATE))
    # The primary message alone: detail and context quote rows.
    message = (_text(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)) or "failed")[:_LONGEST_DETAIL]
    if sqlstate is None:
        return _text_error(message)
    if sqlstate == "25006" and not writes:
        return CheckError("query_failed", "the query writes, but the check does not say writes: true (SQLSTATE 25006)")
    return CheckError(_class_of(sqlstate), f"{message} (SQLSTATE {sqlstate})")


def _class_of(sqlstate: str) -> str:
    if sqlstate.startswith("28"):
        return "credentials_refused"
    return _BY_SQLSTATE.get(sqlstate, "query_failed")


def _text_error(message: str) -> CheckError:
    line = " ".join(message.split())[:_LONGEST_DETAIL]
    lowered = line.lower()
    for text, error_class in _BY_TEXT:
        if text in lowered:
            return CheckError(error_class, line)
    return CheckError("protocol", line or "no answer")
