"""The AI service on a cluster is away; records can do without it."""

from __future__ import annotations

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.object_faults import Deleted, ScaledToZero
from codeblue.lab.kubernetes.release_faults import BadRelease

_RUNBOOK = "ai_service_unavailable"
_AI = ("ai",)
_SECONDS = 60.0

AI_FAULTS: tuple[ClusterFault, ...] = (
    BadRelease(
        "ai_image_missing", "a release of ai is rolled out whose image cannot be pulled", _AI, _RUNBOOK, _SECONDS
    ),
    BadRelease(
        "ai_release_unready",
        "a release of ai is rolled out that runs and never becomes ready",
        _AI,
        _RUNBOOK,
        _SECONDS,
        tag="unready",
    ),
    ScaledToZero("ai_scaled_to_zero", "ai is scaled to no pods", _AI, _RUNBOOK, _SECONDS),
    Deleted(
        "ai_secret_deleted",
        "the Secret with the API key of ai is deleted, and its pods start anew",
        _AI,
        _RUNBOOK,
        _SECONDS,
        _AI,
        "Secret/ai-api-key",
    ),
)
