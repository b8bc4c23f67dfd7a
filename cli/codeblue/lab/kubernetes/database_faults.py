"""The database on a cluster is away: what its workload, its Service and its objects can do to it."""

from __future__ import annotations

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.object_faults import Deleted, Misrouted, ScaledToZero
from codeblue.lab.kubernetes.release_faults import BadRelease

_RUNBOOK = "database_connection_failure"
_DATABASE = ("patient_db",)
_SECONDS = 60.0

DATABASE_FAULTS: tuple[ClusterFault, ...] = (
    ScaledToZero("patient_db_scaled_to_zero", "patient_db is scaled to no pods", _DATABASE, _RUNBOOK, _SECONDS),
    Misrouted(
        "patient_db_misrouted",
        "the selector of the Service of patient_db wants a version that no pod has",
        _DATABASE,
        _RUNBOOK,
        _SECONDS,
    ),
    BadRelease(
        "patient_db_image_missing",
        "patient_db gets an image that cannot be pulled, and all its pods start anew",
        _DATABASE,
        _RUNBOOK,
        _SECONDS,
        tag="bad",
    ),
    Deleted(
        "patient_db_secret_deleted",
        "the Secret with the password of patient_db is deleted, and its pods start anew",
        _DATABASE,
        _RUNBOOK,
        _SECONDS,
        _DATABASE,
        "Secret/patient-db-password",
    ),
)
