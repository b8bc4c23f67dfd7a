"""Faults of the services and of everything at once."""

from __future__ import annotations

import json
import signal
from typing import ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.database_faults import kill_member
from codeblue.lab.faults import Fault, Injection
from codeblue.lab.files import write_json
from codeblue.lab.layout import (
    APPLICATION_MACHINES,
    DATABASE_MEMBERS,
    FAULT_UNITS,
    GATEWAY_UNIT,
    SERVICES,
    postgres_unit,
    unit,
)
from codeblue.lab.migrations import SERVICE_RIGHTS
from codeblue.lab.parts import Parts
from codeblue.lab.processes import end, identity
from codeblue.lab.releases import BAD_ANSWERS, BAD_START

_ALL_SERVICES = ("patient_db", "gateway", "auth", "records", "ai")


class CompleteOutage(Fault):
    name: ClassVar[str] = "complete_outage"
    summary: ClassVar[str] = "every process of the clinic is killed and stays down; all data is intact"
    hits: ClassVar[tuple[str, ...]] = _ALL_SERVICES
    rto_target: ClassVar[float | None] = 30.0

    def inject(self, parts: Parts) -> Injection:
        injection = self.strike()
        kill_everything(parts)
        return injection


class BadReleaseOutage(Fault):
    name: ClassVar[str] = "bad_release_outage"
    summary: ClassVar[str] = f"release {BAD_ANSWERS} of auth and records fails on every request, then all is killed"
    hits: ClassVar[tuple[str, ...]] = _ALL_SERVICES
    rto_target: ClassVar[float | None] = 30.0
    version: ClassVar[str] = BAD_ANSWERS

    def inject(self, parts: Parts) -> Injection:
        for service in ("auth", "records"):
            for machine in APPLICATION_MACHINES:
                parts.releases.deploy(service, machine, self.version, by="deployment")
        injection = self.strike(version=self.version, services=["auth", "records"])
        kill_everything(parts)
        return injection


class CrashingReleaseOutage(BadReleaseOutage):
    name: ClassVar[str] = "crashing_release_outage"
    summary: ClassVar[str] = f"the same with release {BAD_START}, whose processes end as soon as they are started"
    version: ClassVar[str] = BAD_START


class BadConfigurationOutage(Fault):
    name: ClassVar[str] = "bad_configuration_outage"
    summary: ClassVar[str] = (
        "a configuration with a wrong database port is rolled out to auth and records, then all is killed"
    )
    hits: ClassVar[tuple[str, ...]] = _ALL_SERVICES
    # Two services are rolled back one after the other, each after it had its time to come up.
    rto_target: ClassVar[float | None] = 45.0

    def inject(self, parts: Parts) -> Injection:
        for service in ("auth", "records"):
            # Port 9 is that of the discard service, which nobody runs.
            parts.configuration.roll_out(service, {"database": {"port": 9}}, "Use the new connection pooler")
        injection = self.strike(services=["auth", "records"])
        kill_everything(parts)
        return injection


class BadMigrationOutage(Fault):
    name: ClassVar[str] = "bad_migration_outage"
    summary: ClassVar[str] = (
        f"migration {SERVICE_RIGHTS}, newer than all releases, takes auth and records their rights, then all is killed"
    )
    hits: ClassVar[tuple[str, ...]] = _ALL_SERVICES
    rto_target: ClassVar[float | None] = 30.0

    def inject(self, parts: Parts) -> Injection:
        parts.migrations.up(SERVICE_RIGHTS)
        injection = self.strike(migration=SERVICE_RIGHTS)
        kill_everything(parts)
        return injection


class MaintenanceFlagOutage(Fault):
    name: ClassVar[str] = "maintenance_flag_outage"
    summary: ClassVar[str] = "the flag maintenance is set for auth and records, and forgotten; then all is killed"
    hits: ClassVar[tuple[str, ...]] = _ALL_SERVICES
    # Two services are rolled back one after the other, each after it had its time to come up.
    rto_target: ClassVar[float | None] = 45.0

    def inject(self, parts: Parts) -> Injection:
        for service in ("auth", "records"):
            path = parts.layout.flags_file(service)
            flags = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, {**flags, "maintenance": True})
        injection = self.strike(services=["auth", "records"])
        kill_everything(parts)
        return injection


SERVICE_FAULTS: tuple[type[Fault], ...] = (
    CompleteOutage,
    BadReleaseOutage,
    CrashingReleaseOutage,
    BadConfigurationOutage,
    BadMigrationOutage,
    MaintenanceFlagOutage,
)


def kill_everything(parts: Parts) -> None:
    """kill -9 of all processes but supervisord; none comes back by itself, as after a power cut."""
    services = [unit(service, machine) for service in SERVICES for machine in APPLICATION_MACHINES]
    kept_up = [*services, GATEWAY_UNIT, *FAULT_UNITS]
    running = {name: pid for name, pid in parts.supervisor.pids().items() if name in kept_up}
    doomed = [found for pid in running.values() if (found := identity(pid))]
    for name in running:
        # Supervisord restarts what dies unasked, so it is asked first and SIGKILL overtakes its SIGTERM.
        parts.supervisor.ask_to_stop(name)
        end([process for process in doomed if process.pid == running[name]], signal.SIGKILL, 0.0)
    pids = parts.supervisor.pids()
    for member in DATABASE_MEMBERS:
        if postgres_unit(member) in pids:
            kill_member(parts, member)
    left = end(doomed, signal.SIGKILL, 5.0)
    if left:
        raise CodeblueError(f"process {left[0].pid} does not end", "see: ps -ef")
    parts.supervisor.stop(*running)
