# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One connection per process to the state store, bounded in time, never carried over a fork."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sqlite3
import stat
import threading
import time
import typing as t
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._state_place import state_place
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable, utc_now
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

_BUSY_SECONDS = 10
_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 15
# Sent with every PostgreSQL connection. A hung server must not hold up a recovery longer than this.
_POSTGRESQL_OPTIONS = (
    f"-c statement_timeout={_STATEMENT_SECONDS}s -c lock_timeout={_BUSY_SECONDS}s "
    "-c idle_in_transaction_session_timeout=30s -c timezone=UTC -c synchronous_commit=on"
)
# The shared memory of a write-ahead log, and its first pages.
_LEAST_ROOM_BYTES = 64 * 1024
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}
# Primary result codes (sqlite.org/rescode.html): an extended code carries them in its lowest byte.
_SQLITE_DISK_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
_POSTGRESQL_DISK_FULL = "53100"


def state_dir() -> Path:
    """Where state is kept on this machine: `$XDG_STATE_HOME/codeblue`, made for this user alone if missing.

    :raises StoreUnavailable: it cannot be made, or others could write to it.
    """
    return private_dir(state_place())


def private_dir(path: Path) -> Path:
    """The directory, made with mode 0700 if missing.

    :raises StoreUnavailable: it is a link, belongs to somebody else, cannot be made, or is open to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StoreUnavailable(
            f"{path}: {error.strerror}", "free the disk or set XDG_STATE_HOME", disk_failure=is_disk_failure(error)
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StoreUnavailable(f"{path} is a link or belongs to somebody else", "choose another directory")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise StoreUnavailable(f"{path} can be written by others", f"chmod 700 {path}")
    return path


def is_disk_failure(error: BaseException | None) -> bool:
    """Whether a disk that is full, read-only or broken is behind it, so that another path may still work."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, StoreUnavailable) and error.disk_failure:
            return True
        if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DISK_CODES:
            return True
        if getattr(error, "sqlstate", None) == _POSTGRESQL_DISK_FULL:
            return True
        error = error.orig if isinstance(error, DBAPIError) else error.__cause__
        seen += 1
    return False


@dataclass
class Transaction:
    """An open transaction and what to do once it is on disk."""

    connection: Connection
    after_commit: list[Callable[[], None]] = field(default_factory=list)


class Database:
    """The database behind a store.

    A connection is opened at first use and closed before every fork: a child that inherited an open SQLite
    connection would believe that it holds locks which only its parent has.

    :param url: `sqlite:///path` or `postgresql+psycopg://…`.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = make_url(url)
        self.dialect = self.url.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            raise BadInput(
                f"CODEBLUE_STATE_URL: {self.dialect} is not supported", "use postgresql+psycopg:// or leave it unset"
            )
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._current: Transaction
        self._lock = threading.RLock()
        self._depth = 0
        _every_database.add(self)

    @property
    def place(self) -> str:
        """Where it is, for people, without a password."""
        if self.dialect == "sqlite":
            return self.url.database or "memory"
        return f"{self.url.host or 'local'}:{self.url.port or 5432}/{self.url.database}"

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction, one fsync. A nested use joins the outer one.

        :raises StoreUnavailable: it could not be begun, carried out or committed; nothing of it remains.
        """
        with self._lock, self._transaction(writes=True):
            yield self._current

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view.

        :raises StoreUnavailable: the store cannot be read.
        """
        with self._lock, self._transaction(writes=False):
            yield self._current.connection

    def now(self, connection: Connection) -> str:
        """The time on the one clock that all users of this store share."""
        if self.dialect == "sqlite":
            return utc_now()
        text = connection.scalar(
            sa.text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        )
        return str(text)

    def close(self) -> None:
        """Give the connection back. The next use opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                    connection.close()

    @contextlib.contextmanager
    def _transaction(self, writes: bool) -> Iterator[None]:
        """Makes `_current` the transaction that is open inside."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        done: list[Callable[[], None]] = []
        try:
            connection = self._begin(writes)
            self._current = Transaction(connection, done)
            self._depth = 1
            try:
                yield
                connection.commit()
            except BaseException:
                with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                    connection.rollback()
                raise
            finally:
                self._depth = 0
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            if not is_disk_failure(error):
                # On a full disk what is open can still be read; opening it anew may take room that is not there.
                self.close()
            raise self._unavailable(error) from error
        for callback in done:
            callback()

    def _begin(self, writes: bool) -> Connection:
        fresh = self._connection is None
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            connection.info["writes"] = writes
            connection.begin()
            if not fresh and self.dialect == "postgresql":
                # The server may have gone since the last use: found out here, where nothing is lost by it.
                connection.exec_driver_sql("SELECT 1")
        except (DBAPIError, sqlite3.Error):
            self.close()
            if fresh or self.dialect == "sqlite":
                raise
            return self._begin(writes)
        return connection

    def _connect(self) -> Connection:
        if self._engine is None:
            self._engine = self._make_engine()
        connection = self._engine.connect()
        if self.dialect == "sqlite" and self.url.database:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(self.url.database + suffix).chmod(0o600)
        return connection

    def _make_engine(self) -> Engine:
        if self.dialect == "postgresql":
            arguments: dict[str, t.Any] = {
                "connect_timeout": _CONNECT_SECONDS,
                "tcp_user_timeout": _STATEMENT_SECONDS * 1000,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "options": _POSTGRESQL_OPTIONS,
                "application_name": "codeblue",
            }
            return sa.create_engine(self.url, poolclass=NullPool, connect_args=arguments)
        # SQLAlchemy begins nothing by itself here: a writer takes the lock at once, or two that read first and
        # write then would end in a deadlock that no waiting solves.
        engine = sa.create_engine(
            self.url,
            poolclass=NullPool,
            connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return error
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines() or ["unknown"]
        text = reason[0]
        if self.url.password:
            text = text.replace(str(self.url.password), "(hidden)")
        return StoreUnavailable(
            f"the state store at {self.place} failed: {text[:300]}",
            "look at its disk and server; codeblue doctor says more",
            disk_failure=is_disk_failure(error) or self._has_no_room(),
        )

    def _has_no_room(self) -> bool:
        """Without room for its shared memory, SQLite says no more than that it cannot open the file."""
        if self.dialect != "sqlite" or not self.url.database:
            return False
        try:
            found = os.statvfs(Path(self.url.database).parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < _LEAST_ROOM_BYTES


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    # The wait for a lock comes first: switching to WAL takes one.
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if not connection.info.get("writes"):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite's own wait sleeps up to 100 ms between its tries: beside a busy writer it can starve for the whole
    # of its time. Short, irregular sleeps get their turn.
    deadline = time.monotonic() + _BUSY_SECONDS
    cursor = t.cast(sqlite3.Connection, connection.connection.driver_connection).cursor()
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(random.uniform(0.0005, 0.003))
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        cursor.close()


_every_database: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[Database] = []


def _before_fork() -> None:
    # Waits for transactions of other threads, so that none is cut in half by the copy.
    for database in list(_every_database):
        database._lock.acquire()
        _held.append(database)
        if database._depth == 0:
            database.close()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()


def _after_fork_in_child() -> None:
    while _held:
        database = _held.pop()
        database._lock = threading.RLock()
        database._connection = None
        database._depth = 0


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
