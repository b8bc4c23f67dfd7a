"""How a lab on AWS is right now, for people and for programs."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from codeblue.lab.aws.blueprint import REGIONS
from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.injection import active_faults

#: What the account has none of: moto and the lab's server make it up.
SIMULATED = (
    "containers",
    "traffic",
    "name resolution",
    "database engine",
    "database contents",
    "replication",
    "metrics",
    "function code",
    "event history",
)


@dataclass(frozen=True)
class AwsLabStatus:
    """What `codeblue lab status --platform aws` shows.

    :param running: its server runs.
    :param endpoints: of the services, by region; one whose endpoint is closed is among them.
    :param edge: URL at which the clinic's names are answered.
    :param fronts: URL at which the load balancer of a region answers by itself.
    :param services: how many tasks of each run, in words, by region and name.
    """

    directory: str
    running: bool
    phase: str
    inventory: str
    environment: str
    endpoints: dict[str, str]
    edge: str
    fronts: dict[str, str]
    calls: str
    services: dict[str, str]
    closed_regions: list[str]
    versions: dict[str, str]
    simulated: list[str]
    active_faults: list[str]

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def look(parts: AwsParts, running: bool) -> AwsLabStatus:
    """Ask everything.

    :param running: whether the server runs.
    """
    state = parts.state
    said = parts.control.state() if running and state.phase == "ready" else {}
    return AwsLabStatus(
        directory=str(parts.layout.root),
        running=bool(said),
        phase=state.phase,
        inventory=str(parts.layout.inventory),
        environment=str(parts.layout.environment),
        endpoints={region: state.endpoint(region) for region in REGIONS} if state.ports else {},
        edge=state.url("edge") if state.ports else "",
        fronts={region: state.url(f"front-{region}") for region in REGIONS} if state.ports else {},
        calls=str(parts.layout.calls),
        services=dict(said.get("services", {})),
        closed_regions=list(said.get("closed_regions", [])),
        versions=state.versions,
        simulated=list(SIMULATED),
        active_faults=active_faults(parts.layout),
    )
