# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a reconciler is suspended and given back, by the switch that it has for that."""

from __future__ import annotations

import os
import shlex
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    STOPPED,
    ProcessUnit,
    process_unit,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Declared, Machine
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_configuration import (
    AGENTS,
    ANSIBLE_PULL,
    PUPPET_TOOLS,
    active_units,
    pull_timers,
    puppet_state,
    puppet_works,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_units import (
    MONIT,
    MONIT_TOOLS,
    monit_watches,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import run_command

# A question to a tool on the machine; Ruby takes seconds to start.
_TOOL_SECONDS = 15.0
_UNIT_SECONDS = 15.0


class Switch:
    """A reconciler's own way to be suspended.

    :param undo: the command that gives it back, for people.
    """

    undo = ""

    def at_work(self) -> bool:
        """It would act now or later.

        :raises CodeblueError: that cannot be told.
        """
        raise NotImplementedError

    def suspend(self, reason: str, deadline: Deadline) -> None:
        """Have it do nothing until it is given back, and wait for what it is doing.

        :raises CodeblueError: it refused.
        """
        raise NotImplementedError

    def resume(self, deadline: Deadline) -> None:
        """Give it back.

        :raises CodeblueError: it refused.
        """
        raise NotImplementedError


class UnitSwitch(Switch):
    """Units that are stopped.

    :param units: each with the command that starts it again, empty for one that another of them starts.
    """

    def __init__(self, units: t.Sequence[t.Tuple[ProcessUnit, str]]) -> None:
        self._units = units
        self.undo = "; ".join(text for _unit, text in units if text)

    def at_work(self) -> bool:
        return any(unit.status(Deadline(5.0)).state not in (STOPPED, FAILED) for unit, _text in self._units)

    def suspend(self, reason: str, deadline: Deadline) -> None:
        for unit, _text in self._units:
            unit.request_stop(deadline)
        for unit, _text in self._units:
            status = unit.wait_for((STOPPED, FAILED), deadline)
            if status.state not in (STOPPED, FAILED):
                raise CodeblueError("%s does not stop: %s" % (unit, status.manager_state), "stop it by hand")

    def resume(self, deadline: Deadline) -> None:
        for unit, text in self._units:
            if text:
                unit.request_start(deadline)


class CommandSwitch(Switch):
    """Commands of the site's own."""

    def __init__(self, status: t.Sequence[str], suspend: t.Sequence[str], resume: t.Sequence[str]) -> None:
        for name, argv in (("status_command", status), ("suspend_command", suspend), ("resume_command", resume)):
            if not argv or not os.path.isabs(argv[0]):
                raise BadInput("codeblue_reconcilers: %s must begin with the absolute path of a program" % name)
        self._status, self._suspend, self._resume = status, suspend, resume
        self.undo = " ".join(shlex.quote(word) for word in resume)

    def at_work(self) -> bool:
        answer = run_command(self._status, Deadline(_TOOL_SECONDS))
        if answer.returncode is None:
            raise CodeblueError("whether it is at work is not known: %s" % answer.complaint(), "try it by hand")
        return answer.ok

    def suspend(self, reason: str, deadline: Deadline) -> None:
        _checked(self._suspend, deadline)

    def resume(self, deadline: Deadline) -> None:
        _checked(self._resume, deadline)


class PuppetSwitch(Switch):
    """Puppet's agent, by its own lock. A run that is under way is waited for."""

    undo = "puppet agent --enable"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def at_work(self) -> bool:
        return puppet_works(self._machine) is not None

    def suspend(self, reason: str, deadline: Deadline) -> None:
        _checked([self._tool(), "agent", "--disable", reason], deadline)
        running = self._machine.path((puppet_state(self._machine) or "") + "/agent_catalog_run.lock")
        if not deadline.wait_until(lambda: not os.path.exists(running), 0.1):
            raise CodeblueError(
                "puppet is disabled, and a run of it is still under way: %s" % running,
                "wait until it has ended, then run again",
            )

    def resume(self, deadline: Deadline) -> None:
        _checked([self._tool(), "agent", "--enable"], deadline)

    def _tool(self) -> str:
        tool = self._machine.tool(PUPPET_TOOLS)
        if tool is None:
            raise CodeblueError("puppet is not at %s" % ", ".join(PUPPET_TOOLS), "disable its agent by hand")
        return tool


class MonitSwitch(Switch):
    """One check of monit's."""

    def __init__(self, check: str, machine: Machine) -> None:
        self._machine = machine
        self._check = check
        self.undo = "monit monitor %s" % self._check

    def at_work(self) -> bool:
        return monit_watches(self._check, self._machine)

    def suspend(self, reason: str, deadline: Deadline) -> None:
        self._ask("unmonitor", deadline)

    def resume(self, deadline: Deadline) -> None:
        self._ask("monitor", deadline)

    def _ask(self, verb: str, deadline: Deadline) -> None:
        tool = self._machine.tool(MONIT_TOOLS)
        if tool is None:
            raise CodeblueError("monit is not at %s" % ", ".join(MONIT_TOOLS), "unmonitor %s by hand" % self._check)
        _checked([tool, verb, self._check], deadline)


def declared_switch(declared: Declared) -> t.Optional[Switch]:
    """The switch of one of the site's own; None when it has none."""
    if declared.process is not None:
        unit = process_unit(declared.process)
        socket = declared.process.get("socket")
        by = "supervisorctl -s unix://%s" % socket if socket else "systemctl"
        return UnitSwitch([(unit, "%s start %s" % (by, unit.unit))])
    if declared.suspend_command:
        return CommandSwitch(declared.status_command, declared.suspend_command, declared.resume_command)
    return None


def switch_named(
    name: str,
    declared: t.Sequence[Declared],
    units: t.Sequence[str] = (),
    machine: t.Optional[Machine] = None,
) -> t.Optional[Switch]:
    """The switch of a reconciler that was found; None when it has none.

    :param units: of systemd that were stopped, when it is to be given back.
    """
    for each in declared:
        if each.name == name:
            return declared_switch(each)
    seen = machine or Machine()
    if name == "puppet":
        return PuppetSwitch(seen)
    if name.startswith(MONIT):
        return MonitSwitch(name[len(MONIT) :], seen)
    active = list(units) or active_units(_units_of(name, seen), seen)
    if not active:
        return None
    # What a timer has started just now goes with it.
    started = [unit[: -len(".timer")] + ".service" for unit in active if unit.endswith(".timer")]
    also = [unit for unit in active_units(started, seen) if unit not in active]
    return UnitSwitch(
        [(process_unit({"manager": "systemd", "unit": unit}), "systemctl start %s" % unit) for unit in active]
        + [(process_unit({"manager": "systemd", "unit": unit}), "") for unit in also]
    )


def stopped_units(name: str, machine: t.Optional[Machine] = None) -> t.List[str]:
    """The units of systemd that suspending it stops, and giving it back starts."""
    seen = machine or Machine()
    return active_units(_units_of(name, seen), seen)


def _units_of(name: str, machine: Machine) -> t.Sequence[str]:
    if name == ANSIBLE_PULL:
        return pull_timers(machine)
    return next((agent.units for agent in AGENTS if agent.name == name), ())


def _checked(argv: t.Sequence[str], deadline: Deadline) -> None:
    answer = run_command(argv, deadline.within(_TOOL_SECONDS))
    if not answer.ok:
        raise CodeblueError(answer.complaint(), "try it by hand: %s" % " ".join(argv[:2]))
