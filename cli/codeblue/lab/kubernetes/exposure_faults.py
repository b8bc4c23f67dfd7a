"""Patients of the clinic on a cluster are exposed: by a version that logs them, by a way in that nobody meant."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.manifests import MADE_BY
from codeblue.lab.kubernetes.parts import ClusterParts
from codeblue.lab.kubernetes.release_faults import BadRelease

_RUNBOOK = "hipaa_compliance_violation"
_RECORDS = ("records",)
_SECONDS = 60.0
#: The signal that every service with data of patients has of its own; every workload works on.
EXPOSURE = "exposure"


@dataclass(frozen=True)
class MadePublic(ClusterFault):
    """Somebody opens a Service to the outside, as for a test, on a port of every node."""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            parts.patch("Service", parts.workload_of(service).name, "/spec/type", "NodePort")


@dataclass(frozen=True)
class LedInto(ClusterFault):
    """Somebody makes an Ingress that leads to a Service past the gateway."""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            backend = {"service": {"name": parts.workload_of(service).name, "port": {"name": "http"}}}
            path = {"path": "/", "pathType": "Prefix", "backend": backend}
            labels = {MADE_BY[0]: MADE_BY[1]}
            spec = {"rules": [{"host": "demo.clinic.example", "http": {"paths": [path]}}]}
            parts.create("Ingress", {"metadata": {"name": f"{service}-demo", "labels": labels}, "spec": spec})


EXPOSURE_FAULTS: tuple[ClusterFault, ...] = (
    BadRelease(
        "records_phi_in_log",
        "a release of records is rolled out that writes patients into its log; they do not exist",
        _RECORDS,
        _RUNBOOK,
        _SECONDS,
        signals=(EXPOSURE,),
        tag="phi",
    ),
    MadePublic(
        "records_made_public",
        "the Service of records is opened to the outside on a port of every node",
        _RECORDS,
        _RUNBOOK,
        _SECONDS,
        signals=(EXPOSURE,),
    ),
    LedInto(
        "records_led_into",
        "an Ingress leads to records past the gateway",
        _RECORDS,
        _RUNBOOK,
        _SECONDS,
        signals=(EXPOSURE,),
    ),
)
