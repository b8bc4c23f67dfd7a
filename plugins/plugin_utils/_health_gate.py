# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether more traffic may be given: every instance works and is quick, and whoever uses the service is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import run_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import profile_for
from ansible_collections.codeblue.recovery.plugins.plugin_utils._instance_probe import (
    complaint,
    probe_calls,
    probe_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._ramp import Ramp

Look = Callable[[Sequence[MachineCall]], list[MachineAnswer]]


class HealthGate:
    """Asks the instances of a service on their machines, and the checks of it and its users as clients would.

    :param services: the service itself and everything that its traffic must not harm.
    :param look: runs modules that only read.
    :param hold_secret: told every secret that a request carries.
    """

    def __init__(
        self, service: Service, services: Mapping[str, Service], look: Look, hold_secret: Callable[[str], None]
    ) -> None:
        self._service = service
        self._look = look
        # On Kubernetes there is no way to a single pod; the checks are asked as clients would.
        self._calls = probe_calls(service, hold_secret) if service.host is not None else {}
        self._plan = plan_checks({name: each.checks for name, each in services.items()}, "deep")
        self._limits = {name: each.checks.thresholds.response for name, each in services.items()}

    def __call__(self) -> str:
        """The first thing that speaks against more traffic; empty when nothing does."""
        return self.instances() or self._checks()

    def instances(self) -> str:
        """The same of the instances alone."""
        if not self._calls:
            return ""
        answers = self._look(list(self._calls.values()))
        return complaint(
            self._service, {name: probe_of(answer) for name, answer in zip(self._calls, answers, strict=True)}
        )

    def _checks(self) -> str:
        for result in run_checks(self._plan):
            if not result.ok:
                return f"{result.target}: {result.id} fails ({result.error_class})"
            if result.tells_speed and result.seconds > self._limits[result.target]:
                return f"{result.target}: {result.id} took {result.seconds:.2f} s"
        return ""


def ramp_for(service: Service, steps: tuple[int, ...], hold: float) -> Ramp:
    """The ramp on the time scale of the service's environment: a lab's minute is a second."""
    scale = profile_for(service.environment).time_scale
    pause = max(0.05, min(service.checks.interval, hold * scale))
    return Ramp(steps, hold * scale, pause)
