"""From a request to its summary."""

from __future__ import annotations

import os
import sys
import time
import traceback
import typing as t
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.output.messages import Branch, Budget, Failure, Message, Output, Started, Step, Summary, Warned
from codeblue.runner.ansible import Command, StoppedBeforeStart, Stopper, run_ansible
from codeblue.runner.ansible_cfg import inventory_plugins
from codeblue.runner.environment import ansible_environment
from codeblue.runner.events import EventReader
from codeblue.runner.extra_vars import Handover, Literals, VariablesFile, names_of, secrets_of
from codeblue.runner.invocation import Invocation, save_invocation
from codeblue.runner.outcome import Outcome, outcome_of
from codeblue.runner.paperwork import send_off
from codeblue.runner.record import Background
from codeblue.runner.request import Request
from codeblue.runner.workspace import Workspace

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run

    from codeblue.runner.forecast import BudgetWatch, Experience

# The import and the first query of the state store; it has had the whole run for that.
_RECORD_SECONDS = 30.0
# How long after the diagnosis the budget is told when nothing was changed yet.
_BUDGET_AFTER_SECONDS = 3.0


def execute(request: Request, output: Output) -> Summary:
    """Run, plan or resume a runbook.

    :param output: gets all messages; the summary is the last one.
    :raises BadInput: nothing was started.
    """
    execution = _Execution(request, output)
    try:
        summary = execution.run()
    finally:
        execution.end()
    output.emit(summary)
    return summary


class _Execution:
    """One execution; holds what its parts share."""

    def __init__(self, request: Request, output: Output) -> None:
        self._request = request
        self._output = output
        self._reader = EventReader(
            self._emit, request.started_at, self._secrets(), show_connections=request.verbosity >= 3
        )
        self._handover: Handover | None = None
        self._record = _Record(request, self._emit, self._watch_budget)
        self._budget_watch: BudgetWatch | None = None
        self._background = Background(self._record.prepare)
        self._display_failed = False

    def end(self) -> None:
        """Nothing is said any more but the summary."""
        if self._budget_watch is not None:
            self._budget_watch.end()

    def run(self) -> Summary:
        request = self._request
        environment = ansible_environment(
            _process_environment(),
            run_id=request.run_id,
            origin=request.origin,
            collections=request.collections,
            pass_names=request.pass_env,
        )
        plugins = inventory_plugins(environment, request.directory)
        if plugins is not None:
            environment["ANSIBLE_INVENTORY_ENABLED"] = plugins
        stopper = Stopper(request.run_id, lambda: self._emit(Warned("stopping ansible-playbook and its workers")))
        with Workspace(request.run_id) as workspace, stopper:
            self._handover = Handover(workspace.path)
            try:
                command = self._command(environment, self._handover)
                self._announce()
                code = run_ansible(command, workspace.path, self._on_event, stopper)
            except StoppedBeforeStart:
                return self._summary(Outcome("interrupted", 130, error="interrupted: nothing was started"))
            finally:
                self._handover.close()
            if stopper.requested:
                stopper.end_leftovers()
            outcome = self._judge(code, stopper.requested)
        if request.mode == "plan":
            self._show_branches()
        else:
            warning = send_off()
            if warning:
                self._emit(Warned(warning))
        return self._summary(outcome)

    def _watch_budget(self, rto: float, known: Experience) -> None:
        """From now on a miss of the objective is said as soon as it is to be expected."""
        from codeblue.runner.forecast import BudgetWatch, since

        self._budget_watch = BudgetWatch(rto, known, self._emit, since(self._request.started_at))
        self._budget_watch.start()

    def _command(self, environment: dict[str, str], handover: Handover) -> Command:
        request = self._request
        arguments = handover.arguments([*request.extra, Literals(self._own_variables())])
        if request.mode == "plan":
            arguments = ["--check", "--diff", *arguments]
        return Command(
            run_id=request.run_id,
            playbook=request.runbook.playbook,
            inventory=request.inventory,
            limit=request.limit,
            arguments=arguments,
            forks=request.forks,
            # A plan needs the conditions of what is skipped, which Ansible tells from -v on.
            verbosity=max(request.verbosity, 1) if request.mode == "plan" else request.verbosity,
            directory=request.directory,
            environment=environment,
        )

    def _own_variables(self) -> dict[str, t.Any]:
        request = self._request
        variables: dict[str, t.Any] = {
            "codeblue_run_id": request.run_id,
            "codeblue_inventory_sources": list(request.inventory),
            **request.settings,
        }
        if request.because is not None:
            variables["codeblue_because"] = request.because
        if request.accept:
            variables["codeblue_accept"] = list(request.accept)
        return variables

    def _announce(self) -> None:
        request = self._request
        if request.mode == "run":
            warning = save_invocation(invocation_of(request))
            if warning:
                self._emit(Warned(warning))
        self._emit(
            Started(
                run=request.run_id,
                runbook=request.runbook.name,
                mode=request.mode,
                inventory=list(request.inventory),
                limit=request.limit,
                at=datetime.fromtimestamp(request.started_at, tz=UTC).isoformat(timespec="microseconds"),
            )
        )

    def _on_event(self, event: dict[str, t.Any]) -> None:
        if event.get("event") == "playbook_on_start" and self._handover is not None:
            # Ansible has read them. From here on its errors could quote the lines that they stand in.
            self._handover.close()
        self._reader.read(event)
        if self._request.mode == "plan":
            return
        # On a small machine it would take the time from what leads to the first change.
        if self._reader.first_accepted_at is not None:
            self._background.start()
        elif self._reader.steps_of_stages:
            self._background.start_within(_BUDGET_AFTER_SECONDS)

    def _judge(self, code: int, stopped: bool) -> Outcome:
        if self._request.mode == "plan":
            return outcome_of(code, self._reader, None, stopped, self._request.run_id)
        self._background.start()
        self._background.wait(_RECORD_SECONDS)
        try:
            if self._background.error is not None:
                raise self._background.error
            run, in_doubt = self._record.load()
        except CodeblueError as error:
            self._emit(Warned(f"the record of this run could not be read: {error.message}"))
            return _without_store(code, self._reader, stopped, self._request.run_id, error)
        # What an earlier attempt left in doubt is still so when a resume is refused, and is no harm of this attempt.
        in_doubt = 0 if self._request.mode == "resume" else in_doubt
        return outcome_of(code, self._reader, run, stopped, self._request.run_id, in_doubt)

    def _show_branches(self) -> None:
        branches: dict[str, Branch] = {}
        for task, condition, target in self._reader.skipped:
            branch = branches.setdefault(condition, Branch(condition, [], []))
            if task not in branch.steps:
                branch.steps.append(task)
            if target not in branch.targets:
                branch.targets.append(target)
        for branch in branches.values():
            self._emit(branch)

    def _summary(self, outcome: Outcome) -> Summary:
        request, reader = self._request, self._reader
        first = reader.first_accepted_at
        if outcome.error and not any(failure.error == outcome.error for failure in reader.failures):
            self._emit(Failure(outcome.error, outcome.hint, None, outcome.exit_code))
        return Summary(
            run=request.run_id,
            runbook=request.runbook.name,
            mode=request.mode,
            outcome=outcome.outcome,
            exit_code=outcome.exit_code,
            seconds=round(time.time() - request.started_at, 3),
            first_action_seconds=round(first - request.started_at, 3) if first is not None else None,
            targets=outcome.targets,
            error=outcome.error,
            hint=outcome.hint,
            next_step=outcome.next_step,
        )

    def _emit(self, message: Message) -> None:
        if self._display_failed:
            return
        if isinstance(message, Step) and message.stage and self._budget_watch is not None:
            self._budget_watch.stage_ended(message.stage)
        try:
            self._output.emit(message)
        except Exception:  # noqa: BLE001 - a fault of the display must not take the runner from a recovery
            self._display_failed = True
            traceback.print_exc(file=sys.stderr)

    def _secrets(self) -> list[str]:
        environment = _process_environment()
        return [
            *secrets_of(self._request.extra),
            *(environment[name] for name in self._request.pass_env if name in environment),
        ]


class _Record:
    """The run's record, and what earlier ones say about how long it takes."""

    def __init__(
        self,
        request: Request,
        emit: t.Callable[[Message], None],
        watch: t.Callable[[float, Experience], None],
    ) -> None:
        self._request = request
        self._emit = emit
        self._watch = watch

    def prepare(self) -> None:
        """Import what is needed, and tell the budget."""
        from codeblue.runner.cards import card_rto
        from codeblue.runner.record import expected_seconds, experience, open_record, smallest_rto

        store = open_record()
        expected, count = expected_seconds(store, self._request.runbook.id)
        run = store.run(self._request.run_id)
        # The run may not be open yet; then the card has to do.
        rto = smallest_rto(run) if run else None
        objective = rto or card_rto(self._request.runbook)
        self._emit(Budget(objective, expected, count))
        if objective is not None and self._request.mode != "plan":
            self._watch(objective, experience(store, self._request.runbook.id))

    def load(self) -> tuple[Run | None, int]:
        """The run, and how many of its steps have no result."""
        from codeblue.runner.record import open_record

        store = open_record()
        run = store.run(self._request.run_id)
        return run, len(store.open_intents(run.run_id)) if run is not None and run.status == "open" else 0


def invocation_of(request: Request) -> Invocation:
    """What is kept of a request."""
    return Invocation(
        run_id=request.run_id,
        runbook=request.runbook.name,
        inventory=request.inventory,
        limit=request.limit,
        because=request.because,
        accept=request.accept,
        variable_files=tuple(str(source.path) for source in request.extra if isinstance(source, VariablesFile)),
        variable_names=tuple(names_of(request.extra)),
        pass_env=request.pass_env,
        directory=str(request.directory),
        settings=dict(request.settings),
    )


def _without_store(code: int, reader: EventReader, stopped: bool, run_id: str, error: CodeblueError) -> Outcome:
    """The store is gone: what the play itself said has to do."""
    judged = outcome_of(code, reader, None, stopped, run_id)
    if reader.first_accepted_at is None or judged.exit_code in (0, 3):
        return judged
    return Outcome("failed_unsafe", 5, {}, judged.error or error.message, "a person has to look at the targets now")


def _process_environment() -> dict[str, str]:
    return dict(os.environ)
