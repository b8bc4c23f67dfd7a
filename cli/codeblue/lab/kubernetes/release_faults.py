"""Bad releases: their image is not there, their process ends over and over, or they never become ready."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.parts import ClusterParts

_LOGIN = "authentication_system_down"
_IMAGE = "/spec/template/spec/containers/0/image"


@dataclass(frozen=True)
class BadRelease(ClusterFault):
    """Another image is rolled out to a service.

    :param tag: of that image; where there are no kubelets it decides what becomes of the pods.
    """

    tag: str = "bad"

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            workload = parts.workload_of(service)
            image = str(workload.body["spec"]["template"]["spec"]["containers"][0]["image"])
            # A StatefulSet replaces one pod after the other and would stop at the first: all are away in between.
            in_between = workload.kind == "StatefulSet"
            if in_between:
                parts.scale(workload, 0)
            parts.patch(workload.kind, workload.name, _IMAGE, f"{image.rpartition(':')[0]}:{self.tag}")
            if in_between:
                parts.scale(workload, int(workload.body["spec"]["replicas"]))


RELEASE_FAULTS: tuple[ClusterFault, ...] = (
    BadRelease(
        "auth_image_missing",
        "a release of auth is rolled out whose image cannot be pulled",
        ("auth",),
        _LOGIN,
        60.0,
        tag="bad",
    ),
    BadRelease(
        "auth_release_crashing",
        "a release of auth is rolled out whose process ends over and over",
        ("auth",),
        _LOGIN,
        60.0,
        tag="crash",
    ),
    BadRelease(
        "auth_release_unready",
        "a release of auth is rolled out that runs and never becomes ready",
        ("auth",),
        _LOGIN,
        60.0,
        tag="unready",
    ),
)
