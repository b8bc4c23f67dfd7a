"""The lab of hosts as a drill sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from codeblue.drill.site import DrillFault, Site, Witness
from codeblue.lab.injection import Injection

if TYPE_CHECKING:
    from codeblue.lab import Lab


class Clinic(Site):
    """A lab of hosts that is up."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.inventory_path)
        self.lab = lab

    @property
    def faults(self) -> Mapping[str, DrillFault]:
        from codeblue.lab.faults import all_faults

        return all_faults()

    def witness(self, fault: str, scratch: Path) -> Witness:
        from codeblue.drill.prober_witness import ProberWitness
        from codeblue.lab.faults import all_faults

        return ProberWitness(self.lab, scratch, all_faults()[fault])

    def prepare(self, fault: str) -> str | None:
        from codeblue.drill.preparation import take_snapshot
        from codeblue.lab.faults import all_faults

        services = all_faults()[fault].needs_snapshot
        return take_snapshot(self.inventory_path, services) if services else None

    def break_(self, fault: str) -> Injection:
        return self.lab.break_(fault)

    def heal(self) -> float:
        return self.lab.heal()

    def facts(self) -> dict[str, str]:
        binaries = self.lab.status().binaries
        return {
            "PostgreSQL": str(binaries.get("postgresql_version", "unknown")),
            "HAProxy": str(binaries.get("haproxy_version", "unknown")),
        }

    def wrong_parts(self) -> list[str]:
        from codeblue.lab.intrusion_faults import intrusion_left
        from codeblue.lab.layout import DATABASE_MEMBERS, FAULT_UNITS
        from codeblue.lab.phi_faults import leftovers
        from codeblue.lab.releases import GOOD

        first, second = DATABASE_MEMBERS
        status = self.lab.status()
        found = [f"fault {fault} is still injected" for fault in status.active_faults]
        if status.primary != first:
            found.append(f"{first} is not the only primary")
        if second not in status.members or not status.members[second].streams_from_peer:
            found.append(f"{second} does not follow {first}")
        found += [
            f"process {name} is {each['state']}"
            for name, each in status.processes.items()
            if (each["state"] == "RUNNING") == (name in FAULT_UNITS)
        ]
        found += [f"{where} has release {version}" for where, version in status.releases.items() if version != GOOD]
        found += leftovers(self.lab.layout)
        found += intrusion_left(self.lab.layout)
        return found + (_settings_left(self.lab, first) if status.primary == first else [])


def _settings_left(lab: Lab, member: str) -> list[str]:
    """What a recovery set for roles and databases; the lab itself only lets second logins act as their role."""
    with lab.parts.postgresql.connect(member) as connection:
        limited = connection.execute("select rolname, rolconnlimit from pg_roles where rolconnlimit <> -1").fetchall()
        set_for = connection.execute("select unnest(setconfig) from pg_db_role_setting").fetchall()
    return [
        *(f"role {role} is limited to {limit} connections" for role, limit in limited),
        *(f"{setting} is set for a role or database" for (setting,) in set_for if not setting.startswith("role=")),
    ]
