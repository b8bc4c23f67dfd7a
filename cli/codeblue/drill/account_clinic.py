"""The lab on AWS as a drill sees it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from codeblue.drill.result import ISOLATION
from codeblue.drill.site import DrillFault, Site, Witness
from codeblue.lab.aws.faults import aws_faults
from codeblue.lab.aws.inventory import environment
from codeblue.lab.aws.lab import AwsLab
from codeblue.lab.aws.status import SIMULATED
from codeblue.lab.injection import Injection


class AccountClinic(Site):
    """A lab on AWS that is up. Its account is the only one that this process and its children reach from then on."""

    simulated = (*SIMULATED, ISOLATION)

    def __init__(self, lab: AwsLab) -> None:
        super().__init__(lab.inventory_path)
        self.lab = lab
        os.environ.update(environment(lab.layout, lab.state))
        # The inventory names the endpoint of each region. A lab that is made anew is not to join the one before.
        del os.environ["AWS_ENDPOINT_URL"]

    @property
    def faults(self) -> Mapping[str, DrillFault]:
        return aws_faults()

    def witness(self, fault: str, scratch: Path) -> Witness:
        from codeblue.drill.account_witness import AccountWitness

        known = aws_faults()[fault]
        return AccountWitness(self.lab.parts.outside, known.hits, known.signals)

    def prepare(self, fault: str) -> str | None:
        from codeblue.drill.preparation import take_snapshot

        services = aws_faults()[fault].needs_snapshot
        return take_snapshot(self.inventory_path, services) if services else None

    def break_(self, fault: str) -> Injection:
        return self.lab.break_(fault)

    def heal(self) -> float:
        return self.lab.heal()

    def facts(self) -> dict[str, str]:
        played = ", ".join(f"{name} {version}" for name, version in self.lab.state.versions.items())
        return {"AWS": f"an account on loopback, played by {played}"}

    def wrong_parts(self) -> list[str]:
        return self.lab.deviations()
