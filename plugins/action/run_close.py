# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes one target of a run with its outcome; after a failure it looks first whether it was left safe."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._postgresql_arguments import member_arguments
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun, StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._still_so import due_afterwards, left_by, look_again

_BY_STATUS = {"HEALTHY": "recovered", "DEGRADED": "degraded", "MAINTENANCE": "degraded", "DOWN": "failed_safe"}
_ENDED_WELL = ("recovered", "completed", "nothing_to_do")
_BY_EXIT_CODE = {2: "bad_input", 3: "refused", 5: "failed_unsafe"}
_EXIT_CODES = {"degraded": 4, "bad_input": 2, "refused": 3, "failed_safe": 1} | dict.fromkeys(_ENDED_WELL, 0)
_LOOK_SECONDS = 8.0


class ActionModule(StepAction):
    """See plugins/modules/run_close.py."""

    STAGE = "close"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "outcome": {"type": "str", "choices": ["validated", "done", "nothing_to_do", "failed"], "required": True},
        "validation": {"type": "dict"},
        "failure": {"type": "dict"},
        "work": {"type": "str"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        outcome, detail = self._judge(arguments)
        if self.check_mode:
            return {"outcome": outcome, "codeblue": {"summary": f"would close the run, as things stand: {outcome}"}}
        try:
            gate = self.open_run()
        except Refused:
            # Either the opening failed, or the target was closed as failed already: what was said is said again.
            return self._result(outcome, detail, arguments["outcome"], str(detail.get("reason")))
        outcome = self._look_again(gate, outcome, detail)
        run = gate.store.close_target(gate.run_id, self.target, outcome, detail)
        said = f"run {run.run_id}: {outcome}" + (f", {detail['reason']}" if detail.get("reason") else "")
        return {
            **self._result(outcome, detail, arguments["outcome"], said),
            "run_id": run.run_id,
            "run_status": run.status,
            "ansible_stats": {
                "data": {"codeblue_run_id": run.run_id, "codeblue_outcome": outcome},
                "per_host": True,
                "aggregate": False,
            },
        }

    def _look_again(self, gate: OpenRun, outcome: str, detail: dict[str, t.Any]) -> str:
        """The outcome, when what the run changed is still so; somebody else may have put it back.

        What the run suspended is due, whatever came of it.
        """
        steps = gate.store.steps(gate.run_id)
        due = due_afterwards(steps, self.target)
        if due:
            detail["due"] = due
            detail.setdefault("next_step", f"afterwards, {'; '.join(due)}")
        if outcome not in (*_ENDED_WELL, "degraded"):
            return outcome
        found = look_again(left_by(steps, self.target), self.look)
        if found.not_seen:
            detail["not_seen"] = list(found.not_seen)
        if not found.changed_again:
            return outcome
        detail["changed_again"] = list(found.changed_again)
        detail["reason"] = f"{found.changed_again[0]}: somebody else keeps it"
        detail["next_step"] = "find out who, suspend it and run again; see docs/reconcilers.md"
        return "degraded"

    def _judge(self, arguments: dict[str, t.Any]) -> tuple[str, dict[str, t.Any]]:
        if arguments["outcome"] == "nothing_to_do":
            return "nothing_to_do", {"reason": "no detection criterion fired, nothing was changed"}
        if arguments["outcome"] == "done":
            return "completed", {"validation": [arguments["work"] or "the operation ended well"]}
        if arguments["outcome"] == "validated":
            service = ((arguments["validation"] or {}).get("services") or {}).get(self.target) or {}
            outcome = _BY_STATUS.get(str(service.get("status")), "failed_safe")
            overall = (arguments["validation"] or {}).get("outcome")
            if outcome == "recovered" and overall != "recovered":
                # The target works and a service that depends on it does not: it is not back for people.
                outcome = "degraded"
            reasons = list(service.get("reasons") or (arguments["validation"] or {}).get("reasons") or [])
            detail: dict[str, t.Any] = {"validation": reasons[:10] or ["every check passed"]}
            if outcome != "recovered" and reasons:
                detail["reason"] = reasons[0]
            return outcome, detail
        return self._judge_failure(arguments["failure"] or {})

    def _judge_failure(self, failure: dict[str, t.Any]) -> tuple[str, dict[str, t.Any]]:
        said = failure.get("codeblue") or {}
        reason = str(said.get("error") or failure.get("msg") or "a step failed")
        outcome = _BY_EXIT_CODE.get(int(said.get("exit_code") or 1), "failed_safe")
        detail: dict[str, t.Any] = {"reason": reason[:500]}
        if said.get("hint"):
            detail["next_step"] = str(said["hint"])[:500]
        unsafe = self._unsafe()
        if unsafe:
            outcome = "failed_unsafe"
            detail["unsafe"] = unsafe
        return outcome, detail

    def _unsafe(self) -> str | None:
        """Why the target cannot be left as it is; two writable primaries are what a failed recovery must not leave."""
        try:
            service = self.service()
        except CodeblueError:
            return None
        database = service.host.postgresql if service.host is not None else None
        if database is None:
            return None
        answers = self.look(
            [
                MachineCall(
                    member.machine,
                    "codeblue.recovery.postgresql_status",
                    member_arguments(database, member),
                    _LOOK_SECONDS,
                    check_mode=True,
                )
                for member in database.members.values()
            ]
        )
        writable = [
            answer.machine
            for answer in answers
            if answer.result is not None
            and (answer.result.get("sql") or {}).get("answers")
            and answer.result.get("in_recovery") is False
        ]
        return f"{' and '.join(writable)} both take writes" if len(writable) > 1 else None

    def _result(self, outcome: str, detail: dict[str, t.Any], asked: str, summary: str) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {"outcome": outcome, "detail": detail, "codeblue": {"summary": summary}}
        if asked == "failed" or outcome in ("failed_safe", "failed_unsafe"):
            # Rescued plays end with 0: the failure is said again, after the run was closed.
            reason = str(detail.get("unsafe") or detail.get("reason") or outcome)
            reason = reason if reason.startswith(self.target) else f"{self.target}: {reason}"
            result |= {"failed": True, "msg": reason}
            result["codeblue"] |= {
                "error": reason,
                "hint": detail.get("next_step"),
                "exit_code": _EXIT_CODES.get(outcome, 5),
            }
        return result
