# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts what is down, wave by wave in recovery order, all of a wave at once."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._patience import patience
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, Changed, StepAction

_PAUSE = 0.1


class ActionModule(StepAction):
    """See plugins/modules/services_start.py."""

    BYPASS_HOST_LOOP = True
    STAGE = "start"
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "kinds": {"type": "list", "elements": "str", "default": []},
        "start_timeout": {"type": "float", "default": 20.0},
        "healthy_within": {"type": "float"},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        hostvars = self._variables["hostvars"]
        kinds = set(arguments["kinds"])
        services = {
            name: service
            for name, service in self.services(self.targets).items()
            if service.host is not None and service.host.instances and (not kinds or service.kind in kinds)
        }
        waves = [[name for name in wave if name in services] for wave in order_of_hosts(self.targets, hostvars)]
        started: dict[str, list[str]] = {}
        problems: dict[str, str] = {}
        for wave in (each for each in waves if each):
            ended = self.changes([change for name in wave for change in self._starts(services[name], arguments)])
            for each in ended:
                name = str(each.change.target)
                problem = _problem(each)
                if problem is not None:
                    problems.setdefault(name, problem)
                elif each.result.get("changed") and not each.earlier:
                    started.setdefault(name, []).append(each.change.machine)
            self._until_healthy([services[name] for name in wave], arguments["healthy_within"], problems)
        return {
            "changed": bool(started),
            "started": started,
            "problems": problems,
            "order": [wave for wave in waves if wave],
            "codeblue": {"target": ", ".join(services), "summary": self._summary(services, started, problems)},
        }

    def _starts(self, service: Service, arguments: dict[str, t.Any]) -> list[Change]:
        return [
            Change(
                action=f"start_{instance.machine}",
                machine=instance.machine,
                module="process_state",
                arguments={
                    "units": [
                        {
                            **instance.process.as_arguments(),
                            "state": "started",
                            "wait_for": {"address": instance.address, "port": instance.port},
                        }
                    ],
                    "timeout": arguments["start_timeout"],
                },
                decision={"unit": instance.process.unit, "reason": "it has to run"},
                seconds=arguments["start_timeout"] + 10.0,
                target=service.name,
            )
            for instance in service.require_host().instances.values()
        ]

    def _until_healthy(self, wave: Sequence[Service], given: float | None, problems: dict[str, str]) -> None:
        """Give a wave a moment to work before the next one builds on it; what does not is named, not waited for.

        A service whose dependency does not work cannot work either, so nobody waits for it.
        """
        if self.check_mode:
            return
        waiting = {service.name: service.checks for service in wave if service.name not in problems}
        hopeless = {service.name for service in wave if problems.keys() & set(service.depends_on)}
        seconds = max((patience(service, given) for service in wave), default=0.0)
        deadline = time.monotonic() + seconds
        while waiting:
            failing: dict[str, str] = {}
            for result in run_checks(plan_checks(waiting, "deep")):
                if not result.ok:
                    failing.setdefault(result.target, f"{result.id} fails ({result.error_class}): {result.detail}")
            waiting = {name: checks for name, checks in waiting.items() if name in failing}
            if waiting and (time.monotonic() >= deadline or hopeless >= waiting.keys()):
                problems.update(failing)
                return
            if waiting:
                time.sleep(_PAUSE)

    def _summary(self, services: dict[str, Service], started: dict[str, list[str]], problems: dict[str, str]) -> str:
        verb = "would start" if self.check_mode else "started"
        what = ", ".join(f"{name} on {' and '.join(machines)}" for name, machines in started.items())
        running = f"{', '.join(services)}: running already" if services else "no service of the play is started here"
        said = f"{verb} {what}" if what else running
        if problems:
            name, problem = next(iter(problems.items()))
            said += f"; {len(problems)} not working yet, {name}: {problem}"
        return said


def _problem(ended: Changed) -> str | None:
    if ended.answer.unreachable is not None:
        return f"{ended.change.machine} cannot be reached: {ended.answer.unreachable}"
    return ended.answer.failure
