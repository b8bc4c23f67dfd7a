# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rights in a cluster that each action needs, and by them those that a runbook needs. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import KINDS

#: In the namespaces of the services, or in the whole cluster.
NAMESPACE, CLUSTER = "namespace", "cluster"


@dataclass(frozen=True)
class Right:
    """One or more verbs on one resource.

    :param optional: without it the action works, and says what it could not see.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    scope: str = NAMESPACE
    optional: bool = False


def _on(resources: str, *verbs: str, **more: t.Any) -> tuple[Right, ...]:
    """Rights on resources such as `deployments.apps`; core ones have no group."""
    pairs = (each.partition(".") for each in resources.split())
    return tuple(Right(group, name, verbs, **more) for name, _dot, group in pairs)


_WORKLOADS = "deployments.apps statefulsets.apps daemonsets.apps"
_HISTORY = "replicasets.apps controllerrevisions.apps"
_SCALERS = "horizontalpodautoscalers.autoscaling"
_SLICES = "endpointslices.discovery.k8s.io"
_KEPT = " ".join(f"{each.plural}.{each.group}" if each.group else each.plural for each in KINDS)

_CHECK = (*_on(_WORKLOADS, "get"), *_on(_SLICES, "list"))
_LOOK = (
    *_CHECK,
    *_on(f"{_WORKLOADS} {_HISTORY} {_SLICES} pods services", "list"),
    *_on("secrets configmaps", "get", optional=True),
    *_on(_SCALERS, "list", optional=True),
)
_WAIT = (*_on(_WORKLOADS, "get"), *_on("pods events", "list"))
# Where they live is not known before: their own namespaces, which may be any.
_RECONCILERS = (
    *_on("kustomizations.kustomize.toolkit.fluxcd.io", "get", "patch", scope=CLUSTER, optional=True),
    *_on("helmreleases.helm.toolkit.fluxcd.io", "get", "patch", scope=CLUSTER, optional=True),
    *_on("applications.argoproj.io", "get", "list", "patch", scope=CLUSTER, optional=True),
    *_on("namespaces", "get", scope=CLUSTER, optional=True),
)
_ROLLBACK = (
    *_CHECK,
    *_WAIT,
    *_RECONCILERS,
    *_on(_WORKLOADS, "get", "patch"),
    *_on(_HISTORY, "list"),
    *_on("pods", "list", "delete"),
    *_on(_SCALERS, "list", optional=True),
)
_SCALE = (
    *_CHECK,
    *_WAIT,
    *_RECONCILERS,
    *_on(_WORKLOADS, "get", "patch"),
    *_on(_HISTORY, "list"),
    *_on(f"{_SCALERS} resourcequotas", "list", optional=True),
)
_ROUTE = (
    *_CHECK,
    *_RECONCILERS,
    *_on(_WORKLOADS, "get"),
    *_on(f"{_HISTORY} pods", "list"),
    *_on("services", "get", "patch"),
)
_RESTORE = (*_CHECK, *_WAIT, *_RECONCILERS, *_on(_KEPT, "get", "create", "patch"), *_on("pods", "list", "delete"))
_EVIDENCE = (
    *_on(_WORKLOADS, "get"),
    *_on("pods", "list"),
    *_on("pods/log", "get"),
    *_on(f"events {_HISTORY}", "list", optional=True),
    *_on(_KEPT, "list", optional=True),
)
_FEATURES = (
    *_CHECK,
    *_RECONCILERS,
    *_on("configmaps", "get", "patch"),
    *_on(_WORKLOADS, "get", "patch"),
    *_on("pods", "list"),
)
_QUARANTINE = (
    *_CHECK,
    *_WAIT,
    *_on(_WORKLOADS, "get", "patch"),
    *_on(_HISTORY, "list"),
    *_on("networkpolicies.networking.k8s.io", "get", "list", "create", "patch", "delete"),
    *_on("pods", "list", "delete"),
    *_on("ciliumnetworkpolicies.cilium.io networkpolicies.crd.projectcalico.org", "list", optional=True),
    *_on("daemonsets.apps", "list", scope=CLUSTER, optional=True),
    *_on("namespaces", "get", scope=CLUSTER, optional=True),
)
_ROTATE = (
    *_CHECK,
    *_WAIT,
    *_RECONCILERS,
    *_on("secrets", "get", "list", "create", "patch"),
    *_on(_KEPT, "list"),
    *_on(f"{_HISTORY} pods", "list"),
    *_on("pods", "delete"),
    *_on(f"{_WORKLOADS} cronjobs.batch ingresses.networking.k8s.io serviceaccounts", "get", "patch"),
)

# What the diagnosis reads of logs, answers and ways in belongs to the first step: no other runbook reads logs for it.
_EXPOSED = (
    *_on(_WORKLOADS, "get"),
    *_on("pods services ingresses.networking.k8s.io", "list"),
    *_on("pods/log", "get"),
    *_on("pods/proxy", "get", optional=True),
)
_EXPOSURE_CLOSE = (
    *_CHECK,
    *_RECONCILERS,
    *_EXPOSED,
    *_on(f"{_HISTORY} {_SLICES}", "list"),
    *_on("services", "get", "patch"),
    *_on("ingresses.networking.k8s.io", "get", "patch", "delete"),
)

_JOBS = (*_on("jobs.batch", "get", "create", "patch"), *_on("pods", "list"))
_WRITES_STOP = (
    *_JOBS,
    *_WAIT,
    *_RECONCILERS,
    *_on(_WORKLOADS, "get", "patch"),
    *_on(_HISTORY, "list"),
    *_on(_SCALERS, "list", optional=True),
)
_DATABASE_RESTORE = (
    *_JOBS,
    *_on(_WORKLOADS, "get"),
    *_on("volumesnapshots.snapshot.storage.k8s.io", "list", "create", optional=True),
)

#: By the name of the action, without the collection. An action that is not here asks no cluster.
RIGHTS: Mapping[str, tuple[Right, ...]] = {
    "diagnose": _LOOK,
    "validate_services": _CHECK,
    "collect_evidence": _EVIDENCE,
    "feature_switch": _FEATURES,
    "feature_ramp": _FEATURES,
    "kubernetes_database_restore": _DATABASE_RESTORE,
    "kubernetes_writes_stop": _WRITES_STOP,
    "kubernetes_exposure_close": _EXPOSURE_CLOSE,
    "kubernetes_exposure_prove": (*_EXPOSED, *_on(_SLICES, "list"), *_on("services", "get", "patch")),
    "kubernetes_exposure_record": (*_EXPOSED, *_EVIDENCE),
    "kubernetes_exposure_remove": (*_CHECK, *_ROLLBACK),
    "kubernetes_quarantine": _QUARANTINE,
    "kubernetes_recover": (*_LOOK, *_ROLLBACK, *_SCALE, *_ROUTE, *_RESTORE),
    "kubernetes_restore": _RESTORE,
    "kubernetes_rollback": _ROLLBACK,
    "kubernetes_route": _ROUTE,
    "kubernetes_scale": _SCALE,
    "kubernetes_secret_rotate": _ROTATE,
    "kubernetes_snapshot": _on(_KEPT, "list"),
}


def rights_of(actions: Iterable[str]) -> list[Right]:
    """What some actions need together, each resource once for each scope.

    A right that one of them cannot do without is not optional.
    """
    verbs: dict[tuple[str, str, str], dict[str, bool]] = {}
    for action in actions:
        for right in RIGHTS.get(action, ()):
            found = verbs.setdefault((right.scope, right.group, right.resource), {})
            for verb in right.verbs:
                found[verb] = found.get(verb, True) and right.optional
    together = []
    for (scope, group, resource), wanted in sorted(verbs.items()):
        for optional in (False, True):
            chosen = tuple(sorted(verb for verb, each in wanted.items() if each is optional))
            if chosen:
                together.append(Right(group, resource, chosen, scope, optional))
    return together


def roles(name: str, rights: Iterable[Right], optional: bool = True) -> list[dict[str, t.Any]]:
    """The ClusterRoles that grant them: `codeblue-NAME`, to be bound in each namespace, and `codeblue-NAME-cluster`.

    :param name: with hyphens, as Kubernetes wants names.
    :param optional: with those that are not needed.
    """
    found = []
    for scope, suffix in ((NAMESPACE, ""), (CLUSTER, "-cluster")):
        rules: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for right in rights:
            if right.scope == scope and (optional or not right.optional):
                rules.setdefault((right.group, right.verbs), []).append(right.resource)
        if rules:
            found.append(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": f"codeblue-{name}{suffix}"},
                    "rules": [
                        {"apiGroups": [group], "resources": sorted(set(resources)), "verbs": list(verbs)}
                        for (group, verbs), resources in sorted(rules.items())
                    ],
                }
            )
    return found


def bindings(made: Iterable[Mapping[str, t.Any]], namespaces: Iterable[str], subject: str) -> list[dict[str, t.Any]]:
    """What gives the roles to an account: in each namespace, and in the cluster.

    :param made: by `roles`.
    :param subject: `NAMESPACE:NAME` of a service account, or the name of a user.
    """
    place, _colon, account = subject.partition(":")
    who: dict[str, str] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": subject}
    if account:
        who = {"kind": "ServiceAccount", "namespace": place, "name": account}
    names = [str(each["metadata"]["name"]) for each in made]
    found = []
    for role in names:
        in_cluster = role.endswith("-cluster")
        for namespace in ("",) if in_cluster else sorted(set(namespaces)):
            found.append(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding" if in_cluster else "RoleBinding",
                    "metadata": {"name": role, **({"namespace": namespace} if namespace else {})},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [who],
                }
            )
    return found
