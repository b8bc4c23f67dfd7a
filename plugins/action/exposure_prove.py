# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves that no patients' data is exposed any more, on every instance and from outside, or fails."""

from __future__ import annotations

import secrets
import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_exposure import probe_call, scan_call
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._exposure import (
        Exposure,
        breach_id_of,
        front_of,
        policy_of,
        shipping_changes,
        statuses_from_outside,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._gateway_changes import entries_change
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import utc_now

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error

_ASK_SECONDS = 3.0
_PAUSE_SECONDS = 0.3


class NotProven(CodeblueError):
    """Something is still exposed, or nobody could look."""

    exit_code = 5


class ActionModule(StepAction):
    """See plugins/modules/exposure_prove.py."""

    STAGE = "prove"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "diagnosis": {"type": "dict", "required": True},
        "within": {"type": "float", "default": 20.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        policy = policy_of(service)
        exposure = Exposure.of(arguments["diagnosis"])
        pages = sorted({*exposure.pages, *policy.refused_requests})
        if self.check_mode:
            return {"codeblue": {"summary": f"would scan every log, and ask every instance and the front for {pages}"}}
        deadline = time.monotonic() + arguments["within"]
        while problems := self._problems(service, pages):
            if time.monotonic() >= deadline:
                raise NotProven(
                    f"{self.target}: patients' data is still exposed: {'; '.join(problems[:5])}",
                    "what was closed stays closed; take the service off its gateway by hand, then look",
                )
            time.sleep(_PAUSE_SECONDS)
        opened = self._open_pages_again(service, exposure, pages)
        # What is in the logs now may be sent again.
        for ended in self.changes(shipping_changes(policy, exposure.logs, "started")):
            opened = bool(ended.checked().result.get("changed")) or opened
        gate = self.open_run()
        gate.store.exposure_ended(gate.run_id, breach_id_of(gate.run_id, self.target), utc_now())
        logs = sum(len(each.log_files) for each in service.require_host().instances.values())
        return {
            "changed": opened,
            "pages_refused": pages,
            "logs_scanned": logs,
            "codeblue": {
                "summary": f"{logs} logs hold nobody's data; {', '.join(pages) or 'no page'} refused without a "
                f"credential on {len(service.require_host().instances)} instances and from outside"
            },
        }

    def _problems(self, service: Service, pages: t.Sequence[str]) -> list[str]:
        """What is exposed still, on machines and from outside."""
        policy, host = policy_of(service), service.require_host()
        # No digest of this look is kept or compared.
        key = secrets.token_hex(32)
        self._secrets.add(key)
        instances = host.instances
        calls = [
            scan_call(policy, machine, each.log_files, key) for machine, each in instances.items() if each.log_files
        ]
        calls += [probe_call(machine, each, pages) for machine, each in instances.items()] if pages else []
        problems: list[str] = []
        for call, answer in zip(calls, self.look(calls), strict=True):
            if answer.result is None:
                problems.append(f"{answer.machine}: {answer.unreachable or answer.failure}")
            elif call.module.endswith("phi_scan"):
                found = answer.result
                problems += [
                    f"{answer.machine}: {each['lines']} lines of {path}"
                    for path, each in found["files"].items()
                    if each["lines"]
                ]
                problems += [f"{answer.machine}: not read: {each}" for each in found["left_out"]]
            else:
                problems += [
                    f"{answer.machine}: {page} is not refused ({found['statuses'] or 'no answer'})"
                    for page, found in answer.result["answers"].items()
                    if not found["right"]
                ]
        return problems + self._open_from_outside(service, pages)

    def _open_from_outside(self, service: Service, pages: t.Sequence[str]) -> list[str]:
        if not pages:
            return []
        statuses = statuses_from_outside(front_of(service), pages, _ASK_SECONDS)
        return [
            f"{page} is not refused from outside ({status or 'no answer'})"
            for page, status in statuses.items()
            if status is None or not 400 <= status < 500
        ]

    def _open_pages_again(self, service: Service, exposure: Exposure, pages: t.Sequence[str]) -> bool:
        """Every instance refuses by itself: the gateway need not any more, and a mended page can come back later."""
        host, policy = service.require_host(), policy_of(service)
        if not exposure.pages or host.gateway is None or policy.blocked_paths_file is None:
            return False
        decision = {"pages": list(exposure.pages), "reason": "every instance refuses them"}
        done = self.change(
            entries_change(
                host.gateway, policy.blocked_paths_file, exposure.pages, "unblock_pages", decision, state="absent"
            )
        ).result
        still = self._open_from_outside(service, pages)
        if still:
            raise NotProven(
                f"{self.target}: {'; '.join(still)}", "refuse the page at the gateway again, see the runbook"
            )
        return bool(done.get("changed"))
