"""What a drill found, and whether that is good enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection_survey import Survey

from codeblue.drill.catalogue import Drill
from codeblue.drill.matrix import MatrixRow
from codeblue.report.parts import Away

# Parts of a platform that may be simulated; what is measured of them is then null.
TRAFFIC = "traffic"
DATABASE_CONTENTS = "database contents"
ISOLATION = "isolation"


@dataclass
class DrillResult:
    """Filled in while the drill goes on, so that an interrupted one can be reported as far as it came.

    :param detect_seconds: from the fault until a criterion of the card fired.
    :param first_action_seconds: from the start of the command until a target accepted the first change.
    :param recovered: the run says so, and so do the checks and the prober from outside.
    :param rto_seconds: from the first failed probe of any endpoint until the last one was back for good.
    :param workload_back_seconds: from the fault until every workload was good again, where a cluster says that, and
        the signals by which the fault is seen were clear; what people see of it is another figure.
    :param given_back_by: what was done as the person whom the run left the rest to; None when nothing was left.
    :param writes_lost: sentinels whose commit was acknowledged and that are gone; None when nobody could be asked.
    :param writes_not_on_standby: acknowledged writes that the standby had not flushed when its primary died: nobody
        could keep those. 0 when it was in step.
    :param rpo_seconds: how old the oldest lost write was when the fault struck; 0.0 when none was lost.
    :param control_silent: before the fault no criterion fired and no probe failed.
    :param undone: afterwards the clinic was proven normal.
    :param simulated: parts of the platform that were not real, or not looked at; none on hosts.
    :param run: the id of the run.
    :param outcome: how the run ended, in the words of the exit table.
    :param fired: the criteria that fired.
    :param cause: what the run said while it worked, the step that diagnosed.
    :param outages: seconds that each endpoint was away.
    :param struck_at: Unix seconds of the fault; None when it never came to that.
    :param command_at: seconds from the fault until the run was started.
    :param away: when each endpoint was away, in seconds since the fault.
    :param first_change_at: Unix seconds of the first change that a target accepted.
    :param survey: what all cards said before that change.
    :param control_fired: runbooks that were called for before the fault; none should be.
    :param phases: seconds that each phase of the drill took.
    :param problems: why it is not good enough, for people.
    """

    drill: Drill
    platform: str = "host"
    detected: bool = False
    detect_seconds: float | None = None
    first_action_seconds: float | None = None
    recovered: bool = False
    rto_seconds: float | None = None
    workload_back_seconds: float | None = None
    given_back_by: str | None = None
    writes_lost: int | None = None
    writes_not_on_standby: int = 0
    rpo_seconds: float | None = None
    control_silent: bool = False
    undone: bool = False
    simulated: list[str] = field(default_factory=list)
    run: str | None = None
    outcome: str | None = None
    fired: list[str] = field(default_factory=list)
    cause: str | None = None
    outages: dict[str, float | None] = field(default_factory=dict)
    struck_at: float | None = None
    command_at: float | None = None
    away: list[Away] = field(default_factory=list)
    first_change_at: float | None = None
    survey: Survey | None = field(default=None, repr=False)
    control_fired: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_message(self) -> dict[str, Any]:
        """The promised JSON line, with these keys; on a cluster with two more."""
        further: dict[str, Any] = {}
        if self.platform != "host":
            further["workload_back_seconds"] = _rounded(self.workload_back_seconds)
            further["given_back_by"] = self.given_back_by
        return {
            "message_type": "drill",
            "runbook": self.drill.runbook,
            "platform": self.platform,
            "fault": self.drill.fault,
            "detected": self.detected,
            "detect_seconds": _rounded(self.detect_seconds),
            "first_action_seconds": _rounded(self.first_action_seconds),
            "recovered": self.recovered,
            "rto_seconds": _rounded(self.rto_seconds),
            "rto_target_seconds": self.drill.rto_target_seconds,
            "writes_lost": self.writes_lost,
            "rpo_target_seconds": self.drill.rpo_target_seconds,
            "control_silent": self.control_silent,
            "undone": self.undone,
            "simulated": self.simulated,
            **further,
        }

    @property
    def matrix_row(self) -> MatrixRow:
        """Its line of the table of faults by runbooks."""
        return MatrixRow(self.drill.runbook, self.drill.fault, self.survey)

    @property
    def back_seconds(self) -> float | None:
        """What is held against the target: the time away, or without traffic the time until workloads were good."""
        return self.workload_back_seconds if TRAFFIC in self.simulated else self.rto_seconds

    @property
    def back_text(self) -> str:
        """That figure in words, with what it is of."""
        seconds = self.back_seconds
        text = "-" if seconds is None else f"{seconds:.1f} s"
        return f"workload {text}" if TRAFFIC in self.simulated else text

    @property
    def in_time(self) -> bool:
        return self.back_seconds is not None and self.back_seconds <= self.drill.rto_target_seconds

    @property
    def kept_enough(self) -> bool:
        if self.writes_lost is None:
            return DATABASE_CONTENTS in self.simulated
        if self.writes_lost <= self.writes_not_on_standby:
            return True
        # With a target of nothing lost, not even a write of the very moment may be.
        return self.rpo_seconds is not None and 0 < self.drill.rpo_target_seconds >= self.rpo_seconds

    @property
    def passed(self) -> bool:
        return (
            self.control_silent
            and self.detected
            and self.first_action_seconds is not None
            and self.recovered
            and self.in_time
            and self.kept_enough
            and self.undone
            and not self.problems
        )

    def judge(self) -> None:
        """Put into words what the figures miss; what could not be measured was explained when it happened."""
        if self.back_seconds is not None and not self.in_time:
            self.problems.append(f"away for {self.back_seconds:.1f} s, target {self.drill.rto_target_seconds:g} s")
        if self.writes_lost and not self.kept_enough:
            had_not = self.writes_not_on_standby
            could = f", {had_not} of them were not on the standby" if had_not else ""
            self.problems.append(f"{self.writes_lost} acknowledged writes are lost{could}")
        if self.recovered and self.first_action_seconds is None:
            self.problems.append("it came back without any change that a target accepted: the run did not mend it")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
