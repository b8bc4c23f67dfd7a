"""A service on a cluster answers late: by its release, or because it has too few pods.

Where there are no kubelets nobody answers: how late an answer is, is simulated from what the pods are.
"""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.release_faults import BadRelease
from codeblue.lab.kubernetes.signals import ANSWER_TIME, SLOW_TAG

_RUNBOOK = "performance_degradation"
_SECONDS = 60.0


@dataclass(frozen=True)
class SlowRelease(BadRelease):
    """A release that works, and takes its time."""

    tag: str = SLOW_TAG


@dataclass(frozen=True)
class TooFewPods(ClusterFault):
    """Somebody scales a service down to one pod, which does not carry the load."""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            workload = parts.workload_of(service)
            parts.patch(workload.kind, workload.name, "/spec/replicas", 1)


PERFORMANCE_FAULTS: tuple[ClusterFault, ...] = (
    SlowRelease(
        "records_release_slow",
        "a release of records is rolled out that works and answers late",
        ("records",),
        _RUNBOOK,
        _SECONDS,
        signals=(ANSWER_TIME,),
    ),
    SlowRelease(
        "auth_release_slow",
        "a release of auth is rolled out that works and answers late",
        ("auth",),
        _RUNBOOK,
        _SECONDS,
        signals=(ANSWER_TIME,),
    ),
    TooFewPods(
        "records_too_few_pods",
        "records is scaled down to one pod, and requests wait",
        ("records",),
        _RUNBOOK,
        _SECONDS,
        signals=(ANSWER_TIME,),
    ),
)
