# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves that the targets work again, several times in a row, and says which of them do not."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import dependents_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import Validation, validate

_LEVELS = ("shallow", "deep", "comprehensive")


class ActionModule(StepAction):
    """See plugins/modules/validate_services.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "validate"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "level": {"type": "str", "choices": list(_LEVELS), "default": "deep"},
        "stable": {"type": "int", "default": 3},
        "within": {"type": "str", "default": "30s"},
        "dependents": {"type": "bool", "default": True},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        deadline = time.monotonic() + parse_duration(arguments["within"], "within")
        services = self.services(self.targets)
        if arguments["dependents"]:
            hostvars = self._variables["hostvars"]
            names = [str(name) for name in self._variables["groups"].get("codeblue_services", [])]
            services |= self.services(dependents_of(self.targets, hostvars, names))
        started = time.monotonic()
        found, good = self._until_stable(services, arguments["level"], arguments["stable"], deadline)
        seconds = round(time.monotonic() - started, 3)
        health = {service.target: service for service in found.services}
        if not self.check_mode:
            self._record(found, arguments["level"], seconds)
        return {
            "outcome": found.outcome,
            "reasons": list(found.reasons),
            "stable": good,
            "services": {name: {"status": each.status, "reasons": list(each.reasons)} for name, each in health.items()},
            "unhealthy": [name for name, each in health.items() if each.status == "DOWN"],
            "codeblue": {
                "target": ", ".join(self.targets),
                "summary": _summary(found, good, arguments["stable"], self.check_mode),
            },
        }

    def _until_stable(
        self, services: dict[str, Service], level: str, stable: int, deadline: float
    ) -> tuple[Validation, int]:
        """Check until everything is well so many times in a row, or until time is over."""
        plan = plan_checks({name: service.checks for name, service in services.items()}, level, signals=True)
        thresholds = {name: service.checks.thresholds for name, service in services.items()}
        pause = min((service.checks.interval for service in services.values()), default=0.0)
        good = 0
        while True:
            began = time.monotonic()
            found = validate(run_checks(plan), thresholds, levels=(*_LEVELS[: _LEVELS.index(level) + 1], SIGNALS))
            good = good + 1 if found.outcome == "recovered" else 0
            if good >= stable or time.monotonic() >= deadline or self.check_mode:
                return found, good
            time.sleep(max(0.0, min(began + pause, deadline) - time.monotonic()))

    def _record(self, found: Validation, level: str, seconds: float) -> None:
        run = self.open_run(self.targets[0])
        for service in found.services:
            run.store.record(
                run.run_id,
                "validation",
                {
                    "target": service.target,
                    "level": level,
                    "passed": service.status == "HEALTHY",
                    "status": service.status,
                    "checks": service.checks,
                    "failed": list(service.reasons),
                    "seconds": seconds,
                },
            )


def _summary(found: Validation, good: int, stable: int, check_mode: bool) -> str:
    if check_mode:
        return f"would validate; now: {found.outcome}" + (f" ({found.reasons[0]})" if found.reasons else "")
    if found.outcome == "recovered":
        return f"all {len(found.services)} services are healthy, {good} of {stable} times in a row"
    return f"{found.outcome}: {found.reasons[0]}" if found.reasons else found.outcome
