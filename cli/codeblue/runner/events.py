"""From ansible-runner's events to messages: few, short, and without a raw result."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.codeblue.recovery.plugins.plugin_utils._redact import redact_text

from codeblue.output.messages import Detail, Difference, Failure, Message, Step, TaskStarted, Warned
from codeblue.runner.failure import one_line, tidy_error

_ENDED = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}
# How many of each are kept for the end of the run; the rest was shown when it happened.
_MOST_KEPT = 100
_MOST_ERROR_CHARACTERS = 16_000
_MOST_DIFF_LINES = 200
# A plan does not list what only guards or checks.
_GUARDS = ("fail", "assert", "meta", "debug")
# Ansible's words from 2.19 on, and before.
_NO_RESULT = ("Task failed: Action failed: Module result des", "Module result des", "MODULE FAILURE")
_VALIDATION = "Validating arguments against arg spec"
# Who connects where; the command that follows may carry an environment and is left out.
_CONNECTION_LINE = re.compile(r"^<[^>]+> (?:ESTABLISH .*|SSH: (?!EXEC).*|SSH: EXEC (?:(?!/bin/sh).)*)")


class EventReader:
    """Reads the events of one ansible-playbook.

    :param emit: takes the messages.
    :param clock_start: Unix seconds at which the command was started.
    :param secrets: values that must not be repeated.
    :param show_connections: whether `-vvv` was asked for.

    :ivar failures: the failures that count, the last ones last.
    :ivar ignored: failures that the play goes on after, by `ignore_errors` or `ignore_unreachable`.
    :ivar first_accepted_at: Unix seconds of the first change.
    :ivar steps_of_stages: how many actions of the collection ended.
    :ivar skipped: (task, condition, target) of what was not taken.
    """

    def __init__(
        self,
        emit: Callable[[Message], None],
        clock_start: float,
        secrets: t.Sequence[str] = (),
        show_connections: bool = False,
    ) -> None:
        self._emit = emit
        self._clock_start = clock_start
        self._secrets = tuple(secrets)
        self._show_connections = show_connections
        self.failures: list[Failure] = []
        self.ignored: list[Failure] = []
        self.first_accepted_at: float | None = None
        self.skipped: list[tuple[str, str, str]] = []
        self.targets: dict[str, str] = {}
        self.tasks_ended = 0
        self.steps_of_stages = 0
        self.no_hosts_matched = False
        self.finished = False
        self._error_lines: list[str] = []
        self._error_characters = 0

    @property
    def error_text(self) -> str:
        """What ansible-playbook said about itself, outside of tasks."""
        return "".join(self._error_lines)

    def read(self, event: Mapping[str, t.Any]) -> None:
        """Take one event."""
        kind = str(event.get("event", ""))
        data = event.get("event_data") or {}
        if kind in _ENDED:
            self._task_ended(_ENDED[kind], data, str(event.get("stdout", "")))
        elif kind == "playbook_on_task_start":
            self._emit(TaskStarted(self._clean(str(data.get("name", ""))), self._elapsed()))
        elif kind == "playbook_on_no_hosts_matched":
            self.no_hosts_matched = True
        elif kind == "playbook_on_stats":
            self.finished = True
        elif kind in ("warning", "system_warning"):
            self._emit(Warned(self._clean(one_line(tidy_error(str(event.get("stdout", "")))))))
        elif kind in ("error", "verbose"):
            self._said(kind, str(event.get("stdout", "")))

    def _said(self, kind: str, text: str) -> None:
        if self._error_characters < _MOST_ERROR_CHARACTERS:
            # Verbose lines matter only when Ansible never got to a task: a traceback, or an error before the start.
            self._error_lines.append(text.rstrip("\r\n") + "\n")
            self._error_characters += len(text) + 1
        if kind == "verbose" and self._show_connections:
            for line in text.splitlines():
                match = _CONNECTION_LINE.match(line)
                if match:
                    self._emit(Detail(self._clean(match.group(0))))

    def _task_ended(self, status: str, data: Mapping[str, t.Any], stdout: str) -> None:
        self.tasks_ended += 1
        result = data.get("res") or {}
        host, task = str(data.get("host", "")), self._clean(str(data.get("task", "")))
        said = result.get("codeblue")
        said = said if isinstance(said, Mapping) else {}
        target = str(said.get("target") or host)
        self._show_ended_stages(said, target, task)
        if status == "skipped":
            if str(data.get("task_action", "")).rpartition(".")[2] not in _GUARDS and not task.startswith(_VALIDATION):
                self._was_skipped(task, target, stdout)
            return
        if status == "failed" and data.get("ignore_errors"):
            status = "ignored"
        if status == "ok" and result.get("changed"):
            status = "changed"
        accepted_at = _number(said.get("accepted_at"))
        if accepted_at is not None:
            self.first_accepted_at = min(accepted_at, self.first_accepted_at or accepted_at)
        seconds = _number(said.get("seconds")) or _number(data.get("duration")) or 0.0
        step = Step(
            stage=str(said.get("stage") or ""),
            target=target,
            status=status,
            summary=self._summary(status, said, result, task),
            seconds=round(seconds, 3),
            elapsed=self._elapsed(),
            accepted_at=accepted_at,
            task=task,
            hint=self._clean(one_line(str(said["hint"]))) if said.get("hint") and status != "ok" else None,
        )
        self._emit(step)
        self.steps_of_stages += bool(step.stage)
        self._show_differences(target, result.get("diff"))
        if len(self.targets) < _MOST_KEPT or target in self.targets:
            self.targets[target] = status
        if status in ("failed", "unreachable", "ignored"):
            self._failed(step, said)

    def _show_ended_stages(self, said: Mapping[str, t.Any], target: str, task: str) -> None:
        """Stages that were over before the task was: opening the run, in the task that diagnoses."""
        for ended in said.get("stages_ended") or ():
            ended_at = _number(ended.get("ended_at")) or time.time()
            self._emit(
                Step(
                    stage=str(ended.get("stage") or ""),
                    target=target,
                    status="ok",
                    summary=self._clean(one_line(str(ended.get("summary") or ""))),
                    seconds=_number(ended.get("seconds")) or 0.0,
                    elapsed=round(ended_at - self._clock_start, 3),
                    task=task,
                )
            )

    def _failed(self, step: Step, said: Mapping[str, t.Any]) -> None:
        exit_code = said.get("exit_code")
        failure = Failure(
            error=self._clean(one_line(str(said.get("error") or step.summary))),
            hint=step.hint,
            target=step.target,
            exit_code=exit_code if isinstance(exit_code, int) else None,
        )
        kept = self.ignored if step.status == "ignored" else self.failures
        if len(kept) >= _MOST_KEPT:
            del kept[0]
        kept.append(failure)

    def _summary(self, status: str, said: Mapping[str, t.Any], result: Mapping[str, t.Any], task: str) -> str:
        if said.get("summary") or said.get("error"):
            return self._clean(one_line(str(said.get("summary") or said["error"])))
        if status in ("failed", "ignored", "unreachable"):
            if "censored" in result:
                return f"{task}: failed, its details are hidden (no_log)"
            message = self._clean(_message_of(result))
            return f"{task}: {message}" if task else message
        return task

    def _was_skipped(self, task: str, target: str, stdout: str) -> None:
        match = re.search(r'"false_condition": ("(?:[^"\\]|\\.)*"|true|false)', stdout)
        if match is None or len(self.skipped) >= _MOST_KEPT * 10:
            return
        condition = match.group(1)
        if condition.startswith('"'):
            import json

            condition = json.loads(condition)
        self.skipped.append((task, self._clean(one_line(str(condition))), target))

    def _show_differences(self, target: str, differences: t.Any) -> None:
        if not differences:
            return
        from codeblue.runner.differences import difference_lines

        lines = [self._clean(line) for line in difference_lines(differences, _MOST_DIFF_LINES)]
        if lines:
            self._emit(Difference(target, lines))

    def _clean(self, text: str) -> str:
        return redact_text(text, self._secrets)

    def _elapsed(self) -> float:
        return round(time.time() - self._clock_start, 3)


def _message_of(result: Mapping[str, t.Any]) -> str:
    """Why a task failed, in one line."""
    message = one_line(tidy_error(str(result.get("msg") or "failed without saying why")))
    if not message.startswith(_NO_RESULT):
        return message
    # The module never ran, mostly for want of a Python: what the machine said is the reason.
    said = str(result.get("module_stderr") or result.get("module_stdout") or "").strip()
    return one_line(f"the module could not run there: {said.splitlines()[0]}") if said else message


def _number(value: t.Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
