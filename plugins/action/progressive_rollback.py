# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rolls the newest changes back one after the other, and stops as soon as everything is healthy.

A service that fails because another one does is left alone until that one works: rolled back are the services at
the beginning of a chain of failures, the newest change among them first.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
    KIND,
    Candidate,
    candidate_of,
    list_call,
    restart_change,
    switch_change,
    with_releases,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import validate

_PAUSE = 0.1


class ActionModule(StepAction):
    """See plugins/modules/progressive_rollback.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "rollback"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "services": {"type": "list", "elements": "str", "default": []},
        "most": {"type": "int", "default": 5},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        targets = self.services(self.targets)
        services = {
            name: service
            for name, service in targets.items()
            if service.host is not None and any(each.release_root for each in service.host.instances.values())
        }
        wanted = arguments["services"] or list(services)
        rolled: list[dict[str, str]] = []
        failing = self._failing(targets, None)
        while failing and len(rolled) < arguments["most"]:
            candidate = self._newest([services[name] for name in wanted if name in services], failing, rolled)
            if candidate is None:
                break
            self._roll_back(services[candidate.service], candidate)
            rolled.append({"service": candidate.service, "from": candidate.bad, "to": candidate.good})
            if self.check_mode:
                break
            failing = self._failing(targets, services[candidate.service], arguments["healthy_within"])
            if not failing:
                break
        return {
            "changed": bool(rolled),
            "rolled_back": rolled,
            "still_failing": sorted(failing),
            "codeblue": {"target": ", ".join(services), "summary": self._summary(rolled, failing)},
        }

    def _newest(
        self, services: Sequence[Service], failing: Mapping[str, str], rolled: Sequence[Mapping[str, str]]
    ) -> Candidate | None:
        """The newest change among the services that fail although everything they depend on works."""
        first = [each for each in services if each.name in failing and not failing.keys() & set(each.depends_on)]
        found = [candidate for service in first for candidate in self._candidates(service)]
        done = {(each["service"], each["to"]) for each in rolled}
        found = [each for each in found if (each.service, each.good) not in done]
        return max(found, key=lambda each: each.deployed_at, default=None)

    def _candidates(self, service: Service) -> list[Candidate]:
        marked = (
            set()
            if self.check_mode
            else {each.version for each in self.open_run(service.name).store.bad_versions(service.name, KIND)}
        )
        instances = with_releases(service)
        answers = self.look([list_call(instance) for instance in instances])
        seen = [answer.result for answer in answers if answer.result is not None]
        return [candidate for each in seen[:1] if (candidate := candidate_of(service.name, each, marked)) is not None]

    def _roll_back(self, service: Service, candidate: Candidate) -> None:
        """All instances at once: the service is down, there is no traffic to keep."""
        if not self.check_mode:
            # Marked before the switch: a crash in between must not make the bad version look good.
            run = self.open_run(service.name)
            run.store.mark_bad(service.name, KIND, candidate.bad, run.run_id, "the service failed with it")
        instances = with_releases(service)
        why = "the newest change of what fails"
        switches = [switch_change(service, each, candidate.bad, candidate.good, why) for each in instances]
        for ended in self.changes(switches):
            ended.checked()
        restarts = [
            restart_change(service, instance, f"restart_{instance.machine}_on_{candidate.good}")
            for instance in instances
        ]
        for ended in self.changes(restarts):
            ended.checked()

    def _failing(
        self, services: Mapping[str, Service], rolled: Service | None, given: float | None = None
    ) -> dict[str, str]:
        """Services that do not work, after the one that was rolled back had its time to come up."""
        checks = {name: service.checks for name, service in services.items()}
        thresholds = {name: service.checks.thresholds for name, service in services.items()}
        plan = plan_checks(checks, "deep")
        deadline = time.monotonic() + (patience(rolled, given) if rolled is not None else 0.0)
        while True:
            found = validate(run_checks(plan), thresholds, levels=("shallow", "deep"))
            failing = {each.target: each.reasons[0] for each in found.services if each.status == "DOWN"}
            waited_for = rolled is not None and rolled.name in failing
            if not waited_for or time.monotonic() >= deadline:
                return failing
            time.sleep(_PAUSE)

    def _summary(self, rolled: Sequence[Mapping[str, str]], failing: Mapping[str, str]) -> str:
        verb = "would roll back" if self.check_mode else "rolled back"
        if not rolled:
            return "no release is left to roll back" if failing else "nothing to roll back"
        said = f"{verb} " + ", ".join(f"{each['service']} from {each['from']} to {each['to']}" for each in rolled)
        return said + (f"; still failing: {', '.join(sorted(failing))}" if failing and not self.check_mode else "")
