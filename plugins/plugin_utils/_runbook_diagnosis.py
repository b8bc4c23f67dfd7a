# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a runbook finds the cause of what its criteria report: its questions to the machines, and its judgement.

A runbook that is not registered here is diagnosed by what its targets are: databases as PostgreSQL, everything else
by its processes and checks.
"""

from __future__ import annotations

import importlib
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machines import Machines
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

PROVEN = 0.95
LIKELY = 0.8
UNDECIDED = 0.0

_PACKAGE = "ansible_collections.codeblue.recovery.plugins.plugin_utils"
# Runbook to the module that holds its `DIAGNOSIS`. Imported for that runbook only: imports cost the first action.
DIAGNOSES: dict[str, str] = {
    "ai_service_unavailable": "_diagnosis_ai",
    "authentication_system_down": "_diagnosis_auth",
    "data_corruption_detected": "_diagnosis_integrity",
    "hipaa_compliance_violation": "_diagnosis_exposure",
    "security_breach_response": "_diagnosis_intrusion",
    "performance_degradation": "_diagnosis_performance",
}


@dataclass(frozen=True)
class Question:
    """A module that only reads, asked while the checks run.

    :param name: unique within the service.
    """

    name: str
    call: MachineCall


@dataclass(frozen=True)
class Seen:
    """All that is known about one target when its cause is judged.

    :param services: all targets, and the services that depend on one of them.
    :param dependencies: the services that this target depends on directly; their checks were not asked.
    :param answers: by the name of the question.
    :param ask: further modules that only read, run at once; for what follows from the first answers.
    """

    service: Service
    services: Mapping[str, Service]
    detection: Detection
    answers: Mapping[str, MachineAnswer]
    ask: Callable[[Sequence[MachineCall]], list[MachineAnswer]]
    dependencies: Mapping[str, Service] = field(default_factory=dict)


class RunbookDiagnosis(t.Protocol):
    """What a runbook brings along."""

    def questions(self, service: Service) -> Sequence[Question]:
        """What to ask the machines of a target, at once with everything else."""

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        """The judgement.

        :returns: `cause`, `confidence` (`PROVEN`, `LIKELY`, `UNDECIDED`), `evidence` (sentences, the strongest
            first), `treatment` (`none` when healthy, `person` when inconclusive), optionally `next_step` for a
            person, and plain data that the treatment needs; neither secrets nor patient data.
        """


@t.runtime_checkable
class ClusterDiagnosis(t.Protocol):
    """What a runbook brings along that judges services on Kubernetes in its own way."""

    def decide_workload(
        self, seen: Seen, looked: WorkloadSeen, findings: Callable[[], ServiceFindings]
    ) -> dict[str, t.Any]:
        """The judgement; see `RunbookDiagnosis.decide`.

        :param looked: what was seen of the workload.
        :param findings: puts together what the usual judgement is made from.
        """


class Questions:
    """The questions of a runbook's own diagnosis about all targets, asked from the moment this is made."""

    def __init__(self, diagnosis: RunbookDiagnosis, machines: Machines, services: Mapping[str, Service]) -> None:
        self._asked = [
            (name, question) for name, service in services.items() for question in diagnosis.questions(service)
        ]
        self._batch = machines.start([question.call for _name, question in self._asked])

    def answers(self) -> dict[str, dict[str, MachineAnswer]]:
        """Wait for all; by target and name of the question."""
        found: dict[str, dict[str, MachineAnswer]] = {name: {} for name, _question in self._asked}
        for (name, question), answer in zip(self._asked, self._batch.answers(), strict=True):
            found[name][question.name] = answer
        return found

    def end(self) -> None:
        """End what is still under way."""
        self._batch.end()


def diagnosis_of(runbook: str) -> RunbookDiagnosis | None:
    """The runbook's own diagnosis; None when it has none."""
    name = DIAGNOSES.get(runbook)
    if name is None:
        return None
    return t.cast(RunbookDiagnosis, importlib.import_module(f"{_PACKAGE}.{name}").DIAGNOSIS)
