# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of process managers, seen alike whether supervisord or systemd runs them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

RUNNING = "running"
STARTING = "starting"
STOPPING = "stopping"
STOPPED = "stopped"
FAILED = "failed"
# The manager starts it again and again, and it ends each time.
RESTARTING = "restarting"


class ManagerUnavailable(CodeblueError):
    """The process manager itself does not answer."""


@dataclass(frozen=True)
class UnitStatus:
    """What the manager says about a unit.

    :param state: running, starting, stopping, stopped, failed or restarting.
    :param manager_state: the manager's own word for it.
    :param pid: of the main process while there is one.
    :param started_at: Unix seconds of the last start as the manager knows it, or None.
    :param exit_status: of the last end, or None.
    :param restarts: how often the manager started it by itself, or None when it does not count.
    :param starts_at_boot: the manager starts it by itself after a restart, or None when that cannot be told.
    """

    state: str
    manager_state: str
    pid: t.Optional[int] = None
    started_at: t.Optional[float] = None
    exit_status: t.Optional[int] = None
    restarts: t.Optional[int] = None
    starts_at_boot: t.Optional[bool] = None
    description: str = ""

    def as_dict(self) -> t.Dict[str, t.Any]:
        """For results."""
        return {name: value for name, value in vars(self).items() if name != "restarts" or value is not None}


class ProcessUnit:
    """One unit of one manager. The subclasses speak with the managers.

    Every call has a deadline and raises ManagerUnavailable when the manager does not answer, and CodeblueError
    with a hint when it does not know the unit.
    """

    manager = ""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def status(self, deadline: Deadline) -> UnitStatus:
        """How the unit is now."""
        raise NotImplementedError

    def request_start(self, deadline: Deadline) -> None:
        """Ask for a start and return at once. A unit that runs already stays as it is."""
        raise NotImplementedError

    def request_stop(self, deadline: Deadline) -> None:
        """Ask for a stop and return at once. A unit that is stopped already stays as it is."""
        raise NotImplementedError

    def log_tail(self, most_bytes: int, deadline: Deadline) -> str:
        """The last output of the unit, as far as the manager keeps it."""
        raise NotImplementedError

    def set_start_at_boot(self, wanted: bool, deadline: Deadline) -> bool:
        """Have it started after a restart of the machine, or not; False when the manager cannot be told so."""
        raise NotImplementedError

    def plan_hold(self, deadline: Deadline) -> t.Dict[str, t.Any]:
        """What `hold` will change, for `release` to undo. Nothing where the manager cannot be told."""
        return {}

    def hold(self, plan: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        """Keep the unit from being started by anybody but `release`."""

    def release(self, changed: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        """Undo what `hold` changed."""

    def wait_for(self, states: t.Container[str], deadline: Deadline, interval: float = 0.03) -> UnitStatus:
        """The status once it is one of these, or the last one seen when the time is over."""
        seen: t.List[UnitStatus] = []

        def reached() -> bool:
            # A manager that is busy for a moment is asked again until the deadline.
            seen.append(self.status(deadline.within(5.0)))
            return seen[-1].state in states

        deadline.wait_until(reached, interval)
        return seen[-1]

    def __str__(self) -> str:
        return "%s unit %s" % (self.manager, self.unit)


def process_unit(options: t.Mapping[str, t.Any]) -> ProcessUnit:
    """The unit that the options of `_argspec.process_options` name.

    :raises BadInput: a part is missing or unknown.
    """
    # Imported here: a machine has one manager, and the other one's protocol need not be loaded.
    if options["manager"] == "supervisor":
        from ansible_collections.codeblue.recovery.plugins.module_utils._process_supervisor import SupervisorUnit

        if not options.get("socket"):
            raise BadInput(
                "process.socket is missing for %r" % options["unit"], "give the path of supervisord's socket"
            )
        return SupervisorUnit(options["unit"], options["socket"])
    if options["manager"] == "systemd":
        from ansible_collections.codeblue.recovery.plugins.module_utils._process_systemd import SystemdUnit

        return SystemdUnit(options["unit"])
    raise BadInput("process.manager: %r is neither supervisor nor systemd" % options["manager"])
