"""Fault by runbook: whose criteria fire, and which runbook is the one to begin with."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import Survey

CONTROL = "control"


@dataclass(frozen=True)
class MatrixRow:
    """What all cards said about one fault.

    :param runbook: whose fault it is.
    :param fault: `CONTROL` for the healthy clinic.
    :param survey: None when it never came to that.
    """

    runbook: str
    fault: str
    survey: Survey | None

    @property
    def fired(self) -> list[str]:
        """The runbooks that are called for, the one to begin with first."""
        return self.survey.runbooks if self.survey else []

    @property
    def own_first(self) -> bool:
        """The fault's own runbook fires, and comes first."""
        return self.fired[:1] == [self.runbook]

    @property
    def problem(self) -> str | None:
        """Why that is not good enough; None when it is, or when nothing could be asked."""
        if self.survey is None or self.own_first:
            return None
        if not self.fired:
            return f"no criterion of {self.runbook} fired before the first change"
        first = self.survey.called_for[0]
        if self.runbook in self.fired:
            return f"{first.runbook} is called for before {self.runbook} ({first.reason})"
        return f"{self.runbook} is not called for, {first.runbook} is ({first.reason})"

    def as_dict(self) -> dict[str, t.Any]:
        """For JSON."""
        found = self.survey
        return {
            "runbook": self.runbook,
            "fault": self.fault,
            "fired": self.fired,
            "own_first": self.own_first,
            "criteria": {each.runbook: each.fired for each in found.called_for} if found else {},
            "reasons": {each.runbook: each.reason for each in found.called_for} if found else {},
            "checks": found.checks if found else 0,
            "asked": found.asked if found else 0,
        }


@dataclass(frozen=True)
class DetectionMatrix:
    """All faults of a campaign against all cards.

    :param runbooks: the columns, in the order of the cards.
    :param control_fired: what ever fired on the healthy clinic; nothing should.
    """

    runbooks: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    control_fired: tuple[str, ...]

    def as_message(self) -> dict[str, t.Any]:
        """The JSON line before the summary."""
        return {
            "message_type": "detection_matrix",
            "runbooks": list(self.runbooks),
            "control": list(self.control_fired),
            "faults": [row.as_dict() for row in self.rows],
            "by_runbook": self.by_runbook(),
            "passed": not self.control_fired and all(row.own_first for row in self.rows),
        }

    def by_runbook(self) -> dict[str, dict[str, int]]:
        """The faults of each runbook in a row: for how many of them each runbook's criteria fired."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            counts = found.setdefault(row.runbook, dict.fromkeys(self.runbooks, 0))
            for name in row.fired:
                counts[name] += 1
        return found

    def cells(self, row: MatrixRow) -> Sequence[str]:
        """One per column: the place among those that fired, in brackets for the fault's own runbook."""
        return [_cell(row, name) for name in self.runbooks]

    def plain_lines(self) -> Iterator[str]:
        """For people, in any terminal: the columns are numbered and named below."""
        width = max([len(row.fault) for row in self.rows] + [len(CONTROL)])
        numbers = "".join(f"{number:>5}" for number in range(1, len(self.runbooks) + 1))
        yield f"{'fired':<{width}}{numbers}"
        control = "".join(f"{'1' if name in self.control_fired else '.':>5}" for name in self.runbooks)
        yield f"{CONTROL:<{width}}{control}"
        for row in self.rows:
            cells = "".join(f"{cell:>5}" for cell in self.cells(row))
            yield f"{row.fault:<{width}}{cells}" + ("" if row.own_first else "  WRONG")
        for number, name in enumerate(self.runbooks, start=1):
            yield f"{number:>3} {name}"
        yield "[1] is the runbook to begin with and the fault's own; further numbers are called for after it"


def _cell(row: MatrixRow, name: str) -> str:
    if name not in row.fired:
        return "[-]" if name == row.runbook else "."
    place = row.fired.index(name) + 1
    return f"[{place}]" if name == row.runbook else str(place)
