"""How a lab is right now, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.faults import active_faults
from codeblue.lab.layout import APPLICATION_MACHINES, DATABASE_MEMBERS, SERVICES
from codeblue.lab.parts import Parts
from codeblue.lab.postgresql import MemberStatus
from codeblue.lab.processes import is_running


@dataclass(frozen=True)
class LabStatus:
    """What `codeblue lab status` shows.

    :param running: supervisord runs and everything answered once.
    :param primary: the one member that is primary; None when none or both are.
    :param processes: name to supervisord's state and process id.
    :param servers: backend to server to HAProxy's view; empty when HAProxy does not answer.
    :param releases: service and machine to the version that `current` points at.
    """

    directory: str
    running: bool
    phase: str
    inventory: str
    os_user: str
    binaries: dict[str, str]
    ports: dict[str, int]
    primary: str | None
    members: dict[str, MemberStatus]
    processes: dict[str, dict[str, Any]]
    servers: dict[str, dict[str, str]]
    releases: dict[str, str | None]
    active_faults: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(parts: Parts) -> LabStatus:
    """Ask everything, each for a bounded time; what does not answer is shown as such."""
    layout, state = parts.layout, parts.state
    running = state.supervisord is not None and is_running(state.supervisord)
    members: dict[str, MemberStatus] = {}
    processes: dict[str, dict[str, Any]] = {}
    servers: dict[str, dict[str, str]] = {}
    if running and state.phase == "ready":
        members = {member: parts.postgresql.status(member) for member in DATABASE_MEMBERS}
        pids = parts.supervisor.pids()
        processes = {
            name: {"state": process_state, "pid": pids.get(name)}
            for name, process_state in sorted(parts.supervisor.states().items())
        }
        try:
            servers = parts.gateway.server_states()
        except CodeblueError:
            # HAProxy may be the very thing that is broken; its process state above says so.
            servers = {}
    primaries = [member for member, status in members.items() if status.role == "primary"]
    return LabStatus(
        directory=str(layout.root),
        running=running and state.phase == "ready",
        phase=state.phase,
        inventory=str(layout.inventory),
        os_user=state.os_user,
        binaries=asdict(state.binaries) if state.binaries else {},
        ports=state.ports,
        primary=primaries[0] if len(primaries) == 1 else None,
        members=members,
        processes=processes,
        servers=servers,
        releases={
            f"{service} on {machine}": parts.releases.current(service, machine)
            for service in SERVICES
            for machine in APPLICATION_MACHINES
        },
        active_faults=active_faults(layout),
    )
