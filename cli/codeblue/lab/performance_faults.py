"""Faults that make the clinic slow and leave it working: right answers, later than anybody wants to wait."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab import processes
from codeblue.lab.faults import Fault, Injection
from codeblue.lab.gateway import instance_port_name
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    BATCH_REPORT_UNIT,
    BILLING_EXPORT_UNIT,
    CRAWLER_UNIT,
    SERVICES,
    unit,
)
from codeblue.lab.parts import Parts
from codeblue.lab.postgresql import DATABASE
from codeblue.lab.releases import SLOW_RECORDS


class BlockingLock(Fault):
    name: ClassVar[str] = "blocking_lock"
    summary: ClassVar[str] = "an export leaves its transaction open with a lock: records can be read, writes wait"
    hits: ClassVar[tuple[str, ...]] = ("records_write_latency",)
    watches: ClassVar[tuple[str, ...]] = ("records_write_latency",)
    rto_target: ClassVar[float | None] = 60.0

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike(primary=parts.current_primary())
        parts.supervisor.start(BILLING_EXPORT_UNIT)
        _wait(lambda: _holds_lock(parts), "the export does not get its lock")
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(BILLING_EXPORT_UNIT)


class SlowRelease(Fault):
    name: ClassVar[str] = "slow_release"
    summary: ClassVar[str] = f"release {SLOW_RECORDS} of records answers right, and 0.6 s late"
    hits: ClassVar[tuple[str, ...]] = ("records_latency",)
    watches: ClassVar[tuple[str, ...]] = ("records_latency",)
    rto_target: ClassVar[float | None] = 60.0

    def inject(self, parts: Parts) -> Injection:
        # As a deployment does it: one instance after the other, without traffic while it restarts.
        injection = None
        for machine in APPLICATION_MACHINES:
            parts.gateway.set_state("records", machine, "drain")
            parts.releases.deploy("records", machine, SLOW_RECORDS, by="deployment")
            parts.supervisor.stop(unit("records", machine))
            parts.supervisor.start(unit("records", machine))
            _wait(functools.partial(_listens, _port(parts, machine)), f"records on {machine} does not come up")
            # From here on somebody can meet the slow one.
            injection = injection or self.strike(version=SLOW_RECORDS, services=["records"])
            parts.gateway.set_state("records", machine, "ready")
            parts.gateway.wait_up({"records": [machine]}, 5.0)
        if injection is None:
            raise CodeblueError("the lab has no application machine")
        return injection


class CpuHog(Fault):
    name: ClassVar[str] = "cpu_hog"
    summary: ClassVar[str] = "a report that never ends takes the processor that the services of app1 run on"
    hits: ClassVar[tuple[str, ...]] = ("login_latency",)
    watches: ClassVar[tuple[str, ...]] = ("login_latency",)
    rto_target: ClassVar[float | None] = 60.0

    def inject(self, parts: Parts) -> Injection:
        # The lab's machines share this one's processors. For this fault app1 becomes a machine with one of its own,
        # and everything else, whoever drills among it, keeps the others.
        everything = os.sched_getaffinity(0)
        processor = max(everything)
        others = everything - {processor} or everything
        own = {parts.supervisor.pids().get(unit(service, "app1")) for service in SERVICES}
        for pid in _processes(parts):
            _run_on(pid, {processor} if pid in own else others)
        _run_on(os.getpid(), others)
        injection = self.strike(machine="app1", processor=processor, processors=sorted(everything))
        parts.supervisor.start(BATCH_REPORT_UNIT)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(BATCH_REPORT_UNIT)
        everything = set(facts.get("processors") or range(os.cpu_count() or 1))
        for pid in (*_processes(parts), os.getpid()):
            _run_on(pid, everything)


class ConnectionStorm(Fault):
    name: ClassVar[str] = "connection_storm"
    summary: ClassVar[str] = "a client takes all places of the gateway for records, again and again; others queue"
    hits: ClassVar[tuple[str, ...]] = ("records_latency",)
    watches: ClassVar[tuple[str, ...]] = ("records_latency",)
    rto_target: ClassVar[float | None] = 60.0

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike(service="records")
        parts.supervisor.start(CRAWLER_UNIT)
        return injection

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:
        parts.supervisor.stop(CRAWLER_UNIT)


PERFORMANCE_FAULTS: tuple[type[Fault], ...] = (BlockingLock, SlowRelease, CpuHog, ConnectionStorm)


def _holds_lock(parts: Parts) -> bool:
    with parts.postgresql.connect(parts.current_primary(), DATABASE) as connection:
        found = connection.execute(
            "select count(*) from pg_locks where relation = 'records'::regclass and granted"
            " and mode = 'ShareRowExclusiveLock'"
        ).fetchone()
    return bool(found and found[0])


def _processes(parts: Parts) -> list[int]:
    """Supervisord and all that it has started, and what those have."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := processes.facts(int(entry.name))) is not None:
            parents[found.identity.pid] = found.parent
    roots = set(parts.supervisor.pids().values())
    roots |= {parents[pid] for pid in roots if pid in parents}
    mine = set(roots)
    # A tree is a few levels deep; each pass finds one.
    while grown := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= grown
    return sorted(mine)


def _run_on(pid: int, processors: set[int]) -> None:
    """Every thread: new ones run where the one that starts them does."""
    try:
        tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return  # it has ended
    for task in tasks:
        try:
            os.sched_setaffinity(task, processors)
        except ProcessLookupError:
            continue  # a thread that served one request and is gone


def _port(parts: Parts, machine: str) -> int:
    return parts.state.ports[instance_port_name("records", machine)]


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(0.5)
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _wait(holds: Callable[[], bool], problem: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= deadline:
            raise CodeblueError(problem, "see the logs of the lab")
        time.sleep(0.03)
