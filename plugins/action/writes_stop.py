# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stops all writes to a database, or lets them begin again, and proves either by a write that is tried."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, NotLeftSafe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    CheckResult,
    PlannedCheck,
    PostgresqlCheck,
    plan_checks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import login_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._primary import find_primary
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, StepAction

_STOPPED = "stopped"
# Sessions are ended by the module; a gateway's own view and a pool's reconnect take a moment longer.
_PROOF_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_IN_A_ROW = 2


class ActionModule(StepAction):
    """See plugins/modules/writes_stop.py."""

    STAGE = "isolate"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": [_STOPPED, "resumed"], "required": True},
        "previous": {"type": "str", "choices": ["none", "on", "off"], "default": "none"},
        "reason": {"type": "str", "required": True},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        stop = arguments["state"] == _STOPPED
        database = self.service().require_host().postgresql
        if database is None:
            raise BadInput(f"{self.target}: has no codeblue_host.postgresql", "this is for databases")
        tried = [each for each in plan_checks({self.target: self.service().checks}, "deep") if _writes(each)]
        if not tried:
            raise BadInput(
                f"{self.target}: codeblue_checks names no check that writes",
                "add one with writes: true, or of type sentinel: without it nobody can prove that writes stopped",
            )
        primary = find_primary(self.target, database, self.look).primary
        changed = self.change(
            Change(
                action=f"writes_{arguments['state']}",
                machine=primary.machine,
                module="postgresql_read_only",
                arguments={
                    **login_arguments(database, primary),
                    "name": database.database,
                    "state": "read_only" if stop else "restored",
                    "previous": arguments["previous"],
                },
                decision={"state": arguments["state"], "reason": arguments["reason"]},
            )
        ).checked()
        result = changed.result
        if self.check_mode:
            summary = f"would {'stop' if stop else 'resume'} writes to {self.target}"
            return {
                "changed": bool(result.get("changed")),
                "undo": result.get("undo"),
                "codeblue": {"summary": summary},
            }
        proof = self._prove(tried, stop)
        ended = result.get("sessions_ended", 0)
        return {
            "changed": bool(result.get("changed")),
            "undo": result.get("undo"),
            "proof": proof,
            "codeblue": {"summary": f"writes {arguments['state']}: {proof}; {ended} sessions ended"},
        }

    def _prove(self, tried: list[PlannedCheck], stop: bool) -> str:
        """A write through the gateway must fail as read only, or succeed."""
        deadline = time.monotonic() + _PROOF_SECONDS
        in_a_row, last = 0, ""
        while True:
            results = run_checks(tried, deadline=_PROOF_SECONDS)
            as_wanted = all(each.error_class == "read_only" if stop else each.ok for each in results)
            last = ", ".join(_said(each) for each in results)
            in_a_row = in_a_row + 1 if as_wanted else 0
            if in_a_row >= _IN_A_ROW:
                return f"a write through every way was tried: {last}"
            if time.monotonic() >= deadline:
                break
            time.sleep(_PAUSE_SECONDS)
        if stop and any(each.ok for each in results):
            raise NotLeftSafe(
                f"{self.target}: writes go on: {last}", "take the database out of its gateway by hand now"
            )
        if stop:
            raise CodeblueError(f"{self.target}: that writes stopped is not proven: {last}", "see the gateway")
        raise NotLeftSafe(f"{self.target}: writes do not work again: {last}", "see the database's log and the gateway")


def _writes(planned: PlannedCheck) -> bool:
    return isinstance(planned.check, PostgresqlCheck) and planned.check.writes


def _said(result: CheckResult) -> str:
    return f"{result.id} {'succeeds' if result.ok else f'fails ({result.error_class})'}"
