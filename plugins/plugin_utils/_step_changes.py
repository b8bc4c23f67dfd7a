# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions of a run pass around: the run that is open, a change on a machine, and how it ended."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Lease
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_access import ResilientStore


@dataclass(frozen=True)
class OpenRun:
    """The run that this process holds the lease of a target for."""

    run_id: str
    target: str
    lease: Lease
    store: ResilientStore


@dataclass(frozen=True)
class Change:
    """One journalled change on one machine.

    :param action: the part of the step key that tells it from the others of the same stage and target.
    :param decision: what was decided and why, written down before the change; no secrets.
    :param arguments: for the module, without `step`.
    :param seconds: the total deadline of the call.
    :param target: the service that it belongs to, where that is not the task's host.
    :param beside: the same on machines that do the same work, done at once with it. It holds when one of all has it;
        for the others something is due.
    """

    action: str
    machine: str
    module: str
    arguments: Mapping[str, t.Any] = field(repr=False)
    decision: Mapping[str, t.Any] = field(default_factory=dict)
    seconds: float = 30.0
    target: str | None = None
    beside: tuple[Change, ...] = ()

    @property
    def every(self) -> tuple[Change, ...]:
        """It and those beside it."""
        return (self, *self.beside)


@dataclass(frozen=True)
class Changed:
    """How a change ended: as `MachineAnswer`, and whether an earlier attempt had done it.

    :param missed: machines beside it, or its own, that do not have it while another one does; each with the reason.
    """

    change: Change
    answer: MachineAnswer
    earlier: bool = False
    missed: Mapping[str, str] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, t.Any]:
        return self.answer.result_or_raise()

    def checked(self) -> Changed:
        """Itself.

        :raises CodeblueError: it failed, or the machine did not answer.
        """
        self.answer.result_or_raise()
        return self


def joined(change: Change, ended: Sequence[Changed]) -> Changed:
    """How a change ended on all its machines together.

    :param ended: of `change.every`, in that order.
    """
    done = [each for each in ended if each.answer.result is not None]
    if not done or len(ended) == 1:
        return ended[0]
    result = dict(done[0].result)
    result["changed"] = any(bool(each.result.get("changed")) for each in done)
    # A switch survives a restart when every one of them keeps it.
    lasting = next((each for each in done if each.result.get("persisted") is False), done[0])
    for name in ("persisted", "not_persisted_because"):
        if name in lasting.result:
            result[name] = lasting.result[name]
    missed = {
        each.change.machine: str(each.answer.unreachable or each.answer.failure)
        for each in ended
        if each.answer.result is None
    }
    answer = dataclasses.replace(done[0].answer, result=result)
    return Changed(change, answer, all(each.earlier for each in ended), missed)
