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
from dataclasses import asdict, dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._configuration_changes import KIND as CONFIGURATION
from ansible_collections.codeblue.recovery.plugins.plugin_utils._configuration_changes import (
    StepBack,
    history_call,
    newest_rollout,
    restore_change,
    step_back,
    with_history,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._plain import plain
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import KIND as RELEASE
from ansible_collections.codeblue.recovery.plugins.plugin_utils._release_changes import (
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
_WHY = "the newest change of what fails"


@dataclass(frozen=True)
class Newest:
    """The newest change of a service.

    :param changed_at: UTC, RFC 3339.
    :param configuration: the machines' ways back, when it is a change of configuration; else it is `release`.
    """

    service: str
    kind: str
    changed_at: str
    release: Candidate | None = None
    configuration: tuple[StepBack, ...] = ()

    @property
    def good(self) -> str:
        return self.release.good if self.release else "+".join(each.good for each in self.configuration)

    @property
    def bad(self) -> tuple[str, ...]:
        return (self.release.bad,) if self.release else tuple(each.bad for each in self.configuration)

    def as_dict(self) -> dict[str, str]:
        """For results."""
        return {"service": self.service, "kind": self.kind, "from": "+".join(self.bad), "to": self.good}


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
            if service.host is not None and (with_releases(service) or with_history(service))
        }
        wanted = arguments["services"] or list(services)
        rolled: list[dict[str, str]] = []
        failing = self._failing(targets, None)
        while len(rolled) < arguments["most"]:
            # What an earlier attempt decided is finished first: half-switched instances look like another history.
            candidate = self._decided(len(rolled) + 1)
            if candidate is None and failing:
                candidate = self._newest([services[name] for name in wanted if name in services], failing, rolled)
                self._decide(len(rolled) + 1, candidate)
            if candidate is None:
                break
            self._roll_back(services[candidate.service], candidate)
            rolled.append(candidate.as_dict())
            if self.check_mode:
                break
            failing = self._failing(targets, services[candidate.service], arguments["healthy_within"])
        return {
            "changed": bool(rolled),
            "rolled_back": rolled,
            "still_failing": sorted(failing),
            "codeblue": {"target": ", ".join(services), "summary": self._summary(rolled, failing)},
        }

    def _decide(self, number: int, newest: Newest | None) -> None:
        """Write down what is rolled back next, before anything of it changes."""
        if newest is None or self.check_mode:
            return
        decision = plain(asdict(newest))
        self.local_change(
            f"decide_{number}",
            {"rollback": newest.as_dict(), "reason": _WHY},
            lambda _run: {"changed": False, "newest": decision},
            target=newest.service,
        )

    def _decided(self, number: int) -> Newest | None:
        """What an earlier attempt of this run decided."""
        if self.check_mode:
            return None
        run = self.open_run()
        for step in run.store.steps(run.run_id):
            if (step.stage, step.action, step.state) == (self.STAGE, f"decide_{number}", "done"):
                return _newest_of((step.result or {})["newest"])
        return None

    def _newest(
        self, services: Sequence[Service], failing: Mapping[str, str], rolled: Sequence[Mapping[str, str]]
    ) -> Newest | None:
        """The newest change among the services that fail although everything they depend on works."""
        first = [each for each in services if each.name in failing and not failing.keys() & set(each.depends_on)]
        found = [candidate for service in first for candidate in self._candidates(service)]
        done = {(each["service"], each["kind"], each["to"]) for each in rolled}
        found = [each for each in found if (each.service, each.kind, each.good) not in done]
        return max(found, key=lambda each: each.changed_at, default=None)

    def _candidates(self, service: Service) -> list[Newest]:
        """The newest change of each kind that can be rolled back; everything is looked at in one batch."""
        releases, configured = with_releases(service)[:1], with_history(service)
        answers = self.look([*map(list_call, releases), *map(history_call, configured)])
        seen = [answer.result for answer in answers]
        found = []
        for result in seen[: len(releases)]:
            release = candidate_of(service.name, result, self._marked(service, RELEASE)) if result else None
            if release is not None:
                found.append(Newest(service.name, RELEASE, release.deployed_at, release=release))
        marked = self._marked(service, CONFIGURATION)
        steps = [
            step
            for instance, result in zip(configured, seen[len(releases) :], strict=True)
            if result and (step := step_back(instance, result, marked)) is not None
        ]
        rollout = tuple(newest_rollout(steps))
        if rollout:
            changed_at = max(each.deployed_at for each in rollout)
            found.append(Newest(service.name, CONFIGURATION, changed_at, configuration=rollout))
        return found

    def _marked(self, service: Service, kind: str) -> set[str]:
        if self.check_mode:
            return set()
        return {each.version for each in self.open_run(service.name).store.bad_versions(service.name, kind)}

    def _roll_back(self, service: Service, newest: Newest) -> None:
        """All instances at once: the service is down, there is no traffic to keep."""
        if not self.check_mode:
            # Marked before the switch: a crash in between must not make the bad version look good.
            run = self.open_run(service.name)
            for version in newest.bad:
                run.store.mark_bad(service.name, newest.kind, version, run.run_id, "the service failed with it")
        instances = service.require_host().instances
        if newest.release is not None:
            release = newest.release
            affected = with_releases(service)
            switches = [switch_change(service, each, release.bad, release.good, _WHY) for each in affected]
        else:
            affected = [instances[each.machine] for each in newest.configuration]
            switches = [restore_change(service, instances[each.machine], each, _WHY) for each in newest.configuration]
        for ended in self.changes(switches):
            ended.checked()
        restarts = [
            restart_change(service, instance, f"restart_{instance.machine}_on_{newest.good}") for instance in affected
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
            return "no change is left to roll back" if failing else "nothing to roll back"
        said = f"{verb} " + ", ".join(_said(each) for each in rolled)
        return said + (f"; still failing: {', '.join(sorted(failing))}" if failing and not self.check_mode else "")


def _newest_of(kept: Mapping[str, t.Any]) -> Newest:
    release = kept["release"]
    return Newest(
        kept["service"],
        kept["kind"],
        kept["changed_at"],
        release=Candidate(**release) if release else None,
        configuration=tuple(StepBack(**each) for each in kept["configuration"]),
    )


def _said(rolled: Mapping[str, str]) -> str:
    what = "the configuration of " if rolled["kind"] == CONFIGURATION else ""
    return f"{what}{rolled['service']} from {rolled['from']} to {rolled['to']}"
