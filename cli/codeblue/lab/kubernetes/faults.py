"""Faults of the lab on a cluster: each breaks it in one way, and can be undone from another process."""

from __future__ import annotations

import time
import typing as t
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.lab.injection import Injection, recorded, undone
from codeblue.lab.kubernetes.parts import ClusterParts


@dataclass(frozen=True)
class ClusterFault(ABC):
    """One way of breaking the clinic on a cluster.

    :param hits: services of the inventory that it takes away.
    :param runbook: which one has to mend it; None for one that mends itself, or that is for a person.
    :param rto_target: seconds until the workload is back that a drill allows; None for the card's.
    :param needs_snapshot: services of which a drill has a snapshot taken first.
    :param signals: of the site's monitoring or of the service's own, by which it is seen while the workloads work; none
        when they do not.
    """

    name: str
    summary: str
    hits: tuple[str, ...]
    runbook: str | None = None
    rto_target: float | None = None
    needs_snapshot: tuple[str, ...] = ()
    signals: tuple[str, ...] = field(default=(), kw_only=True)
    #: A run contains it, and a person has to go on from there.
    left_to_person: t.ClassVar[bool] = False
    # Nothing that a fault does here reaches the contents of the database.
    rpo_target: t.ClassVar[float] = 0.0

    @abstractmethod
    def damage(self, parts: ClusterParts) -> None:
        """Do the damage; what follows from it is waited for afterwards."""

    def inject(self, parts: ClusterParts) -> Injection:
        """Do the damage, completely, before it returns."""
        injection = self.strike()
        self.damage(parts)
        if self.signals:
            parts.wait_signalled(self.signals, *self.hits)
        else:
            parts.wait_away(*self.hits)
        return injection

    def not_contained(self, parts: ClusterParts) -> list[str]:
        """For what is left to a person: what a run should have done, and has not; one line each."""
        return []

    def give_back(self, parts: ClusterParts) -> None:  # noqa: B027 (most leave nothing)
        """What a person takes away before a service is given back."""

    def heal(self, parts: ClusterParts, facts: dict[str, t.Any]) -> None:  # noqa: B027 (most leave no cause behind)
        """Take the cause away, where it is not an object of the namespace: those are all put back afterwards.

        :param facts: those of the injection.
        """

    def strike(self, **facts: t.Any) -> Injection:
        """The injection, with the moment of the call."""
        return Injection(self.name, time.time(), time.monotonic(), facts=facts)


def cluster_faults() -> dict[str, ClusterFault]:
    """Every fault by name, in the order of the table in the documentation."""
    from codeblue.lab.kubernetes.ai_faults import AI_FAULTS
    from codeblue.lab.kubernetes.breach_faults import BREACH_FAULTS
    from codeblue.lab.kubernetes.clinic_faults import CLINIC_FAULTS
    from codeblue.lab.kubernetes.data_faults import DATA_FAULTS
    from codeblue.lab.kubernetes.database_faults import DATABASE_FAULTS
    from codeblue.lab.kubernetes.exposure_faults import EXPOSURE_FAULTS
    from codeblue.lab.kubernetes.object_faults import OBJECT_FAULTS
    from codeblue.lab.kubernetes.performance_faults import PERFORMANCE_FAULTS
    from codeblue.lab.kubernetes.place_faults import PLACE_FAULTS
    from codeblue.lab.kubernetes.release_faults import RELEASE_FAULTS

    every = (
        *RELEASE_FAULTS,
        *OBJECT_FAULTS,
        *PLACE_FAULTS,
        *DATABASE_FAULTS,
        *AI_FAULTS,
        *CLINIC_FAULTS,
        *PERFORMANCE_FAULTS,
        *BREACH_FAULTS,
        *EXPOSURE_FAULTS,
        *DATA_FAULTS,
    )
    return {fault.name: fault for fault in every}


def inject(parts: ClusterParts, name: str) -> Injection:
    """Inject a fault; one that is active already is left as it is.

    :raises BadInput: there is no such fault.
    """
    faults = cluster_faults()
    if name not in faults:
        raise BadInput(f"there is no fault {name!r} on kubernetes", f"choose one of: {', '.join(faults)}")
    return recorded(parts.layout, name, lambda: faults[name].inject(parts))


def heal_all(parts: ClusterParts) -> None:
    """Take away the causes of all active faults, the newest first."""
    faults = cluster_faults()
    undone(parts.layout, lambda name, facts: faults[name].heal(parts, facts))
