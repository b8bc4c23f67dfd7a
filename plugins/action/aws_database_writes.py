# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stops all writes to a database in RDS, or lets them begin again exactly as before."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, NotLeftSafe
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_database_step import (
    MISSING,
    AwsDatabaseAction,
    accepted_at,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_look import DatabaseLook
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import (
    CheckResult,
    PlannedCheck,
    PostgresqlCheck,
    plan_checks,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

# AwsStepAction says which package is missing.
with contextlib.suppress(ImportError):
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_rds_writes import PARAMETER, Before, WriteGate

_STOPPED = "stopped"
_PAUSE = 0.2
_IN_A_ROW = 2
# Sessions take up a parameter within seconds of its being applied; a closed way is seen by a timeout.
_CLOSED = frozenset(("timeout", "refused", "unreachable"))
_UNPROVEN = "not proven: codeblue_checks has no check that writes"


class ActionModule(AwsDatabaseAction):
    """See plugins/modules/aws_database_writes.py."""

    STAGE = "isolate"
    MISSING_IMPORT = MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "state": {"type": "str", "choices": [_STOPPED, "resumed"], "required": True},
        "reason": {"type": "str", "required": True},
        "applied_within": {"type": "float", "default": 300.0},
        "proven_within": {"type": "float", "default": 60.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.require_positive(arguments, "applied_within", "proven_within")
        self.open_database(arguments["applied_within"])
        self._gate = WriteGate(self._databases, self._database)
        seen = self._databases.require(self._database.place)
        stop = arguments["state"] == _STOPPED
        before = self._gate.before(seen)
        if before is None and not stop and not self._taken_up():
            return self._result(before, "", f"writes to {seen.place} were not stopped by a run, nothing was changed")
        before = self._before(seen, before, arguments)
        if stop:
            self._stop(seen, before, arguments)
        else:
            self._resume(seen, before, arguments)
        proof = "" if self.check_mode else self._prove(before, stop, arguments["proven_within"])
        way = f"parameter group {before.where}" if before.way == PARAMETER else f"security group {before.where}"
        verb = "stop" if stop else "resume"
        said = f"would {verb} writes" if self.check_mode else f"writes {arguments['state']}"
        ended = f": {proof}" if proof else ""
        return self._result(before, proof, f"{said} to {seen.place} by {way}{ended}")

    def _taken_up(self) -> bool:
        """An earlier attempt of this run has begun to resume them."""
        return not self.check_mode and self.kept("choose_resumed") is not None

    def _before(self, seen: DatabaseLook, before: Before | None, arguments: dict[str, t.Any]) -> Before:
        """How it was, written down at once: the tag is gone in the end."""

        def work() -> dict[str, t.Any]:
            found = before or self._gate.choose(seen)
            return {"before": str(found)}

        decided = self.decide(f"choose_{arguments['state']}", {"reason": arguments["reason"]}, work)
        return Before.parse(decided["before"])

    def _stop(self, seen: DatabaseLook, before: Before, arguments: dict[str, t.Any]) -> None:
        decision = {"reason": arguments["reason"], "undo": f"writes resumed: {before}"}

        def mark(_run: OpenRun) -> dict[str, t.Any]:
            if self._gate.before(self._databases.require(seen.place)) is not None:
                return {"changed": False}
            self._gate.mark(seen, before)
            return {"changed": True}

        self.step("mark_writes", decision, mark)
        self._apply("writes_stopped", seen, before, True, decision, arguments["applied_within"])

    def _resume(self, seen: DatabaseLook, before: Before, arguments: dict[str, t.Any]) -> None:
        decision = {"reason": arguments["reason"]}

        def unmark(_run: OpenRun) -> dict[str, t.Any]:
            self._gate.unmark(seen)
            return {"changed": True}

        self._apply("writes_resumed", seen, before, False, decision, arguments["applied_within"])
        self.step("unmark_writes", decision, unmark)

    def _apply(
        self, action: str, seen: DatabaseLook, before: Before, stop: bool, decision: dict[str, t.Any], seconds: float
    ) -> None:
        def apply(_run: OpenRun) -> dict[str, t.Any]:
            now = self._databases.require(seen.place)
            done = self._gate.close(now, before) if stop else self._gate.open(now, before)
            self._gate.until_applied(seen.place, before, stop, seconds)
            return accepted_at(done)

        self.step(action, decision, apply)

    def _prove(self, before: Before, stop: bool, seconds: float) -> str:
        """A write on the way of clients must fail, or succeed."""
        tried = [each for each in plan_checks({self.target: self.service().checks}, "deep") if _writes(each)]
        if not tried:
            return _UNPROVEN
        deadline = time.monotonic() + seconds
        in_a_row, last = 0, ""
        while True:
            results = run_checks(tried)
            in_a_row = in_a_row + 1 if all(_as_wanted(each, before, stop) for each in results) else 0
            last = ", ".join(_said(each) for each in results)
            if in_a_row >= _IN_A_ROW:
                return f"a write was tried: {last}"
            if time.monotonic() >= deadline:
                break
            self.renew()
            time.sleep(_PAUSE)
        if stop and any(each.ok for each in results):
            raise NotLeftSafe(f"{self.target}: writes go on: {last}", "scale its consumers to zero by hand now")
        if stop:
            raise CodeblueError(f"{self.target}: that writes stopped is not proven: {last}", "see its log")
        raise NotLeftSafe(f"{self.target}: writes do not work again: {last}", "see its log and its security groups")

    def _result(self, before: Before | None, proof: str, summary: str) -> dict[str, t.Any]:
        return {
            "changed": self._changed,
            # What it was stands at the database itself.
            "undo": "none",
            "before": str(before) if before is not None else "",
            "proof": proof,
            "calls": self._account.calls,
            "codeblue": {"summary": summary},
        }


def _as_wanted(result: CheckResult, before: Before, stop: bool) -> bool:
    if not stop:
        return result.ok
    return result.error_class == "read_only" if before.way == PARAMETER else result.error_class in _CLOSED


def _writes(planned: PlannedCheck) -> bool:
    return isinstance(planned.check, PostgresqlCheck) and planned.check.writes


def _said(result: CheckResult) -> str:
    return f"{result.id} {'succeeds' if result.ok else f'fails ({result.error_class})'}"
