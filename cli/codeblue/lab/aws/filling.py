"""Fills the account: everything that the blueprint names, in both regions, by the same calls that anybody makes."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from codeblue.lab.aws.account import LabAccount
from codeblue.lab.aws.blueprint import REGIONS


@dataclass
class Filling:
    """What was made so far.

    :param secrets: gives the value of a secret by its name.
    :param facts: ids and ARNs: `REGION/NAME`, or the name alone for what has no region.
    :param settle: lets the time pass that services need until they are steady.
    """

    account: LabAccount
    secret: t.Callable[[str], str]
    settle: t.Callable[[], None]
    facts: dict[str, str] = field(default_factory=dict)

    def fact(self, region: str, name: str) -> str:
        """One of a region."""
        return self.facts[f"{region}/{name}"]

    def keep(self, region: str, name: str, value: str) -> str:
        """Remember one."""
        self.facts[f"{region}/{name}"] = value
        return value


def fill(filling: Filling) -> None:
    """All of it; before there is anything."""
    from codeblue.lab.aws import (
        fill_databases,
        fill_identities,
        fill_network,
        fill_observation,
        fill_services,
        fill_storage,
        fill_traffic,
    )

    filling.account.mark()
    fill_identities.fill(filling)
    for region in REGIONS:
        fill_network.fill(filling, region)
    for region in REGIONS:
        fill_databases.fill(filling, region)
    fill_storage.fill(filling)
    for region in REGIONS:
        fill_identities.fill_secrets(filling, region)
        fill_traffic.fill_balancer(filling, region)
    fill_traffic.fill_names(filling)
    fill_services.fill(filling)
    for region in REGIONS:
        fill_observation.fill(filling, region)
