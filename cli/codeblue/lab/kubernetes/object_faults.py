"""Objects that somebody changed or deleted: no pods are wanted, a Service leads nowhere, what pods need is gone."""

from __future__ import annotations

from dataclasses import dataclass

from codeblue.lab.kubernetes.faults import ClusterFault
from codeblue.lab.kubernetes.parts import ClusterParts

_LOGIN = "authentication_system_down"


@dataclass(frozen=True)
class ScaledToZero(ClusterFault):
    """Somebody scales a service down and does not come back."""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            workload = parts.workload_of(service)
            parts.patch(workload.kind, workload.name, "/spec/replicas", 0)


@dataclass(frozen=True)
class Misrouted(ClusterFault):
    """The selector of a Service gets a label that no pod has: traffic is stopped, as one stops it by hand."""

    def damage(self, parts: ClusterParts) -> None:
        for service in self.hits:
            parts.patch("Service", parts.workload_of(service).name, "/spec/selector/version", "stable")


@dataclass(frozen=True)
class Deleted(ClusterFault):
    """An object of a service is deleted, and then its pods: those that come need what is gone.

    :param object: as `Kind/name`.
    """

    object: str = ""

    def damage(self, parts: ClusterParts) -> None:
        kind, _, name = self.object.partition("/")
        parts.delete(kind, name)
        for service in self.hits:
            parts.delete_pods(parts.workload_of(service).name)


@dataclass(frozen=True)
class LostKey(ClusterFault):
    """A key of a ConfigMap or Secret is gone after a change of it, and then its pods are restarted.

    :param object: as `Kind/name`.
    :param key: of its data.
    """

    object: str = ""
    key: str = ""

    def damage(self, parts: ClusterParts) -> None:
        kind, _, name = self.object.partition("/")
        data = dict(parts.get(kind, name)["data"])
        data.pop(self.key, None)
        parts.patch(kind, name, "/data", data)
        for service in self.hits:
            parts.delete_pods(parts.workload_of(service).name)


_SNAPSHOT = ("auth",)

OBJECT_FAULTS: tuple[ClusterFault, ...] = (
    ScaledToZero("auth_scaled_to_zero", "auth is scaled to no pods", ("auth",), _LOGIN, 60.0),
    Misrouted(
        "auth_misrouted",
        "the selector of the Service of auth wants a version that no pod has",
        ("auth",),
        _LOGIN,
        60.0,
    ),
    Deleted(
        "auth_workload_deleted",
        "the Deployment of auth is deleted",
        ("auth",),
        _LOGIN,
        60.0,
        _SNAPSHOT,
        "Deployment/auth",
    ),
    Deleted(
        "auth_secret_deleted",
        "the Secret with the signing key of auth is deleted, and its pods start anew",
        ("auth",),
        _LOGIN,
        60.0,
        _SNAPSHOT,
        "Secret/auth-signing-key",
    ),
    Deleted(
        "auth_settings_deleted",
        "the ConfigMap of auth is deleted, and its pods start anew",
        ("auth",),
        _LOGIN,
        60.0,
        _SNAPSHOT,
        "ConfigMap/auth-settings",
    ),
    LostKey(
        "auth_key_lost",
        "the Secret of auth is there without its key, and its pods start anew",
        ("auth",),
        _LOGIN,
        60.0,
        _SNAPSHOT,
        "Secret/auth-signing-key",
        "key",
    ),
)
