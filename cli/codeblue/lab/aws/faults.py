"""Faults of the lab on AWS: each breaks it in one way, and can be undone from another process."""

from __future__ import annotations

import time
import typing as t
from abc import ABC, abstractmethod
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.lab.aws.parts import AwsParts
from codeblue.lab.injection import Injection, recorded, undone

_STRIKE_SECONDS = 20.0


@dataclass(frozen=True)
class AwsFault(ABC):
    """One way of breaking the platform on AWS.

    :param hits: services of the inventory that it takes away.
    :param runbook: which one has to mend it; None for one that mends itself, or that is for a person.
    :param rto_target: seconds until the service is back that a drill allows; None for the card's.
    :param needs_snapshot: services of which a drill has a snapshot taken first.
    :param signals: by which it is seen, where what it hits goes on answering.
    """

    name: str
    summary: str
    hits: tuple[str, ...]
    runbook: str | None = None
    rto_target: float | None = None
    needs_snapshot: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    # Nothing is written to a database here, so nothing can be lost.
    rpo_target: t.ClassVar[float] = 0.0

    @abstractmethod
    def damage(self, parts: AwsParts) -> None:
        """Do the damage; what follows from it is waited for afterwards."""

    def working(self, parts: AwsParts) -> list[str]:
        """What is not yet as the damage makes it, seen from outside; the injection waits until there is nothing."""
        outside = parts.outside
        if self.signals:
            first = self.hits[0]
            return [f"{name} is clear" for name in self.signals if not outside.not_clear(name, first)]
        return [f"{name} works on" for name in self.hits if outside.wrong(name) is None]

    def inject(self, parts: AwsParts) -> Injection:
        """Do the damage, completely, before it returns.

        :raises CodeblueError: it has no effect.
        """
        injection = self.strike()
        self.damage(parts)
        if left := parts.wait(lambda: self.working(parts), _STRIKE_SECONDS):
            raise CodeblueError(f"the fault does not strike: {left[0]}", "codeblue lab heal --platform aws")
        return injection

    def heal(self, parts: AwsParts, facts: dict[str, t.Any]) -> None:  # noqa: B027 (the account is put back as a whole)
        """Take away a cause that lies outside of the account; the account is put back as a whole afterwards.

        :param facts: those of the injection.
        """

    def strike(self, **facts: t.Any) -> Injection:
        """The injection, with the moment of the call."""
        return Injection(self.name, time.time(), time.monotonic(), facts=facts)


def aws_faults() -> dict[str, AwsFault]:
    """Every fault by name, in the order of the table in the documentation."""
    from codeblue.lab.aws.breach_faults import BREACH_FAULTS
    from codeblue.lab.aws.database_faults import DATABASE_FAULTS
    from codeblue.lab.aws.outage_faults import OUTAGE_FAULTS
    from codeblue.lab.aws.release_faults import RELEASE_FAULTS
    from codeblue.lab.aws.service_faults import SERVICE_FAULTS

    every = (*RELEASE_FAULTS, *SERVICE_FAULTS, *DATABASE_FAULTS, *OUTAGE_FAULTS, *BREACH_FAULTS)
    return {fault.name: fault for fault in every}


def inject(parts: AwsParts, name: str) -> Injection:
    """Inject a fault; one that is active already is left as it is.

    :raises BadInput: there is no such fault.
    """
    faults = aws_faults()
    if name not in faults:
        raise BadInput(f"there is no fault {name!r} on aws", f"choose one of: {', '.join(faults)}")
    return recorded(parts.layout, name, lambda: faults[name].inject(parts))


def heal_all(parts: AwsParts) -> None:
    """Take away the causes of all active faults, the newest first."""
    faults = aws_faults()
    undone(parts.layout, lambda name, facts: faults[name].heal(parts, facts))
