# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an action does when a module has met somebody else who keeps what it was about to change.

A module looks right before its first change and changes nothing when it meets one, so that no question is asked twice
and none is asked where nobody is. Here it is suspended by a step of its own, and the module is asked again.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer

#: Variable of a machine: the reconcilers of the site's own.
VARIABLE = "codeblue_reconcilers"
#: Begins the name of the step that suspends one.
PREFIX = "suspend_"
_SECONDS = 45.0
if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

_KEYS = frozenset(
    ("name", "owns", "restarts", "process", "status_command", "suspend_command", "resume_command", "advice")
)
_SUSPEND, _REFUSE = "suspend", "refuse"


@dataclass(frozen=True)
class InTheWay:
    """A reconciler that has to be suspended before a change.

    :param undo: the command that gives it back.
    """

    machine: str
    name: str
    about: tuple[str, ...]
    evidence: str
    undo: str

    @property
    def due(self) -> str:
        """What somebody has to do in the end, in one line."""
        return f"on {self.machine}: {self.undo} ({self.name} was suspended, it keeps {', '.join(self.about[:3])})"

    def suspension(self, target: str | None) -> Change:
        """The step that suspends it."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change

        return Change(
            action=f"{PREFIX}{self.name.replace(' ', '_')}_{self.machine}",
            machine=self.machine,
            module="reconciler_suspend",
            arguments={"name": self.name, "about": list(self.about)},
            decision={"reason": f"it keeps {', '.join(self.about[:3])}: {self.evidence}", "undo": self.undo},
            seconds=_SECONDS,
            target=target,
        )


class ReconcilerGate:
    """Who was met in one action.

    :param suspension: does the steps that suspend some, and writes down by target what is due afterwards.
    """

    def __init__(self, suspension: Callable[[Sequence[Change], Mapping[str | None, Sequence[str]]], None]) -> None:
        self._suspension = suspension
        self._due: list[str] = []
        self._told: list[str] = []

    def suspend(
        self, answered: Mapping[int, tuple[Change, MachineAnswer]]
    ) -> tuple[list[int], dict[int, MachineAnswer]]:
        """Suspend whom modules met before they changed anything.

        :returns: whose modules are to be asked again, or why they cannot be.
        """
        met = {position: found for position, (_change, answer) in answered.items() if (found := _in_the_way(answer))}
        suspensions: dict[tuple[str, str], Change] = {}
        due: dict[str | None, list[str]] = {}
        for position, found in met.items():
            change = answered[position][0]
            for each in found:
                if (each.machine, each.name) not in suspensions:
                    suspensions[each.machine, each.name] = each.suspension(change.target)
                    due.setdefault(change.target, []).append(each.due)
        if not suspensions:
            return [], {}
        try:
            self._suspension(list(suspensions.values()), due)
        except CodeblueError as error:
            # What other modules of the same call have done is recorded all the same.
            return [], {position: _not_suspended(answered[position][1], error) for position in met}
        self._due += [line for lines in due.values() for line in lines if line not in self._due]
        return list(met), {}

    def plan(self, answers: Iterable[MachineAnswer]) -> list[str]:
        """The steps that a plan needs before its own, by what the modules met."""
        planned = []
        for answer in answers:
            found = (answer.result or {}).get("reconcilers") or []
            planned += [f"{PREFIX}{each.name} on {each.machine}" for each in _suspendable(answer.machine, found)]
            self._tell(answer.machine, found)
        return planned

    def tell(self, answers: Iterable[MachineAnswer]) -> None:
        """Remember those that could not be suspended and may put something back."""
        for answer in answers:
            self._tell(answer.machine, (answer.result or {}).get("reconcilers") or [])

    def said(self, summary: str) -> dict[str, t.Any]:
        """For the action's result: what is due afterwards, who was only told of, and the summary with both."""
        said: dict[str, t.Any] = {}
        if self._due:
            said["due"] = list(self._due)
            summary += f"; due afterwards {'; '.join(self._due)}"
        if self._told:
            said["reconcilers"] = list(self._told)
            summary += f"; {'; '.join(self._told)}"
        return {**said, "summary": summary} if said else {}

    def _tell(self, machine: str, found: Sequence[Mapping[str, t.Any]]) -> None:
        for each in found:
            if each["treatment"] == _SUSPEND:
                continue
            verb = "would refuse this: it keeps" if each["treatment"] == _REFUSE else "may put back"
            about = ", ".join(each["about"][:3])
            line = f"{each['name']} on {machine} {verb} {about} ({each['evidence']}; {each['advice']})"
            if line not in self._told:
                self._told.append(line)


def _not_suspended(answer: MachineAnswer, error: CodeblueError) -> MachineAnswer:
    said = f"{answer.failure}; it cannot be suspended: {error.message}"
    return dataclasses.replace(answer, failure=said, hint=error.hint or answer.hint, exit_code=Refused.exit_code)


def _in_the_way(answer: MachineAnswer) -> list[InTheWay]:
    """Whom a module met, when all of them can be suspended and nothing was changed yet; else nothing."""
    failed = answer.failed_result or {}
    return _suspendable(answer.machine, failed.get("reconcilers") or []) if failed.get("nothing_changed") else []


def _suspendable(machine: str, found: Sequence[Mapping[str, t.Any]]) -> list[InTheWay]:
    """Those to be suspended; none when one of them is refused."""
    if any(each["treatment"] == _REFUSE for each in found):
        return []
    return [
        InTheWay(machine, str(each["name"]), tuple(each["about"]), str(each["evidence"]), str(each["undo"]))
        for each in found
        if each["treatment"] == _SUSPEND
    ]


def declared_on(machine: str, variables: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The reconcilers of the site's own on a machine, as modules take them.

    :param variables: of the machine.
    :raises BadInput: the inventory says something wrong about one of them.
    """
    found = variables.get(VARIABLE) or []
    if not isinstance(found, list):
        raise BadInput(f"{machine}: {VARIABLE} is no list", "see docs/reconcilers.md")
    for number, each in enumerate(found):
        where = f"{machine}: {VARIABLE}[{number}]"
        if not isinstance(each, Mapping) or not isinstance(each.get("name"), str):
            raise BadInput(f"{where} has no name", "see docs/reconcilers.md")
        unknown = sorted(str(key) for key in each if key not in _KEYS)
        if unknown:
            raise BadInput(f"{where}: {unknown[0]!r} is no key of it", f"known: {', '.join(sorted(_KEYS))}")
        if not each.get("owns") and not each.get("restarts"):
            raise BadInput(f"{where}: names neither owns nor restarts", "say what it keeps")
        commands = [name for name in ("status_command", "suspend_command", "resume_command") if each.get(name)]
        if commands and len(commands) != 3:
            raise BadInput(
                f"{where}: {commands[0]} stands alone", "give status_command, suspend_command, resume_command"
            )
    return [dict(each) for each in found]
