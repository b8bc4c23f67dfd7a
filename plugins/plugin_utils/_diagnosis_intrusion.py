# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a service sends data outside, and whether somebody uses it who should not. Judged from its machines alone.

Monitoring only says that there is something to look for. Sockets of the service's processes and its access logs say
what it is.
"""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import SIGNALS, CheckResult
from ansible_collections.codeblue.recovery.plugins.plugin_utils._detection import Detection
from ansible_collections.codeblue.recovery.plugins.plugin_utils._intrusion_looks import Traces, look_call, traces_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import (
    LIKELY,
    PROVEN,
    UNDECIDED,
    Question,
    Seen,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import AwsSeen
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes import ServiceFindings
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_inquiry import WorkloadSeen

# In a lab everything happens in seconds; somebody who came minutes ago is looked for elsewhere.
_WINDOW_SECONDS = {"lab": 15.0}
_USUAL_WINDOW_SECONDS = 900.0
_TOPIC = "intrusion"
_MOST_ADDRESSES = 100


class IntrusionDiagnosis:
    """See `_runbook_diagnosis`."""

    def questions(self, service: Service) -> list[Question]:
        if service.host is None or service.host.isolation is None:
            return []
        window = _WINDOW_SECONDS.get(service.environment, _USUAL_WINDOW_SECONDS)
        return [
            Question(f"intrusion_{machine}", look_call(service, instance, window))
            for machine, instance in service.host.instances.items()
        ]

    def decide(self, seen: Seen) -> dict[str, t.Any]:
        answers = {
            name.removeprefix("intrusion_"): answer
            for name, answer in seen.answers.items()
            if name.startswith("intrusion_")
        }
        results = {machine: answer.result for machine, answer in answers.items() if answer.result is not None}
        silent = {machine: answer.unreachable or answer.failure or "" for machine, answer in answers.items()}
        silent = {machine: why for machine, why in silent.items() if machine not in results}
        traces = traces_of(results)
        alarms = _alarms(seen.service, seen.detection)
        cause, confidence, treatment = _judged(traces, bool(alarms), bool(silent))
        evidence = _evidence(traces)
        evidence += [f"the monitoring says so: {result.id}" for result in alarms]
        evidence += [f"{machine} cannot be looked at: {why}" for machine, why in sorted(silent.items())]
        unread = {path: why for result in results.values() for path, why in result["logs_unread"].items()}
        evidence += [f"{path} cannot be read: {why}" for path, why in sorted(unread.items())]
        return {
            "cause": cause,
            "confidence": confidence,
            "treatment": treatment,
            "evidence": tuple(evidence),
            "machines": list(traces.machines),
            "peers": list(traces.peers)[:_MOST_ADDRESSES],
            "callers": list(traces.callers)[:_MOST_ADDRESSES],
            "subjects": list(traces.subjects)[:_MOST_ADDRESSES],
            "strays": traces.strays,
        }

    def decide_workload(
        self, seen: Seen, looked: WorkloadSeen, findings: Callable[[], ServiceFindings]
    ) -> dict[str, t.Any]:
        """The same for a service on Kubernetes, of which less is seen."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_kubernetes_breach import judge_breach

        return judge_breach(seen.service.name, looked.strays, _alarms(seen.service, seen.detection), looked.cut_off)

    def look_at_aws(self, account: AwsAccount, services: Mapping[str, Service]) -> Mapping[str, t.Any]:
        """What it looks at beside the parts; see `_aws_inquiry.LooksAtAws`."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_breach import look_for_breach

        return look_for_breach(account, services)

    def decide_aws(self, seen: Seen, looked: AwsSeen, _judged: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        """The same for a service on AWS."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_inquiry import RUNBOOK
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_aws_breach import (
            BreachLook,
            judge_breach,
        )

        silent = looked.silent.get(RUNBOOK)
        look = looked.looks.get(RUNBOOK) or BreachLook(not_seen=(silent,) if silent else ())
        return judge_breach(seen.service.name, look, _alarms(seen.service, seen.detection))


def _alarms(service: Service, detection: Detection) -> list[CheckResult]:
    """Signals of the service that are not clear."""
    return [
        result
        for result in detection.results
        if result.target == service.name and result.level == SIGNALS and result.topic == _TOPIC and not result.ok
    ]


def _judged(traces: Traces, alarmed: bool, silent: bool) -> tuple[str, float, str]:
    if traces.data_leaves:
        # Whatever else is going on: as long as data leaves, nothing is safe.
        return "data_leaving", PROVEN, "quarantine"
    if traces.callers:
        return "stolen_session", PROVEN if alarmed else LIKELY, "end_sessions"
    if traces.strays and alarmed:
        return "data_leaving", LIKELY, "quarantine"
    if alarmed:
        return "inconclusive", UNDECIDED, "person"
    # Nothing points at this one. A machine that does not answer must not keep the others from being contained.
    return "healthy", LIKELY if silent else PROVEN, "none"


def _evidence(traces: Traces) -> list[str]:
    said = []
    if traces.connections:
        said.append(
            f"processes of the service on {', '.join(traces.machines)} hold {traces.connections} connections to "
            f"{', '.join(traces.peers[:5])}, which is in no known network"
        )
    if traces.strays:
        said.append(f"{traces.strays} processes run from the service's directories and belong to no unit")
    if traces.callers:
        said.append(
            f"{len(traces.subjects)} users were answered {traces.requests} times at {', '.join(traces.callers[:5])}, "
            "which is in no known network"
        )
    return said


DIAGNOSIS = IntrusionDiagnosis()
