"""Faults: each breaks the running clinic in one way, for real, and can be undone from another process."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.lab.injection import Injection, active_faults, recorded, undone
from codeblue.lab.parts import Parts

__all__ = ["Fault", "Injection", "active_faults", "all_faults", "heal_all", "inject"]


class Fault(ABC):
    """One way of breaking the clinic."""

    name: ClassVar[str]
    summary: ClassVar[str]
    # Of services, as in the inventory: what this fault takes away.
    hits: ClassVar[tuple[str, ...]]
    # Seconds from the first failed probe to the first stable success that a drill allows; None for the card's RTO.
    # A lab has no people to call, no long journal to replay and no distances, so these are stricter than the cards.
    rto_target: ClassVar[float | None] = None
    # From how many seconds before the fault acknowledged writes may be lost. Hardly ever any.
    rpo_target: ClassVar[float] = 0.0
    # Services of which a drill has a snapshot taken first, by the operation that production's schedule runs.
    needs_snapshot: ClassVar[tuple[str, ...]] = ()
    # Questions from outside, in `outside/`, that the prober asks in addition while this fault is drilled.
    watches: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def inject(self, parts: Parts) -> Injection:
        """Do the damage, completely, before it returns."""

    def heal(self, parts: Parts, facts: dict[str, Any]) -> None:  # noqa: B027 (most leave no cause behind)
        """Take the cause away. What it broke is mended afterwards, for all faults alike (`normal`).

        :param facts: those of the injection.
        """

    def strike(self, **facts: Any) -> Injection:
        """The injection, with the moment of the call."""
        return Injection(self.name, time.time(), time.monotonic(), facts=facts)


def all_faults() -> dict[str, Fault]:
    """Every fault by name, in the order of the table in the documentation."""
    from codeblue.lab.ai_faults import AI_FAULTS
    from codeblue.lab.auth_faults import AUTH_FAULTS
    from codeblue.lab.corruption_faults import CORRUPTION_FAULTS
    from codeblue.lab.database_faults import DATABASE_FAULTS
    from codeblue.lab.intrusion_faults import INTRUSION_FAULTS
    from codeblue.lab.lost_faults import LOST_FAULTS
    from codeblue.lab.performance_faults import PERFORMANCE_FAULTS
    from codeblue.lab.phi_faults import PHI_FAULTS
    from codeblue.lab.service_faults import SERVICE_FAULTS

    every = (
        *DATABASE_FAULTS,
        *LOST_FAULTS,
        *SERVICE_FAULTS,
        *AI_FAULTS,
        *AUTH_FAULTS,
        *CORRUPTION_FAULTS,
        *PHI_FAULTS,
        *INTRUSION_FAULTS,
        *PERFORMANCE_FAULTS,
    )
    return {fault.name: fault() for fault in every}


def inject(parts: Parts, name: str) -> Injection:
    """Inject a fault; one that is active already is left as it is.

    :raises BadInput: there is no such fault.
    """
    faults = all_faults()
    if name not in faults:
        raise BadInput(f"there is no fault {name!r}", f"choose one of: {', '.join(faults)}")
    return recorded(parts.layout, name, lambda: faults[name].inject(parts))


def heal_all(parts: Parts) -> None:
    """Take away the causes of all active faults, the newest first."""
    faults = all_faults()
    undone(parts.layout, lambda name, facts: faults[name].heal(parts, facts))
