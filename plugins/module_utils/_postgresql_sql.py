# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SQL through one running psql: one login, many queries, each with a deadline, nothing secret in argv."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import end_process_group, start_process

_LARGEST_ANSWER = 4 * 1024 * 1024

# What libpq and the server say when a login fails, and the word that results use for it.
_UNAVAILABLE = (
    ("too_many_connections", ("too many clients", "remaining connection slots are reserved", "too many connections")),
    ("starting_up", ("is starting up", "not yet accepting connections", "not accepting connections")),
    ("shutting_down", ("is shutting down", "terminating connection due to administrator command")),
    ("authentication", ("authentication failed", "no password supplied", "no pg_hba.conf entry", 'role "')),
    ("no_database", ('database "',)),
    ("timeout", ("timeout expired",)),
    ("refused", ("Connection refused", "No such file or directory")),
    ("network", ("could not translate host name", "No route to host", "Network is unreachable")),
    ("closed", ("server closed the connection unexpectedly",)),
)


class SqlUnavailable(CodeblueError):
    """No session could be had, or it was lost.

    :param kind: refused, timeout, authentication, too_many_connections, starting_up, shutting_down, no_database,
        network, closed or other.
    """

    def __init__(self, message: str, kind: str, hint: t.Optional[str] = None) -> None:
        super().__init__(message, hint)
        self.kind = kind


class SqlError(CodeblueError):
    """The server refused a statement.

    :param sqlstate: five characters of appendix A of PostgreSQL's manual.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def literal(value: t.Union[str, int, float, bool, None]) -> str:
    """A value as SQL text.

    :raises CodeblueError: text that PostgreSQL cannot hold.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if "\0" in value:
        raise CodeblueError("a text for PostgreSQL holds a null character")
    quoted = value.replace("'", "''")
    return "E'%s'" % quoted.replace("\\", "\\\\") if "\\" in quoted else "'%s'" % quoted


def text_array(values: t.Iterable[str]) -> str:
    """A list of texts as an SQL array."""
    return "ARRAY[%s]::text[]" % ", ".join(literal(value) for value in values)


def identifier(name: str) -> str:
    """A quoted name.

    :raises CodeblueError: a name that PostgreSQL cannot hold.
    """
    if not name or "\0" in name or "\n" in name:
        raise CodeblueError("%r is no name for PostgreSQL" % name)
    return '"%s"' % name.replace('"', '""')


_ROOM_SECONDS = 10.0
_ROOM_PAUSE = 0.05


class PsqlSession:
    """One psql with one connection; a context manager.

    Python's standard library speaks no PostgreSQL, and a psql for each query would log in each time (10 ms and
    more); one that reads its queries from a pipe answers the next one within a millisecond.

    :param deadline: for everything this session does.
    :raises SqlUnavailable: on entering, when no session can be had.
    """

    def __init__(self, login: Login, deadline: Deadline) -> None:
        self._login = login
        self._deadline = deadline
        self._marker = "codeblue-" + secrets.token_hex(8)
        self._unread = bytearray()

    def __enter__(self) -> PsqlSession:
        milliseconds = max(1, int(self._deadline.remaining() * 1000))
        environment = self._login.environment()
        environment["PGOPTIONS"] = " ".join(
            (
                # The server ends a statement that nobody waits for any more, should this process be killed.
                "-c statement_timeout=%d" % milliseconds,
                "-c standard_conforming_strings=on",
                # Recovery has to work in a database that was made read-only.
                "-c default_transaction_read_only=off",
            )
        )
        self._process = start_process(
            [self._login.tool("psql"), "-X", "-q", "-A", "-t", "-w"],
            self._login.os_user,
            environment,
            with_stdin=True,
        )
        try:
            for stream in (self._process.stdout, self._process.stderr):
                os.set_blocking(stream.fileno(), False)
            self.query("SELECT 1")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End psql, gently when it listens."""
        if self._process.returncode is None:
            try:
                if self._process.stdin is not None:
                    self._process.stdin.close()
            except BrokenPipeError:
                pass  # it ended by itself, which is all that closing is for
            if not Deadline(0.2).wait_until(lambda: self._process.poll() is not None, 0.002):
                end_process_group(self._process)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def query(self, statement: str) -> str:
        """Run one statement.

        :return: rows in lines, columns divided by `|`.
        :raises SqlError: the server refused it.
        :raises SqlUnavailable: the connection is lost or the deadline is over.
        """
        self._send("%s;\n\\echo %s :ERROR :SQLSTATE\n" % (statement, self._marker))
        output, failed, sqlstate = self._read_answer()
        complaint = self._read_errors()
        if failed:
            raise SqlError(_first_line(complaint), sqlstate)
        return output

    def execute(self, *statements: str) -> None:
        """Run statements whose rows nobody needs."""
        for statement in statements:
            self.query(statement)

    def value(self, expression: str) -> str:
        """One value as text; empty for NULL."""
        return self.query("SELECT " + expression).rstrip("\n")

    def flag(self, expression: str) -> bool:
        """One truth value."""
        return self.value(expression) == "t"

    def rows(self, query: str) -> t.List[t.Dict[str, t.Any]]:
        """All rows of a SELECT as dicts."""
        text = self.query("SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM (%s) q" % query)
        return t.cast("t.List[t.Dict[str, t.Any]]", json.loads(text))

    def row(self, query: str) -> t.Dict[str, t.Any]:
        """The only row of a SELECT.

        :raises CodeblueError: there is none, or more than one.
        """
        rows = self.rows(query)
        if len(rows) != 1:
            raise CodeblueError("PostgreSQL gave %d rows where one was expected" % len(rows))
        return rows[0]

    def _send(self, text: str) -> None:
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _read_answer(self) -> t.Tuple[str, bool, str]:
        stdout = self._process.stdout
        if stdout is None:
            raise CodeblueError("psql was started without an output")
        marker = self._marker.encode()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                # The marker stands alone on its line: what precedes it ends with a line end, or is nothing.
                position = self._unread.find(marker)
                end = self._unread.find(b"\n", position)
                if position >= 0 and end >= 0:
                    output = self._unread[:position].decode(errors="replace")
                    _marker, failed, sqlstate = self._unread[position:end].decode().split()
                    del self._unread[: end + 1]
                    return output, failed == "true", sqlstate
                if not selector.select(self._deadline.remaining()):
                    raise SqlUnavailable(
                        "%s did not answer within %.1f s" % (self._where(), self._deadline.elapsed()), "timeout"
                    )
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    raise self._lost()
                self._unread += data
                if len(self._unread) > _LARGEST_ANSWER:
                    raise CodeblueError("%s answered with more than 4 MB" % self._where())

    def _read_errors(self) -> str:
        if self._process.stderr is None:
            return ""
        data = b""
        while len(data) < 65536:
            try:
                more = os.read(self._process.stderr.fileno(), 65536)
            except BlockingIOError:
                break
            if not more:
                break
            data += more
        return data.decode(errors="replace")

    def _lost(self) -> SqlUnavailable:
        Deadline(0.2).wait_until(lambda: self._process.poll() is not None, 0.002)
        complaint = _first_line(self._read_errors())
        return SqlUnavailable("%s: %s" % (self._where(), complaint), _kind_of(complaint))

    def _where(self) -> str:
        login = self._login
        return "PostgreSQL at %s:%d (%s as %s)" % (login.host, login.port, login.database, login.user)


def _first_line(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip() and not line.startswith("WARNING")]
    for line in lines:
        for mark in ("FATAL:", "ERROR:", "PANIC:"):
            if mark in line:
                return line[line.index(mark) + len(mark) :].strip()[:500]
    return lines[0][:500] if lines else "psql ended without a word"


def _kind_of(complaint: str) -> str:
    for kind, signs in _UNAVAILABLE:
        if any(sign in complaint for sign in signs):
            return kind
    return "other"


@contextlib.contextmanager
def session_when_there_is_room(login: Login, deadline: Deadline) -> t.Iterator[PsqlSession]:
    """A session; a server that is full is asked again for some seconds.

    The places that are kept for superusers are few, and what is being refused holds one for a moment.

    :raises SqlUnavailable: no session can be had.
    """
    patience = deadline.within(_ROOM_SECONDS)
    session = PsqlSession(login, deadline)
    while True:
        try:
            session.__enter__()
            break
        except SqlUnavailable as error:
            if error.kind != "too_many_connections" or patience.expired:
                raise
        time.sleep(_ROOM_PAUSE)
        session = PsqlSession(login, deadline)
    try:
        yield session
    finally:
        session.close()
