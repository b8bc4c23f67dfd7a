# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""systemd through systemctl, which is on every machine that it runs."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import boot_time
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import (
    FAILED,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    ManagerUnavailable,
    ProcessUnit,
    UnitStatus,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command

_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
    "UnitFileState",
)
_STATES = {
    "active": RUNNING,
    "reloading": RUNNING,
    "refreshing": RUNNING,
    "activating": STARTING,
    "deactivating": STOPPING,
    "inactive": STOPPED,
    "failed": FAILED,
    "maintenance": STOPPED,
}
_STARTED_AT_BOOT = frozenset(("enabled", "enabled-runtime", "generated", "alias", "linked"))


class SystemdUnit(ProcessUnit):
    """A unit of the system's own systemd.

    :param systemctl: found on the usual path; given in tests.
    """

    manager = "systemd"

    def __init__(self, unit: str, systemctl: str = "systemctl", journalctl: str = "journalctl") -> None:
        if unit.startswith("-"):
            raise BadInput("process.unit: %r is no unit" % unit)
        super().__init__(unit)
        self._systemctl = systemctl
        self._journalctl = journalctl

    def status(self, deadline: Deadline) -> UnitStatus:
        """By systemctl show, which answers for unknown units as well."""
        shown = self._show(deadline, *_PROPERTIES)
        if shown.get("LoadState") == "not-found":
            raise BadInput("systemd knows no unit %r" % self.unit, "systemctl list-unit-files lists them")
        word = "%s/%s" % (shown.get("ActiveState", "?"), shown.get("SubState", "?"))
        state = _STATES.get(shown.get("ActiveState", ""), FAILED)
        if shown.get("SubState") == "auto-restart":
            state = RESTARTING
        exited = _number(shown, "ExecMainExitTimestampMonotonic")
        started = _number(shown, "ExecMainStartTimestampMonotonic")
        return UnitStatus(
            state=state,
            manager_state=word,
            pid=_number(shown, "MainPID") or None,
            started_at=boot_time() + started / 1e6 if started else None,
            exit_status=_number(shown, "ExecMainStatus") if exited and state != RUNNING else None,
            restarts=_number(shown, "NRestarts"),
            starts_at_boot=shown.get("UnitFileState", "") in _STARTED_AT_BOOT,
            description=shown.get("Result", ""),
        )

    def request_start(self, deadline: Deadline) -> None:
        """A unit that failed too often is forgiven first, or systemd would refuse."""
        if self.status(deadline).state == FAILED:
            self._run(deadline, "reset-failed", self.unit)
        self._run(deadline, "start", "--no-block", self.unit)

    def request_stop(self, deadline: Deadline) -> None:
        """Queues the stop job."""
        self._run(deadline, "stop", "--no-block", self.unit)

    def log_tail(self, most_bytes: int, deadline: Deadline) -> str:
        """From the journal."""
        answer = run_command(
            [self._journalctl, "-u", self.unit, "-n", "50", "--no-pager", "-o", "cat"],
            deadline,
            output_limit=most_bytes,
            keep="tail",
        )
        return answer.stdout if answer.ok else answer.complaint()

    def set_start_at_boot(self, wanted: bool, deadline: Deadline) -> bool:
        """Enables or disables the unit file. Units that a generator made (Debian's clusters) have no such file."""
        before = self.status(deadline)
        if before.starts_at_boot != wanted:
            self._run(deadline, "enable" if wanted else "disable", self.unit)
        return self.status(deadline).starts_at_boot == wanted

    def plan_hold(self, deadline: Deadline) -> t.Dict[str, t.Any]:
        """Sockets, paths and timers that are active and start it; a mask, or no start at boot where there is a file.

        A unit file in /etc/systemd/system stands where the mask would.
        """
        shown = self._show(deadline, "TriggeredBy", "FragmentPath", "UnitFileState", "LoadState")
        triggers = shown.get("TriggeredBy", "").split()
        active = []
        if triggers:
            # Ends with 3 when one of them is not.
            answer = run_command([self._systemctl, "--no-ask-password", "is-active", *triggers], deadline)
            states = answer.stdout.split()
            active = [name for name, state in zip(triggers, states) if state == "active"]  # noqa: B905 - Python 3.8
        own_file = shown.get("FragmentPath", "").startswith("/etc/systemd/system/")
        return {
            "triggers": active,
            "mask": not own_file and shown.get("LoadState") != "masked",
            "disable": own_file and shown.get("UnitFileState") in _STARTED_AT_BOOT,
        }

    def hold(self, plan: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        """Triggers first, or one of them would start it between stop and mask."""
        if plan.get("triggers"):
            self._run(deadline, "stop", *plan["triggers"])
        if plan.get("mask"):
            self._run(deadline, "mask", self.unit)
        if plan.get("disable"):
            self._run(deadline, "disable", self.unit)

    def release(self, changed: t.Mapping[str, t.Any], deadline: Deadline) -> None:
        """Unmasked before its triggers start, which would fail otherwise."""
        if changed.get("mask"):
            self._run(deadline, "unmask", self.unit)
        if changed.get("disable"):
            self._run(deadline, "enable", self.unit)
        if changed.get("triggers"):
            self._run(deadline, "start", *changed["triggers"])

    def _show(self, deadline: Deadline, *properties: str) -> t.Dict[str, str]:
        options = [argument for name in properties for argument in ("-p", name)]
        answer = self._run(deadline, "show", self.unit, *options)
        return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)

    def _run(self, deadline: Deadline, *arguments: str) -> CommandResult:
        answer = run_command([self._systemctl, "--no-ask-password", *arguments], deadline)
        if not answer.ok:
            raise ManagerUnavailable("%s: %s" % (self, answer.complaint()), "systemctl status %s says more" % self.unit)
        return answer


def _number(shown: t.Mapping[str, str], name: str) -> int:
    value = shown.get(name, "")
    return int(value) if value.isdigit() else 0
