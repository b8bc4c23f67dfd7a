# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the actions of a run pass around: the run that is open, a change on a machine, and how it ended."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
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
    """

    action: str
    machine: str
    module: str
    arguments: Mapping[str, t.Any] = field(repr=False)
    decision: Mapping[str, t.Any] = field(default_factory=dict)
    seconds: float = 30.0
    target: str | None = None


@dataclass(frozen=True)
class Changed:
    """How a change ended: as `MachineAnswer`, and whether an earlier attempt had done it."""

    change: Change
    answer: MachineAnswer
    earlier: bool = False

    @property
    def result(self) -> dict[str, t.Any]:
        return self.answer.result_or_raise()

    def checked(self) -> Changed:
        """Itself.

        :raises CodeblueError: it failed, or the machine did not answer.
        """
        self.answer.result_or_raise()
        return self
