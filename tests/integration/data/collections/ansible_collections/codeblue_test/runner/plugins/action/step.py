# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A step as the actions of the collection report it. It opens and closes real runs in the real store."""

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._process_identity import ProcessIdentity
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import (
    RunOpening,
    current_operator,
    open_store,
)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        arguments, variables = self._task.args, task_vars or {}
        target = variables["inventory_hostname"]
        run_id = str(variables["codeblue_run_id"])
        if arguments.get("open") and not self._task.check_mode:
            self._open(run_id, list(variables["ansible_play_hosts"]), variables.get("codeblue_because"))
        if arguments.get("seconds"):
            time.sleep(float(arguments["seconds"]))
        if arguments.get("error"):
            said = {"error": arguments["error"], "hint": arguments.get("hint"), "exit_code": arguments["exit_code"]}
            return {"failed": True, "msg": arguments["error"], "codeblue": {**said, "target": target}}
        if arguments.get("close") and not self._task.check_mode:
            open_store().close_target(run_id, target, str(arguments["close"]), {})
        changed = bool(arguments.get("changed"))
        accepted_at = time.time() if changed and not self._task.check_mode else None
        if accepted_at is not None:
            self._journal(run_id, target, accepted_at, arguments)
        return {
            "changed": changed,
            "diff": arguments.get("diff", []),
            "codeblue": {
                "stage": arguments.get("stage", "test"),
                "target": target,
                "summary": arguments.get("summary", "a step"),
                "changed": changed,
                "seconds": 0.01,
                "accepted_at": accepted_at,
            },
        }

    def _journal(self, run_id: str, target: str, accepted_at: float, arguments: dict[str, t.Any]) -> None:
        store = open_store()
        step = store.begin_step(
            run_id,
            target,
            str(arguments.get("stage", "test")),
            "act",
            decision={"cause": str(arguments.get("summary", "a step"))},
            worker=ProcessIdentity.current(),
            generation=store.lease_of(target).generation,
        )
        if step.state != "done":
            store.finish_step(step, "ok", {"accepted_at": accepted_at}, changed=True)

    def _open(self, run_id: str, targets: list[str], because: str | None) -> None:
        store = open_store()
        holder = ProcessIdentity.parent()
        if store.run(run_id) is not None:
            store.reopen_run(run_id, holder)
            store.acquire_leases(run_id, targets, holder)
            return
        opening = RunOpening(
            run_id=run_id,
            runbook="recover",
            severity="SEV2",
            environment="lab",
            targets=tuple(targets),
            operator=current_operator(),
            because=because,
            accepts=(),
            fingerprint={},
            origin="cli",
            collection_version="1.0.0",
            objectives={target: {"rto_seconds": 60, "rpo_seconds": 60} for target in targets},
            holder=holder,
        )
        store.open_run(opening)
