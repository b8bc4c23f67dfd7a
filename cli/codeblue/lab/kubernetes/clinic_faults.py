"""Most of the clinic is away at once, for one reason or for a different one each."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.manifests import SERVICE_NAMES
from codeblue.lab.kubernetes.object_faults import Deleted, Misrouted, ScaledToZero
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.release_faults import BadRelease

_RUNBOOK = "complete_system_outage"
_EVERYTHING = tuple(SERVICE_NAMES)
_APPLICATIONS = tuple(name for name in SERVICE_NAMES if name != "patient_db")
# Five workloads, one after the other as far as they need each other.
_SECONDS = 120.0


@dataclass(frozen=True)
class Several(ClusterFault):
    """Several faults at once.

    :param causes: each for services of its own.
    """

    causes: tuple[ClusterFault, ...] = ()

    def damage(self, parts: ClusterParts) -> None:
        for cause in self.causes:
            cause.damage(parts)


CLINIC_FAULTS: tuple[ClusterFault, ...] = (
    ScaledToZero("clinic_scaled_to_zero", "every workload is scaled to no pods", _EVERYTHING, _RUNBOOK, _SECONDS),
    BadRelease(
        "clinic_images_missing",
        "auth, records, ai and gateway get images that cannot be pulled",
        _APPLICATIONS,
        _RUNBOOK,
        _SECONDS,
        tag="bad",
    ),
    Several(
        "clinic_broken_differently",
        "patient_db is scaled away, auth has a bad release, records is misrouted, the Secret of ai is deleted, gateway"
        " never gets ready",
        _EVERYTHING,
        _RUNBOOK,
        _SECONDS,
        ("ai",),
        (
            ScaledToZero("", "", ("patient_db",)),
            BadRelease("", "", ("auth",), tag="crash"),
            Misrouted("", "", ("records",)),
            Deleted("", "", ("ai",), object="Secret/ai-api-key"),
            BadRelease("", "", ("gateway",), tag="unready"),
        ),
    ),
)
