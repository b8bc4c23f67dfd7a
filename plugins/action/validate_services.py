# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proves that the targets work again, several times in a row, and says which of them do not."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._baseline import (
    Baseline,
    Limits,
    compare,
    measure,
    summarise,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import profile_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import dependents_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_performance import machine_call
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import StepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import (
    LONGEST_OF_LEVEL,
    PHASES,
    Phase,
    Validation,
    degraded_by,
    missed_resources,
    validate,
)

# A failing import at the top of an action plugin would abort the whole play, past rescue; `run` says it.
try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import open_store
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_baselines import (
        add_answer_times,
        baselines_of,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store_models import StoreUnavailable
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None

_LEVELS = ("shallow", "deep", "comprehensive")
# How long a look that found something is repeated before it counts, while a recovered service is watched.
_CONFIRM_SECONDS = 10.0
# All rounds of a measurement together, however late the answers come.
_MEASURE_SECONDS = 120.0
_MOST_FIGURES = 20


class ActionModule(StepAction):
    """See plugins/modules/validate_services.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "validate"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "level": {"type": "str", "choices": list(_LEVELS), "default": "deep"},
        "stable": {"type": "int", "default": 3},
        "within": {"type": "str", "default": "30s"},
        "dependents": {"type": "bool", "default": True},
        "phase": {"type": "str", "choices": list(PHASES)},
        "performance": {"type": "bool", "default": False},
        "resources": {"type": "bool", "default": False},
        "rounds": {"type": "int", "default": 20},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        phase = _phase(arguments)
        services = self.services(self.targets)
        if arguments["dependents"]:
            hostvars = self._variables["hostvars"]
            names = [str(name) for name in self._variables["groups"].get("codeblue_services", [])]
            services |= self.services(dependents_of(self.targets, hostvars, names))
        started = time.monotonic()
        found, good = self._until_stable(services, phase.level, arguments["stable"], started + phase.within)
        if found.outcome == "recovered" and phase.watch and not self.check_mode:
            found = self._watch(services, phase) or found
        figures: list[str] = []
        if phase.resources:
            found = degraded_by(found, self._resources(services))
        if phase.performance and found.outcome != "failed":
            found, figures = self._performance(found, services, arguments["rounds"])
        seconds = round(time.monotonic() - started, 3)
        health = {service.target: service for service in found.services}
        if not self.check_mode:
            self._write_down(found, phase.level, seconds, figures)
        return {
            "outcome": found.outcome,
            "reasons": list(found.reasons),
            "stable": good,
            "services": {name: {"status": each.status, "reasons": list(each.reasons)} for name, each in health.items()},
            "performance": figures,
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

    def _watch(self, services: dict[str, Service], phase: Phase) -> Validation | None:
        """Go on checking; the first validation that is not well, None when all were."""
        environment = next(iter(services.values())).environment
        ends = time.monotonic() + profile_for(environment).window(phase.watch)
        while time.monotonic() < ends:
            # One failed look is looked at again, as everywhere: what lasts is an outage.
            found, good = self._until_stable(services, phase.level, 1, min(ends, time.monotonic() + _CONFIRM_SECONDS))
            if not good:
                return found
            pause = max(service.checks.interval for service in services.values())
            time.sleep(max(0.0, min(pause, ends - time.monotonic())))
        return None

    def _resources(self, services: dict[str, Service]) -> dict[str, list[str]]:
        """What the machines of each service miss."""
        instances = [
            (name, instance)
            for name, service in services.items()
            if service.host is not None
            for instance in service.host.instances.values()
        ]
        answers = self.look([machine_call(instance, [services[name]]) for name, instance in instances])
        found: dict[str, list[str]] = {}
        for (name, instance), answer in zip(instances, answers, strict=True):
            if answer.result is None:
                missed = [f"cannot be looked at: {answer.failure or answer.unreachable}"]
            else:
                missed = missed_resources(answer.result, services[name].checks.thresholds)
            found.setdefault(name, []).extend(f"{instance.machine}: {each}" for each in missed)
        return found

    def _performance(
        self, found: Validation, services: dict[str, Service], rounds: int
    ) -> tuple[Validation, list[str]]:
        """Hold answer times against those from before the run; those that are normal become part of what is."""
        checks = {name: service.checks for name, service in services.items()}
        pace = min(service.checks.interval for service in services.values())
        results = measure(checks, rounds, pace, deadline=_MEASURE_SECONDS)
        now = summarise(results)
        limits = {name: Limits(each.thresholds.p95_factor, each.thresholds.p95_floor) for name, each in checks.items()}
        compared = compare(now, self._baselines(services), limits)
        missed: dict[str, list[str]] = {}
        for each in compared:
            if not each.ok:
                missed.setdefault(each.target, []).append(each.text())
        if not missed and found.outcome == "recovered" and not self.check_mode and self.store.main is not None:
            add_answer_times(self.store.main, summarise(results, only_well=True), "validation")
        # The slowest first, for people and the record.
        ordered = sorted(compared, key=lambda each: (each.ok, -each.p95))
        return degraded_by(found, missed), [f"{each.target}/{each.text()}" for each in ordered[:_MOST_FIGURES]]

    def _baselines(self, services: dict[str, Service]) -> dict[tuple[str, str], Baseline]:
        """What was normal before this run; nothing when the store is lost."""
        if self.check_mode:
            try:
                return baselines_of(open_store(), list(services))
            except StoreUnavailable:
                return {}
        main = self.store.main
        if main is None:
            return {}
        run = self.store.run(self.open_run(self.targets[0]).run_id)
        return baselines_of(main, list(services), before=run.opened_at if run is not None else None)

    def _write_down(self, found: Validation, level: str, seconds: float, figures: list[str]) -> None:
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
                    "summary": "; ".join(each for each in figures if each.startswith(f"{service.target}/"))[:500],
                },
            )


def _phase(arguments: dict[str, t.Any]) -> Phase:
    """What is asked for: one of the named phases, or the single options.

    :raises BadInput: `within` is longer than the level may take.
    """
    if arguments["phase"] is not None:
        return PHASES[arguments["phase"]]
    within, longest = parse_duration(arguments["within"], "within"), LONGEST_OF_LEVEL[arguments["level"]]
    if within > longest:
        raise BadInput(
            f"within: {arguments['within']} is longer than the {longest:g} s that {arguments['level']} checks may take",
            "what has not come back by then has not recovered",
        )
    return Phase(arguments["level"], within, performance=arguments["performance"], resources=arguments["resources"])


def _summary(found: Validation, good: int, stable: int, check_mode: bool) -> str:
    if check_mode:
        return f"would validate; now: {found.outcome}" + (f" ({found.reasons[0]})" if found.reasons else "")
    if found.outcome == "recovered":
        return f"all {len(found.services)} services are healthy, {good} of {stable} times in a row"
    return f"{found.outcome}: {found.reasons[0]}" if found.reasons else found.outcome
