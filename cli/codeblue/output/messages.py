"""What a run tells, one frozen value per message. JSON lines show them as they are."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass

# The exit code of each outcome, and the outcome that stands for an exit code when there is no record.
EXIT_CODES = {
    "recovered": 0,
    "completed": 0,
    "nothing_to_do": 0,
    "failed_safe": 1,
    "bad_input": 2,
    "refused": 3,
    "degraded": 4,
    "failed_unsafe": 5,
    "interrupted": 130,
}
OUTCOMES = {0: "recovered", 1: "failed_safe", 2: "bad_input", 3: "refused", 4: "degraded", 5: "failed_unsafe"} | {
    130: "interrupted"
}


@dataclass(frozen=True)
class Message:
    """Base of all messages; `message_type` is what JSON lines are told apart by."""

    message_type: t.ClassVar[str] = ""

    def as_dict(self) -> dict[str, t.Any]:
        return {"message_type": self.message_type, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Started(Message):
    """A run begins.

    :param mode: `run`, `plan` or `resume`.
    :param at: UTC, RFC 3339.
    """

    message_type: t.ClassVar[str] = "started"
    run: str
    runbook: str
    mode: str
    inventory: list[str]
    limit: str | None
    at: str


@dataclass(frozen=True)
class Budget(Message):
    """How long it may take, and how long it took before.

    :param rto_seconds: the smallest objective of the run's targets, else the card's; None when there is none.
    :param expected_seconds: the median of the latest successful runs of this runbook, None when there were none.
    :param runs_before: how many that were.
    """

    message_type: t.ClassVar[str] = "budget"
    rto_seconds: float | None
    expected_seconds: float | None
    runs_before: int


@dataclass(frozen=True)
class TaskStarted(Message):
    """Ansible begins a task on all its hosts."""

    message_type: t.ClassVar[str] = "task"
    name: str
    elapsed: float


@dataclass(frozen=True)
class Step(Message):
    """A task ended for one target.

    :param status: `ok`, `changed`, `skipped`, `failed`, `ignored` (failed, and the play goes on) or `unreachable`.
    :param stage: the step of the runbook it belongs to; empty for a task that is no action of the collection.
    :param summary: one line for people.
    :param seconds: how long it took.
    :param elapsed: seconds since the command started.
    :param accepted_at: Unix seconds of the first change that a machine accepted, None when it changed nothing.
    :param hint: what to do about a failure.
    """

    message_type: t.ClassVar[str] = "step"
    stage: str
    target: str
    status: str
    summary: str
    seconds: float
    elapsed: float
    accepted_at: float | None = None
    task: str = ""
    hint: str | None = None

    @property
    def noteworthy(self) -> bool:
        """Worth a line without -v: actions of the collection, and everything that changed or failed."""
        return (bool(self.stage) and self.status != "skipped") or self.status not in ("ok", "skipped")


@dataclass(frozen=True)
class Branch(Message):
    """A part of the plan that is not taken as things stand.

    :param condition: what would have to hold, in the words of the playbook; it does not hold for these targets.
    :param steps: what would be done then.
    """

    message_type: t.ClassVar[str] = "branch"
    condition: str
    steps: list[str]
    targets: list[str]


@dataclass(frozen=True)
class Difference(Message):
    """What a step changes, or would change, in the words of `--diff`."""

    message_type: t.ClassVar[str] = "difference"
    target: str
    lines: list[str]


@dataclass(frozen=True)
class Warned(Message):
    """Something that does not stop the run."""

    message_type: t.ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Forecast(Message):
    """The objective will not be kept.

    :param state: `will_miss` or `missed`.
    :param seconds: after the start, when the run is expected to end; for `missed` the time that has gone by.
    """

    message_type: t.ClassVar[str] = "forecast"
    state: str
    seconds: float
    rto_seconds: float
    text: str


@dataclass(frozen=True)
class Detail(Message):
    """What `-v` shows beyond the steps."""

    message_type: t.ClassVar[str] = "detail"
    text: str


@dataclass(frozen=True)
class Failure(Message):
    """Why something failed, in one line, and what to do about it."""

    message_type: t.ClassVar[str] = "failure"
    error: str
    hint: str | None = None
    target: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Summary(Message):
    """The end of it, always the last message.

    :param run: empty when nothing was started.
    :param seconds: since the command was started.
    :param first_action_seconds: until the first change that a machine accepted.
    :param targets: outcome per target.
    :param next_step: a command to go on with.
    """

    message_type: t.ClassVar[str] = "summary"
    run: str
    runbook: str
    mode: str
    outcome: str
    exit_code: int
    seconds: float
    first_action_seconds: float | None
    targets: dict[str, str]
    error: str | None = None
    hint: str | None = None
    next_step: str | None = None


class Output(t.Protocol):
    """Where messages go. `emit` never fails because nobody reads any more."""

    def emit(self, message: Message) -> None: ...

    def close(self) -> None: ...
