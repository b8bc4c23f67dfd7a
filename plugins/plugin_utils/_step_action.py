# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every action of the collection has in common.

An action looks first (`decide`) and then acts (`perform`). In check mode it only looks. All that changes a
target passes `change`: the gate, the intent, the module on the machine, the result. The run is found by the
lease that this very ansible-playbook process holds, so that no variable, tag, limit or foreign playbook opens
the gate.
"""

from __future__ import annotations

import functools
import importlib
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible.plugins.action import ActionBase
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._imported_beside import import_beside_next_worker
from ansible_collections.codeblue.recovery.plugins.plugin_utils._killed_worker import end_when_results_are_stuck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import Machines
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain
from ansible_collections.codeblue.recovery.plugins.plugin_utils._reconciler_gate import (
    ReconcilerGate,
    declared_on,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._redact import redact, redact_text
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_changes import Change, Changed, OpenRun, joined

# A failing import at the top of an action plugin would abort the whole play, past rescue. It is said in run().
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity

    MISSING: ImportError | None = None
except ImportError as error:
    MISSING = error

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Step
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_access import ResilientStore

_STORE_ACCESS = "ansible_collections.codeblue.recovery.plugins.plugin_utils._store_access"
# 0.2 s that the first worker does not wait for: it looks at the machines meanwhile.
import_beside_next_worker(_STORE_ACCESS)
end_when_results_are_stuck()

_COLLECTION = "codeblue.recovery."
_DEFAULT_LOCK_DIR = "/var/lib/codeblue"


class StepAction(ActionBase):
    """Base of the actions.

    A subclass sets `ARGUMENTS` (an argument spec) and `STAGE`, and writes `act`. An action that handles all
    targets of the play in one call sets `BYPASS_HOST_LOOP`; its task says `run_once: true` as well, so that
    every host gets the result.
    """

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {}
    STAGE: t.ClassVar[str] = ""
    # Set by an action whose file needs packages of its own and imports them under `try`.
    MISSING_IMPORT: t.ClassVar[ImportError | None] = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        started = time.monotonic()
        super().run(tmp, task_vars)
        self._variables: dict[str, t.Any] = task_vars or {}
        self._secrets: set[str] = set()
        self._accepted_at: list[float] = []
        self._planned: list[str] = []
        self._missed: list[str] = []
        self._reconcilers = ReconcilerGate(self._suspension)
        self._yielding: dict[str, bool] = {}
        self._stage = self.STAGE
        self._stages_ended: list[dict[str, t.Any]] = []
        try:
            missing = MISSING or self.MISSING_IMPORT
            if missing is not None:
                raise missing
            if self._task.async_val:
                raise BadInput("async does not work for actions of codeblue.recovery", "remove async from the task")
            result = self.act(self._typed_arguments())
        except CodeblueError as error:
            result = self._failure(error)
        except ImportError as error:
            result = self._failure(_is_missing(error))
        result = redact(plain(result), self._secrets)
        said = result.setdefault("codeblue", {})
        said.setdefault("stage", self._stage)
        said["target"] = said.get("target") or self.target
        said["seconds"] = round(time.monotonic() - started, 3)
        said["changed"] = bool(result.setdefault("changed", False))
        said["accepted_at"] = min(self._accepted_at, default=None)
        said |= redact(self._reconcilers.said(str(said.get("summary", ""))), self._secrets)
        if self._missed:
            said["due"] = redact([*said.get("due", []), *self._missed], self._secrets)
            said["summary"] = f"{said.get('summary', '')}; due afterwards {'; '.join(self._missed)}"
            said["summary"] = redact_text(said["summary"], self._secrets)
        if self._stages_ended:
            said["stages_ended"] = self._stages_ended
        if self._planned:
            said["plan"] = self._planned
            said["summary"] = f"{said.get('summary', '')}; steps: {', '.join(self._planned)}"
        return t.cast("dict[str, t.Any]", result)

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Do the step.

        :param arguments: validated and typed.
        :returns: the task's result; `codeblue.summary` is the one line for people.
        :raises CodeblueError: the step failed; the message is for people.
        """
        raise NotImplementedError

    def stage_ended(self, stage: str, summary: str, started: float) -> None:
        """Tell people of a stage that is over while the task goes on with the next.

        :param started: by `time.monotonic`.
        """
        seconds = round(time.monotonic() - started, 3)
        self._stages_ended.append({"stage": stage, "summary": summary, "seconds": seconds, "ended_at": time.time()})

    # -- what the action is about ------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """The service that this task runs for."""
        return str(self._variables.get("inventory_hostname", ""))

    @property
    def targets(self) -> list[str]:
        """All services that are still in the play."""
        return [str(name) for name in self._variables.get("ansible_play_hosts", [])]

    @property
    def check_mode(self) -> bool:
        return bool(self._task.check_mode)

    @property
    def machines(self) -> Machines:
        return Machines(self, self._variables)

    def service(self, name: str | None = None) -> Service:
        """The service as the inventory describes it, of this task's target by default."""
        wanted = name or self.target
        return self.services([wanted])[wanted]

    def services(self, names: Sequence[str]) -> dict[str, Service]:
        """The services by name.

        :raises BadInput: the inventory says something wrong about one of them.
        """
        hostvars = self._variables["hostvars"]
        return load_services({name: codeblue_variables(hostvars[name]) for name in names}, set(hostvars))

    @functools.cached_property
    def store(self) -> ResilientStore:
        """The state store, opened once per task: a connection must not cross a fork."""
        access = importlib.import_module(_STORE_ACCESS)
        return t.cast("ResilientStore", access.open_store_of_run(ProcessIdentity.parent()))

    # -- the gate ----------------------------------------------------------------------------------------------

    def open_run(self, target: str | None = None) -> OpenRun:
        """The run that may change the target.

        :raises Refused: this process holds no lease of it.
        """
        wanted = target or self.target
        store = self.store
        for lease in store.leases_held_by(ProcessIdentity.parent()):
            if lease.target == wanted:
                store.check_lease(wanted, lease.run_id, lease.generation)
                return OpenRun(lease.run_id, wanted, lease, store)
        raise Refused(
            f"no run is open for {wanted} in this process: nothing was changed",
            "start the runbook whole: codeblue run RUNBOOK, or ansible-playbook codeblue.recovery.RUNBOOK",
        )

    # -- changes -----------------------------------------------------------------------------------------------

    def look(self, calls: Sequence[MachineCall]) -> list[MachineAnswer]:
        """Run modules that only read. They run in check mode too."""
        return self.machines.run_all(calls)

    def change(self, change: Change) -> Changed:
        """One change; see `changes`."""
        return self.changes([change])[0]

    def changes(self, changes: Sequence[Change]) -> list[Changed]:
        """Changes on several machines at once, each journalled.

        An intent is on disk before its module starts. What an earlier attempt finished is not done again; what
        it left in doubt is given to the machine once more, where receipts and the state itself settle it. In
        check mode the modules say what they would do.

        :raises Refused: the gate is closed.
        """
        ended = iter(self._each_of([each for change in changes for each in change.every]))
        return [self._joined(change, [next(ended) for _each in change.every]) for change in changes]

    def _joined(self, change: Change, ended: Sequence[Changed]) -> Changed:
        whole = joined(change, ended)
        for machine, reason in whole.missed.items():
            line = f"{change.module} on {machine}, which was not reached with {change.action}: {reason}"
            if line not in self._missed:
                self._missed.append(line)
                if not self.check_mode:
                    run = self.open_run(change.target)
                    text = redact_text(f"due afterwards {line}", self._secrets)
                    run.store.record(run.run_id, "note", {"target": run.target, "text": text[:1000]})
        return whole

    def _each_of(self, changes: Sequence[Change]) -> list[Changed]:
        if self.check_mode:
            self._planned += [f"{change.action} on {change.machine}" for change in changes]
            answers = self.machines.run_all([self._call(change, None) for change in changes])
            self._planned += self._reconcilers.plan(answers)
            return [Changed(change, answer) for change, answer in zip(changes, answers, strict=True)]
        runs = {target: self.open_run(target) for target in {change.target or self.target for change in changes}}
        begun = [(change, runs[change.target or self.target]) for change in changes]
        steps = [self._begin(run, change) for change, run in begun]
        waiting = [position for position, step in enumerate(steps) if step.state != "done"]
        answers = self.machines.run_all(
            [self._call(changes[position], (begun[position][1], steps[position].key)) for position in waiting],
            meanwhile=lambda: _renew(runs.values()),
        )
        answered = dict(zip(waiting, answers, strict=True))
        met, not_suspended = self._reconcilers.suspend(
            {position: (begun[position][0], answer) for position, answer in answered.items()}
        )
        answered.update(not_suspended)
        if met:
            again = [self._call(begun[position][0], (begun[position][1], steps[position].key)) for position in met]
            answers = self.machines.run_all(again, meanwhile=lambda: _renew(runs.values()))
            answered.update(zip(met, answers, strict=True))
        self._reconcilers.tell(answered.values())
        return [
            self._record(run, change, step, answered[position])
            if position in answered
            else Changed(change, MachineAnswer(change.machine, result=dict(step.result or {})), earlier=True)
            for position, ((change, run), step) in enumerate(zip(begun, steps, strict=True))
        ]

    def _suspension(self, changes: Sequence[Change], due: Mapping[str | None, Sequence[str]]) -> None:
        """Suspend reconcilers, and write down what is due for that.

        :param due: target to what somebody has to do afterwards.
        :raises CodeblueError: one cannot be suspended.
        """
        for ended in self.changes(changes):
            ended.checked()
        for target, lines in due.items():
            run = self.open_run(target)
            for line in lines:
                run.store.record(run.run_id, "note", {"target": run.target, "text": f"due afterwards {line}"[:1000]})

    def _begin(self, run: OpenRun, change: Change) -> Step:
        return run.store.begin_step(
            run.run_id,
            run.target,
            self.STAGE,
            change.action,
            decision=redact(plain({"machine": change.machine, **change.decision}), self._secrets),
            worker=ProcessIdentity.current(),
            generation=run.lease.generation,
        )

    def local_change(
        self,
        action: str,
        decision: Mapping[str, t.Any],
        work: t.Callable[[OpenRun], dict[str, t.Any]],
        target: str | None = None,
    ) -> dict[str, t.Any]:
        """A journalled step on the controller itself, such as writing a snapshot, or through an API.

        :param work: does it and returns a result without secrets; must be safe to run again. `accepted_at` in it is
            the Unix time at which the target accepted the change.
        """
        run = self.open_run(target)
        step = run.store.begin_step(
            run.run_id,
            run.target,
            self.STAGE,
            action,
            decision=redact(plain(dict(decision)), self._secrets),
            worker=ProcessIdentity.current(),
            generation=run.lease.generation,
        )
        if step.state == "done":
            return dict(step.result or {})
        try:
            result = work(run)
        except CodeblueError as error:
            run.store.finish_step(step, "failed", {"error": redact_text(error.message, self._secrets)}, changed=False)
            raise
        if result.get("accepted_at"):
            self._accepted_at.append(float(result["accepted_at"]))
        run.store.finish_step(
            step, "ok", redact(plain(result), self._secrets), changed=bool(result.get("changed", True))
        )
        return result

    def renew_lease(self, target: str | None = None) -> None:
        """Tell other controllers that somebody is still at work here; for whoever waits on the controller."""
        _renew([self.open_run(target)])

    def _call(self, change: Change, gate: tuple[OpenRun, str] | None) -> MachineCall:
        arguments = dict(change.arguments)
        reconcilers = declared_on(change.machine, self._machine_variables(change.machine))
        if reconcilers:
            arguments["reconcilers"] = plain(reconcilers)
        if gate is not None:
            run, key = gate
            arguments["step"] = {
                "run_id": run.run_id,
                "target": run.target,
                "key": key,
                "generation": run.lease.generation,
                "lock_dir": self._lock_dir(change.machine),
                "yields": self._gives_way(run),
            }
        return MachineCall(change.machine, _COLLECTION + change.module, arguments, change.seconds)

    def _gives_way(self, run: OpenRun) -> bool:
        """Whether a step of this run may be ended at its machine by an emergency's."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import gives_way

        if run.run_id not in self._yielding:
            record = run.store.run(run.run_id)
            self._yielding[run.run_id] = record is not None and gives_way(record.runbook)
        return self._yielding[run.run_id]

    def _lock_dir(self, machine: str) -> str:
        return str(self._machine_variables(machine).get("codeblue_lock_dir", _DEFAULT_LOCK_DIR))

    def _machine_variables(self, machine: str) -> Mapping[str, t.Any]:
        hostvars = self._variables["hostvars"]
        if machine not in hostvars:
            raise BadInput(f"machine {machine!r} is not in the inventory", "add it to the group codeblue_machines")
        return t.cast("Mapping[str, t.Any]", hostvars[machine])

    def _record(self, run: OpenRun, change: Change, step: Step, answer: MachineAnswer) -> Changed:
        if answer.result is not None:
            result = redact(answer.result, self._secrets)
            if result.get("accepted_at"):
                self._accepted_at.append(float(result["accepted_at"]))
            run.store.finish_step(step, "ok", result, changed=bool(result.get("changed")))
            return Changed(change, answer, bool(result.get("already_done")))
        if answer.unreachable is not None:
            # Nobody knows whether it happened: the intent stays in doubt until somebody looks.
            return Changed(change, answer)
        failure = {"error": redact_text(answer.failure or "", self._secrets), "exit_code": answer.exit_code}
        run.store.finish_step(step, "failed", failure, changed=False)
        return Changed(change, answer)

    # -- arguments and failures --------------------------------------------------------------------------------

    def _typed_arguments(self) -> dict[str, t.Any]:
        _result, arguments = self.validate_argument_spec(argument_spec=self.ARGUMENTS)
        return t.cast("dict[str, t.Any]", plain(arguments))

    def _failure(self, error: CodeblueError) -> dict[str, t.Any]:
        message = redact_text(error.message, self._secrets)
        hint = redact_text(error.hint, self._secrets) if error.hint else None
        return {
            "failed": True,
            "msg": f"{message} ({hint})" if hint else message,
            "codeblue": {"error": message, "hint": hint, "exit_code": error.exit_code, "summary": message},
        }


def _is_missing(error: ImportError) -> CodeblueError:
    return CodeblueError(
        f"the Python package {error.name} is missing in the environment that runs ansible-playbook",
        "pip install codeblue-recovery there, or use the execution environment",
        exit_code=2,
    )


def _renew(runs: Iterable[OpenRun]) -> None:
    """Tell other controllers that somebody is still at work here."""
    for run in runs:
        run.store.renew_lease(run.target, run.run_id, run.lease.generation)


def codeblue_variables(variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The collection's own variables of a host, resolved; all others stay untouched and untemplated."""
    return {name: plain(variables[name]) for name in variables if name.startswith("codeblue_")}
