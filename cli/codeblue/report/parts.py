"""The parts of a report, as data. Times are seconds since the beginning that the report counts from."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

RECOVERED = ("recovered", "nothing_to_do", "degraded", "completed")


@dataclass(frozen=True)
class ReportStep:
    """One journalled step.

    :param machines: where it acted, as far as it was decided on.
    :param result: what was different afterwards, in one line.
    """

    target: str
    stage: str
    action: str
    outcome: str
    changed: bool
    attempts: int
    begins: float
    ends: float
    reason: str
    started_at: str
    machines: tuple[str, ...] = ()
    result: str = ""

    @property
    def seconds(self) -> float:
        return self.ends - self.begins


@dataclass(frozen=True)
class Reason:
    """Something that was found, decided or accepted.

    :param evidence: the sentences that it rests on.
    :param confidence: 0 to 1, None where nobody estimates it.
    """

    at: float
    kind: str
    target: str
    text: str
    evidence: tuple[str, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Criterion:
    """A detection criterion of the card, with what was seen."""

    id: str
    description: str
    fired: bool
    targets: tuple[str, ...]
    evidence: str


@dataclass(frozen=True)
class Figure:
    """Something measured, against what was wanted of it.

    :param met: None where nothing was wanted, or where it cannot be said.
    """

    name: str
    measured: str
    wanted: str
    met: bool | None
    note: str = ""


@dataclass(frozen=True)
class Target:
    """One target; seconds, None when unknown."""

    name: str
    outcome: str
    seconds: float | None
    rto_seconds: float | None
    rpo_seconds: float | None
    checks: str = ""

    @property
    def within(self) -> bool | None:
        """Whether it was back within its objective; None when that cannot be said."""
        if self.seconds is None or not self.rto_seconds or self.outcome not in RECOVERED:
            return None
        return self.seconds <= self.rto_seconds


@dataclass(frozen=True)
class Validated:
    """One validation of one service."""

    at: float
    target: str
    level: str
    status: str
    checks: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence, or an access to one. Its content is in the evidence store, encrypted."""

    at: float
    what: str
    target: str
    name: str
    machine: str
    by: str
    sha256: str
    size_bytes: int | None
    custody: str


@dataclass(frozen=True)
class Delivery:
    """A message to people or places, and what became of it."""

    kind: str
    channel: str
    state: str
    at: str
    attempts: int
    receipt: str


@dataclass(frozen=True)
class FollowUp:
    """What is left to do afterwards."""

    action: str
    owner: str
    due_at: str


@dataclass(frozen=True)
class Chain:
    """One segment of the signed record and its end.

    :param anchored: places that hold a copy of the head, or why none does.
    """

    segment: int
    records: int
    head: str
    anchored: str = ""


@dataclass(frozen=True)
class Away:
    """A span in which an endpoint was away; `ends` is None when it never came back."""

    endpoint: str
    begins: float
    ends: float | None


@dataclass(frozen=True)
class DrillPart:
    """What a drill measured from outside. Times count from the fault.

    :param command_at: when the run was started, None when it never was.
    :param called_for: the runbooks whose criteria fired, the one to begin with first, with the reason.
    :param phases: seconds that each phase of the drill took.
    """

    runbook: str
    fault: str
    summary: str
    passed: bool
    struck_at: str | None
    away: tuple[Away, ...]
    detected: float | None
    command_at: float | None
    rto_seconds: float | None
    rto_target_seconds: float
    figures: tuple[Figure, ...]
    called_for: tuple[tuple[str, str], ...]
    phases: t.Mapping[str, float]
    problems: tuple[str, ...]
    facts: t.Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
