# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs modules on the machines behind a service, over Ansible's own connections.

A task belongs to a service, and a service is no machine. A step that spans machines therefore opens the
connections of the machines itself. Every call runs in a child process of the worker, so that many run at
once, a deadline ends one for good, and a dead machine costs the others nothing: an unreachable machine is an
answer here, never an unreachable host, because Ansible would skip rescue and close for the whole service.
"""

from __future__ import annotations

import functools
import os
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
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain


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

    def prepare(self, machine: str, modules: Sequence[str]) -> None:
        """Have Ansible build what it sends for these modules, beside what goes on meanwhile.

        Building takes a fifth of a second the first time a module is used in a play, which would be spent while
        a clinic waits. Ansible keeps what it built for the rest of the play and locks it, so that a task which
        needs it too early waits for this instead of doing it again. Nothing depends on whether it worked.
        """
        if machine not in self._hostvars:
            return
        middle = os.fork()
        if middle == 0:
            # The builder belongs to nobody who would have to wait for it.
            for module in modules:
                if os.fork() == 0:
                    _quietly(functools.partial(self._build, machine, module))
            os._exit(0)
        os.waitpid(middle, 0)

    def _build(self, machine: str, module: str) -> None:
        variables = self.variables(machine)
        templar = Templar(loader=self._action._loader, variables=variables)
        settings = {**variables, "ansible_facts": {}}
        if "ansible_python_interpreter" in settings:
            settings["ansible_python_interpreter"] = templar.template(settings["ansible_python_interpreter"])
        runner = self._module_runner(connect(self._action, variables, templar), templar, None)
        runner._configure_module(module, {}, settings)

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
            for name in ("ansible_python_interpreter", "ansible_remote_tmp"):
                if name in settings:
                    settings[name] = templar.template(settings[name])
            settings.setdefault("ansible_facts", {})
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


def _quietly(work: t.Callable[[], None]) -> t.NoReturn:
    """Do it in this forked process and leave. Preparation that fails costs time later, never more."""
    try:
        os.nice(5)
        work()
    finally:
        os._exit(0)


# Keys that Ansible adds to what a module returns.
_NOISE = frozenset(("invocation", "ansible_facts", "deprecations", "warnings", "module_stdout", "module_stderr"))


def _without_noise(raw: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in raw.items() if key not in _NOISE and not key.startswith("_ansible")}


class _ModuleRunner(ActionBase):
    """Only there for what ActionBase knows about running a module over a connection."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        raise AssertionError("a module runner is never scheduled as a task")
