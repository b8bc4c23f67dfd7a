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
import os
import select
import signal
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain

# What one answer may weigh. Evidence is the largest (2 MB before encoding); beyond this the machine is misbehaving.
_LARGEST_ANSWER = 8 * 1024 * 1024
# How many machines are asked at once by one action.
_MOST_AT_ONCE = 32
# A third of the shortest lease, so that one missed beat does not lose it.
_BEAT_SECONDS = 20.0


@dataclass(frozen=True)
class MachineCall:
    """One module to run on one machine.

    :param arguments: given to the module; never logged.
    :param seconds: the total deadline, connection included.
    """

    machine: str
    module: str
    arguments: Mapping[str, t.Any] = field(repr=False)
    seconds: float = 30.0
    check_mode: bool | None = None


@dataclass(frozen=True)
class MachineAnswer:
    """What came back. Exactly one of `result`, `failure` and `unreachable` is set."""

    machine: str
    result: dict[str, t.Any] | None = None
    failure: str | None = None
    hint: str | None = None
    exit_code: int = 1
    unreachable: str | None = None
    failed_result: dict[str, t.Any] | None = None

    @property
    def ok(self) -> bool:
        return self.result is not None

    def result_or_raise(self) -> dict[str, t.Any]:
        """The result.

        :raises CodeblueError: the module failed or the machine did not answer.
        """
        if self.result is not None:
            return self.result
        if self.unreachable is not None:
            raise CodeblueError(
                f"machine {self.machine} cannot be reached: {self.unreachable}",
                f"check the connection: ansible -m ansible.builtin.ping {self.machine}",
            )
        raise CodeblueError(f"{self.machine}: {self.failure}", self.hint, self.exit_code)


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
                    _quietly(lambda name=module: self._build(machine, name))
            os._exit(0)
        os.waitpid(middle, 0)

    def _build(self, machine: str, module: str) -> None:
        variables = self.variables(machine)
        templar = Templar(loader=self._action._loader, variables=variables)
        settings = {**variables, "ansible_facts": {}}
        if "ansible_python_interpreter" in settings:
            settings["ansible_python_interpreter"] = templar.template(settings["ansible_python_interpreter"])
        runner = self._module_runner(_connect(self._action, variables, templar), templar, None)
        runner._configure_module(module, {}, settings)

    def variables(self, machine: str) -> dict[str, t.Any]:
        """The machine's variables as they stand in the inventory, not templated."""
        return t.cast("dict[str, t.Any]", self._hostvars.raw_get(machine))

    def _call_in_child(self, call: MachineCall) -> MachineAnswer:
        try:
            raw = self._run_module(call)
        except AnsibleConnectionFailure as error:
            return MachineAnswer(call.machine, unreachable=_first_line(error))
        except AnsibleError as error:
            return MachineAnswer(call.machine, failure=_first_line(error))
        if raw.get("unreachable"):
            return MachineAnswer(call.machine, unreachable=_first_line(raw.get("msg", "unreachable")))
        raw.pop("invocation", None)
        if raw.get("failed") or "module_stderr" in raw:
            return MachineAnswer(
                call.machine,
                failure=_first_line(raw.get("msg") or raw.get("module_stderr") or "the module gave no answer"),
                hint=raw.get("hint"),
                exit_code=int(raw.get("exit_code") or 1),
                failed_result=_without_noise(raw),
            )
        return MachineAnswer(call.machine, result=_without_noise(raw))

    def _run_module(self, call: MachineCall) -> dict[str, t.Any]:
        variables = self.variables(call.machine)
        templar = Templar(loader=self._action._loader, variables=variables)
        connection = _connect(self._action, variables, templar)
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


class Batch:
    """Calls that are under way, at most `_MOST_AT_ONCE` of them at a time."""

    def __init__(self, calls: Sequence[MachineCall], work: t.Callable[[MachineCall], MachineAnswer]) -> None:
        self._number = len(calls)
        self._waiting = list(enumerate(calls))
        self._work = work
        self._running: list[_Child] = []
        self._answers: dict[int, MachineAnswer] = {}
        self._fill()

    def answers(self, meanwhile: t.Callable[[], None] | None = None) -> list[MachineAnswer]:
        """Wait for all and answer in the order of the calls."""
        next_beat = time.monotonic() + _BEAT_SECONDS
        try:
            while self._running:
                self._collect(next_beat)
                self._fill()
                if meanwhile is not None and time.monotonic() >= next_beat:
                    meanwhile()
                    next_beat = time.monotonic() + _BEAT_SECONDS
        finally:
            self.end()
        return [self._answers[position] for position in range(self._number)]

    def end(self) -> None:
        """End what is still under way."""
        while self._running:
            self._running.pop().end()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < _MOST_AT_ONCE:
            position, call = self._waiting.pop(0)
            self._running.append(_Child(position, call, self._work))

    def _collect(self, until: float) -> None:
        """Read what has come, and end what is over its deadline."""
        soonest = min(until, *(child.deadline for child in self._running))
        ready, _nothing, _none = select.select(
            [child.pipe for child in self._running], [], [], max(0.0, soonest - time.monotonic())
        )
        for child in list(self._running):
            if child.pipe in ready:
                answer = child.read()
            elif child.deadline <= time.monotonic():
                child.end()
                answer = MachineAnswer(
                    child.call.machine, unreachable=f"no answer within {child.call.seconds:g} s ({child.call.module})"
                )
            else:
                continue
            if answer is not None:
                self._answers[child.position] = answer
                self._running.remove(child)


# Keys that Ansible adds to what a module returns.
_NOISE = frozenset(("invocation", "ansible_facts", "deprecations", "warnings", "module_stdout", "module_stderr"))


def _without_noise(raw: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in raw.items() if key not in _NOISE and not key.startswith("_ansible")}


class _ModuleRunner(ActionBase):
    """Only there for what ActionBase knows about running a module over a connection."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        raise AssertionError("a module runner is never scheduled as a task")


def _connect(action: ActionBase, variables: Mapping[str, t.Any], templar: Templar) -> t.Any:
    """A connection to the machine with its own options and become, as a task of its own would have got."""
    loaders = action._shared_loader_obj
    play_context = action._play_context.copy()
    name = templar.template(variables.get("ansible_connection", action._task.connection or "ssh"))
    address = templar.template(variables.get("ansible_host", variables.get("inventory_hostname")))
    play_context.remote_addr = address
    connection = loaders.connection_loader.get(
        name, play_context, task_uuid=action._task._uuid, ansible_playbook_pid=str(os.getppid())
    )
    if connection is None:
        raise AnsibleError(f"the connection plugin {name!r} was not found")
    task_keys = action._task.dump_attrs()
    task_keys["timeout"] = play_context.timeout
    if play_context.password:
        task_keys["password"] = play_context.password
    task_keys.pop("retries", None)
    _use_become(action, connection, variables, templar, task_keys)
    connection.set_options(
        task_keys=task_keys, var_options={"_extras": {}, **_options("connection", connection, variables, templar)}
    )
    # Without pipelining a module's arguments, secrets among them, would lie in a file on the machine.
    if connection.has_pipelining and "pipelining" in connection._options:
        connection.set_option("pipelining", True)
    shell = connection._shell
    shell.set_options(task_keys=task_keys, var_options=_options("shell", shell, variables, templar))
    return connection


def _use_become(
    action: ActionBase, connection: t.Any, variables: Mapping[str, t.Any], templar: Templar, task_keys: dict[str, t.Any]
) -> None:
    wanted = variables.get("ansible_become")
    become = action._task.become if wanted is None else templar.template(wanted)
    if not become or str(become).lower() in ("false", "no", "0"):
        connection.set_become_plugin(None)
        return
    method = templar.template(variables.get("ansible_become_method", action._task.become_method or "sudo"))
    plugin = action._shared_loader_obj.become_loader.get(method)
    if plugin is None:
        raise AnsibleError(f"the become method {method!r} was not found")
    if action._play_context.become_pass:
        task_keys["become_pass"] = action._play_context.become_pass
    plugin.set_options(task_keys=task_keys, var_options=_options("become", plugin, variables, templar))
    connection.set_become_plugin(plugin)


def _options(kind: str, plugin: t.Any, variables: Mapping[str, t.Any], templar: Templar) -> dict[str, t.Any]:
    known = C.config.get_plugin_vars(kind, plugin._load_name)
    return {name: templar.template(variables[name]) for name in known if name in variables}


class _Child:
    """One call in a process of its own.

    The child leaves with `os._exit`: nothing of the worker's clean-up may run twice.
    """

    def __init__(self, position: int, call: MachineCall, work: t.Callable[[MachineCall], MachineAnswer]) -> None:
        self.position = position
        self.call = call
        self.deadline = time.monotonic() + call.seconds
        self._received = bytearray()
        self.pipe, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.pipe)
            # A group of its own: a deadline ends the whole call, and the group stays in the worker's session,
            # by which a resumed run finds what an earlier attempt left behind.
            os.setpgid(0, 0)
            status = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                payload = _encode(work, call)
                with os.fdopen(write_end, "wb") as pipe:
                    pipe.write(payload)
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)

    def read(self) -> MachineAnswer | None:
        """What has arrived; None while more is to come."""
        data = os.read(self.pipe, 65536)
        self._received += data
        if len(self._received) > _LARGEST_ANSWER:
            self.end()
            return MachineAnswer(self.call.machine, failure=f"{self.call.module} answered with more than 8 MB")
        if data:
            return None
        self.end()
        if not self._received:
            return MachineAnswer(self.call.machine, failure=f"{self.call.module} ended without an answer")
        return MachineAnswer(**json.loads(self._received))

    def end(self) -> None:
        """End the call if it still runs, and reap it."""
        if self._pid == 0:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        except PermissionError:
            pass  # what is left of the group runs as another user by become and ends when its pipe closes
        os.waitpid(self._pid, 0)
        os.close(self.pipe)
        self._pid = 0


def _encode(work: t.Callable[[MachineCall], MachineAnswer], call: MachineCall) -> bytes:
    try:
        answer = work(call)
    except Exception as error:  # noqa: BLE001 - the boundary of a process: whatever it is becomes an answer
        answer = MachineAnswer(call.machine, failure=f"{call.module}: {type(error).__name__}: {_first_line(error)}")
    return json.dumps(vars(answer)).encode()


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines and lines[0].startswith("Traceback") else lines[0] if lines else "no message")[:500]
