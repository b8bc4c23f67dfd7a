# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs modules on the machines behind a service, over Ansible's own connections.

A task belongs to a service, and a service is no machine. A step that spans machines therefore opens the
connections of the machines itself. Every call runs in a child process of the worker, so that many run at
once, a deadline ends one for good, and a dead machine costs the others nothing: an unreachable machine is an
answer here, never an unreachable host, because Ansible would skip rescue and close for the whole service.
"""

from __future__ import annotations

import json
import shlex
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import (
    Batch,
    MachineAnswer,
    MachineCall,
    first_line,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_connection import connect
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_payload import START, program
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain

_COLLECTION = "codeblue.recovery."
_INTERPRETER = "ansible_python_interpreter"


class Machines:
    """The machines of the inventory, seen from one action.

    :param action: the running action plugin; its loaders and task are borrowed.
    :param task_vars: the variables of the task's host.
    """

    def __init__(self, action: ActionBase, task_vars: Mapping[str, t.Any]) -> None:
        self._action = action
        self._hostvars = task_vars["hostvars"]

    def run(self, call: MachineCall) -> MachineAnswer:
        """Run one call."""
        return self.run_all([call])[0]

    def run_all(
        self, calls: Sequence[MachineCall], meanwhile: t.Callable[[], None] | None = None
    ) -> list[MachineAnswer]:
        """Run the calls at once (bounded) and answer in their order.

        :param meanwhile: called now and then while a long call is waited for.
        :raises BadInput: a machine is not in the inventory.
        """
        return self.start(calls).answers(meanwhile)

    def start(self, calls: Sequence[MachineCall]) -> Batch:
        """Start the calls and go on meanwhile; `Batch.answers` waits for them.

        :raises BadInput: a machine is not in the inventory.
        """
        for call in calls:
            if call.machine not in self._hostvars:
                raise BadInput(
                    f"machine {call.machine!r} is not in the inventory", "add it to the group codeblue_machines"
                )
        return Batch(calls, self._call_in_child)

    def variables(self, machine: str) -> dict[str, t.Any]:
        """The machine's variables as they stand in the inventory, not templated."""
        return t.cast("dict[str, t.Any]", self._hostvars.raw_get(machine))

    def _call_in_child(self, call: MachineCall) -> MachineAnswer:
        try:
            raw = self._run_module(call)
        except AnsibleConnectionFailure as error:
            return MachineAnswer(call.machine, unreachable=first_line(error))
        except AnsibleError as error:
            return MachineAnswer(call.machine, failure=first_line(error))
        if raw.get("unreachable"):
            return MachineAnswer(call.machine, unreachable=first_line(raw.get("msg", "unreachable")))
        raw.pop("invocation", None)
        if raw.get("failed") or "module_stderr" in raw:
            return MachineAnswer(
                call.machine,
                failure=first_line(raw.get("msg") or raw.get("module_stderr") or "the module gave no answer"),
                hint=raw.get("hint"),
                exit_code=int(raw.get("exit_code") or 1),
                failed_result=_without_noise(raw),
            )
        return MachineAnswer(call.machine, result=_without_noise(raw))

    def _run_module(self, call: MachineCall) -> dict[str, t.Any]:
        variables = self.variables(call.machine)
        templar = Templar(loader=self._action._loader, variables=variables)
        connection = connect(self._action, variables, templar)
        runner = self._module_runner(connection, templar, call.check_mode)
        try:
            # The interpreter is templated here, because modules are built from plain variables.
            settings = dict(variables)
            for name in (_INTERPRETER, "ansible_remote_tmp"):
                if name in settings:
                    settings[name] = templar.template(settings[name])
            settings.setdefault("ansible_facts", {})
            interpreter = str(settings.get(_INTERPRETER, "auto"))
            if _may_be_sent(call.module) and runner.pipelines and not interpreter.startswith("auto"):
                return runner.send(call, interpreter)
            return t.cast(
                "dict[str, t.Any]",
                plain(
                    runner._execute_module(
                        module_name=call.module, module_args=dict(call.arguments), task_vars=settings
                    )
                ),
            )
        finally:
            runner.cleanup()
            connection.close()

    def _module_runner(self, connection: t.Any, templar: Templar, check_mode: bool | None) -> _ModuleRunner:
        task = self._action._task.copy()
        task.delegate_to = None
        task.async_val = 0
        if check_mode is not None:
            task.check_mode = check_mode
        return _ModuleRunner(
            task=task,
            connection=connection,
            play_context=self._action._play_context,
            loader=self._action._loader,
            templar=templar,
            shared_loader_obj=self._action._shared_loader_obj,
        )


def _answer_in(told: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's answer is the last line; a shell may have said something before it."""
    for line in reversed(str(told["stdout"]).splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                break
    said = str(told["stderr"]).strip().splitlines()
    return {"failed": True, "msg": f"no answer, exit {told['rc']}: {said[-1] if said else 'nothing was said'}"}


# Keys that Ansible adds to what a module returns.
_NOISE = frozenset(("invocation", "ansible_facts", "deprecations", "warnings", "module_stdout", "module_stderr"))


def _without_noise(raw: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in raw.items() if key not in _NOISE and not key.startswith("_ansible")}


def _may_be_sent(module: str) -> bool:
    return module.startswith(_COLLECTION)


class _ModuleRunner(ActionBase):
    """Only there for what ActionBase knows about running a module over a connection."""

    _requires_connection = True

    @property
    def pipelines(self) -> bool:
        """The connection takes a program on standard input."""
        return bool(self._is_pipelining_enabled("new"))

    def send(self, call: MachineCall, interpreter: str) -> dict[str, t.Any]:
        """Send a module of this collection by itself, see `_machine_payload`."""
        arguments = {
            **plain(call.arguments),
            "_ansible_check_mode": bool(self._task.check_mode),
            "_ansible_diff": bool(self._task.diff),
        }
        start = f"{self._compute_environment_string()} {interpreter} -c {shlex.quote(START)}"
        told = self._low_level_execute_command(
            start.strip(), in_data=program(call.module.removeprefix(_COLLECTION), arguments)
        )
        return _answer_in(told)

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        raise AssertionError("a module runner is never scheduled as a task")
