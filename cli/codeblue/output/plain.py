"""Plain lines, for pipes, logs and dumb terminals."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import format_duration

from codeblue.output.messages import (
    Branch,
    Budget,
    Detail,
    Difference,
    Failure,
    Forecast,
    Message,
    Started,
    Step,
    Summary,
    TaskStarted,
    Warned,
)
from codeblue.output.stream import write_line
from codeblue.output.style import (
    COLOURS,
    OUTCOME_COLOURS,
    OUTCOME_TEXTS,
    SIGNS,
    against_budget,
    colours_wanted,
    local_time,
    paint,
)


class PlainLines:
    """Writes a line per step.

    :param verbosity: from 1 on also tasks that changed nothing, from 2 on the start of each task.
    """

    def __init__(self, stream: t.TextIO, verbosity: int = 0) -> None:
        self._stream = stream
        self._verbosity = verbosity
        self._coloured = colours_wanted(stream)
        self._budget: Budget | None = None
        self._branches = 0
        self._gone = False

    def emit(self, message: Message) -> None:
        for line in self.lines(message):
            self._write(line)

    def close(self) -> None:
        return

    def lines(self, message: Message) -> list[str]:
        """The lines for one message; none for what is not shown at this verbosity."""
        if isinstance(message, Step):
            return self._step(message)
        if isinstance(message, Started):
            return self._started(message)
        if isinstance(message, Summary):
            return self._summary(message)
        if isinstance(message, Budget):
            self._budget = message
            return []
        if isinstance(message, Branch):
            return self._branch(message)
        if isinstance(message, Difference):
            return [f"{'':11}{line}" for line in message.lines]
        if isinstance(message, Forecast):
            return [self._paint(f"{'':9}! {message.text}", "bold yellow")]
        if isinstance(message, Warned):
            return [self._paint(f"{'':9}! {message.text}", "yellow")]
        if isinstance(message, TaskStarted) and self._verbosity >= 2:
            return [self._paint(f"{message.elapsed:7.2f} s ▸ {message.name}", "dim")]
        if isinstance(message, Detail):
            return [self._paint(f"{'':11}{message.text}", "dim")]
        if isinstance(message, Failure):
            return self._failure(message)
        return []

    def _started(self, message: Started) -> list[str]:
        words = {"run": "run", "plan": "plan of", "resume": "resuming"}[message.mode]
        lines = [f"{words} {message.runbook} · {message.run} · {local_time(message.at)}"]
        where = ", ".join(message.inventory) or "as ansible.cfg says"
        lines.append(f"inventory {where}" + (f" · limited to {message.limit}" if message.limit else ""))
        return [self._paint(line, "dim") if position else line for position, line in enumerate(lines)]

    def _step(self, step: Step) -> list[str]:
        if not step.noteworthy and not self._verbosity:
            return []
        text = step.summary if not step.stage else f"{step.stage}: {step.summary}"
        line = f"{step.elapsed:7.2f} s {SIGNS[step.status]} {step.target}  {text}"
        if step.seconds >= 0.05:
            line += f"  ({format_duration(step.seconds)})"
        lines = [self._paint(line, COLOURS.get(step.status))]
        return [*lines, f"{'':11}{step.hint}"] if step.hint else lines

    def _branch(self, branch: Branch) -> list[str]:
        lines = [] if self._branches else ["", "Not taken as things stand:"]
        self._branches += 1
        head = f"  when {branch.condition}  [{', '.join(branch.targets)}]"
        return [*lines, head, *(f"      {step}" for step in branch.steps)]

    def _failure(self, failure: Failure) -> list[str]:
        lines = [self._paint(f"{'':9}✗ {failure.error}", "bold red")]
        return [*lines, f"{'':11}{failure.hint}"] if failure.hint else lines

    def _summary(self, summary: Summary) -> list[str]:
        if summary.mode == "plan" and summary.exit_code == 0:
            return ["", f"plan made in {format_duration(summary.seconds)}; nothing was changed"]
        head = OUTCOME_TEXTS.get(summary.outcome, summary.outcome)
        # A run that was not started is not held against the objective.
        budget = self._budget.rto_seconds if self._budget and summary.targets else None
        lines = ["", self._paint(head, OUTCOME_COLOURS.get(summary.outcome, "bold red"))]
        lines[-1] += f" · {against_budget(summary.seconds, budget)}"
        if summary.first_action_seconds is not None:
            lines[-1] += f" · first change after {format_duration(summary.first_action_seconds)}"
        if len(summary.targets) > 1 or summary.exit_code:
            lines += [f"  {name}: {OUTCOME_TEXTS.get(outcome, outcome)}" for name, outcome in summary.targets.items()]
        if summary.next_step:
            lines.append(f"  {summary.next_step}")
        return lines

    def _paint(self, text: str, colour: str | None) -> str:
        return paint(text, colour, self._coloured)

    def _write(self, line: str) -> None:
        self._gone = self._gone or not write_line(self._stream, line)
