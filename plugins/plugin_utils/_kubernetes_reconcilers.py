# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who else keeps a workload as it is, and what is done about it before it is changed.

Flux and Argo CD are suspended by what their own objects offer; an operator is refused, for it would write its own
template over ours within seconds; an autoscaler keeps the number of pods only, and is told.
"""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient, Resource

SUSPEND, REFUSE, TELL = "suspend", "refuse", "tell"
_FLUX = {
    "kustomize.toolkit.fluxcd.io": ("Flux Kustomization", "v1", "kustomizations", "kustomization"),
    "helm.toolkit.fluxcd.io": ("Flux HelmRelease", "v2", "helmreleases", "helmrelease"),
}
_ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
_ARGO_LABELS = ("argocd.argoproj.io/instance", "app.kubernetes.io/instance")
_ARGO_MANAGERS = ("argocd-controller", "argocd-application-controller")
_ARGO_NAMESPACE = "argocd"
# Who writes templates, by the name that it leaves in managedFields. Flux without labels is a Flux that was set so.
_MANAGERS = {
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "helm": "Helm",
}
# An Application that is kept by another one, as with "app of apps".
_MOST_PARENTS = 3

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Reconciler:
    """Somebody who keeps the workload.

    :param treatment: `suspend`, `refuse` or `tell`.
    :param advice: for a person, where it is not suspended.
    :param undo: the command that gives it back, where it is.
    :param group: with version, plural, namespace and object, what is changed to suspend it.
    :param change: the merge patch that suspends it.
    """

    name: str
    treatment: str
    evidence: str
    advice: str = ""
    undo: str = ""
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    object: str = ""
    change: str = ""

    @property
    def action(self) -> str:
        """The part of a step's name that tells it from the others."""
        return f"{self.plural}_{self.namespace}_{self.object}"

    @property
    def resource(self) -> Resource:
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Resource

        return Resource(self.group, self.version, self.plural)

    @property
    def told(self) -> str:
        """One line for people."""
        return f"{self.name} ({self.evidence}): {self.advice}"


def find_reconcilers(client: KubernetesClient, workload: Object, autoscalers: Sequence[Object]) -> list[Reconciler]:
    """All who keep a workload; those that are suspended already are left out.

    :param workload: with its metadata whole.
    :param autoscalers: the HorizontalPodAutoscalers of its namespace.
    :raises KubernetesError: one of them cannot be looked at, and so not be ruled out.
    """
    found = [*_operators(workload), *_flux(client, workload["metadata"]), *_argo(client, workload)]
    found += _scalers(workload, autoscalers)
    if not any(each.treatment == SUSPEND for each in found):
        found += _by_manager(workload["metadata"], found)
    return found


def suspend_reconciler(client: KubernetesClient, reconciler: Reconciler) -> float:
    """Suspend who keeps something; safe to repeat. Returns the Unix time at which that was accepted."""
    client.merge(reconciler.resource, reconciler.object, reconciler.namespace, json.loads(reconciler.change))
    return time.time()


def _operators(workload: Object) -> list[Reconciler]:
    return [
        Reconciler(
            f"{owner['kind']} {owner['name']}",
            REFUSE,
            "it is the controller in ownerReferences",
            f"change the version there: kubectl edit {str(owner['kind']).lower()} {owner['name']}",
        )
        for owner in workload["metadata"].get("ownerReferences") or ()
        if owner.get("controller")
    ]


def _flux(client: KubernetesClient, metadata: Object) -> list[Reconciler]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Resource
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

    labels = metadata.get("labels") or {}
    found = []
    for group, (name, version, plural, command) in _FLUX.items():
        owner, namespace = labels.get(f"{group}/name"), labels.get(f"{group}/namespace")
        if not owner or not namespace:
            continue
        try:
            seen = client.get(Resource(group, version, plural), owner, namespace)
        except NotFound:
            # The label was left behind; nobody acts on it.
            continue
        if (seen.get("spec") or {}).get("suspend"):
            continue
        found.append(
            Reconciler(
                f"{name} {namespace}/{owner}",
                SUSPEND,
                f"label {group}/name",
                undo=f"flux resume {command} {owner} -n {namespace}",
                group=group,
                version=version,
                plural=plural,
                namespace=namespace,
                object=owner,
                change=json.dumps({"spec": {"suspend": True}}),
            )
        )
    return found


def _argo(client: KubernetesClient, workload: Object) -> list[Reconciler]:
    found: list[Reconciler] = []
    kept: Object = workload
    for _parent in range(_MOST_PARENTS):
        named = _argo_name(kept["metadata"])
        if named is None:
            return found
        application = _application(client, *named)
        if application is None:
            return found
        found += _argo_application(application, f"named by {named[2]}")
        kept = application
    return found


def _argo_name(metadata: Object) -> tuple[str, str, str] | None:
    """Namespace, name and evidence of the Application that keeps an object; None when none does."""
    tracked = str((metadata.get("annotations") or {}).get(_ARGO_TRACKING) or "").partition(":")[0]
    evidence = _ARGO_TRACKING
    if not tracked:
        labels = metadata.get("labels") or {}
        # The second label is anybody's; it means Argo CD only where Argo CD has written the object.
        usable = _ARGO_LABELS if _managers(metadata) & set(_ARGO_MANAGERS) else _ARGO_LABELS[:1]
        evidence = next((each for each in usable if labels.get(each)), "")
        tracked = str(labels.get(evidence) or "")
    if not tracked:
        return None
    # Applications outside Argo CD's own namespace are called NAMESPACE_NAME.
    namespace, _underscore, name = tracked.rpartition("_")
    return namespace or _ARGO_NAMESPACE, name, evidence


def _application(client: KubernetesClient, namespace: str, name: str, _evidence: str) -> Object | None:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import Resource
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

    resource = Resource("argoproj.io", "v1alpha1", "applications")
    try:
        return client.get(resource, name, namespace)
    except NotFound:
        pass
    try:
        # Argo CD itself may be in another namespace than usual.
        every = client.list_all(resource)
    except NotFound:
        return None
    return next((each for each in every if each["metadata"]["name"] == name), None)


def _argo_application(application: Object, evidence: str) -> list[Reconciler]:
    metadata = application["metadata"]
    automated = ((application.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    name = f"Argo CD Application {metadata['namespace']}/{metadata['name']}"
    if automated is None or automated.get("enabled") is False:
        return []
    makers = [each for each in metadata.get("ownerReferences") or () if each.get("kind") == "ApplicationSet"]
    if makers:
        return [
            Reconciler(
                name,
                REFUSE,
                f"{evidence}; ApplicationSet {makers[0]['name']} would switch its sync on again",
                f"set spec.syncPolicy.applicationsSync: create-only in ApplicationSet {makers[0]['name']}, run again",
            )
        ]
    back = json.dumps({"spec": {"syncPolicy": {"automated": automated}}}, sort_keys=True)
    return [
        Reconciler(
            name,
            SUSPEND,
            evidence,
            undo=f"kubectl -n {metadata['namespace']} patch applications.argoproj.io {metadata['name']}"
            f" --type merge -p '{back}'",
            group="argoproj.io",
            version="v1alpha1",
            plural="applications",
            namespace=metadata["namespace"],
            object=metadata["name"],
            change=json.dumps({"spec": {"syncPolicy": {"automated": None}}}),
        )
    ]


def _scalers(workload: Object, autoscalers: Sequence[Object]) -> list[Reconciler]:
    wanted = (workload["kind"], workload["metadata"]["name"])
    return [
        Reconciler(
            f"HorizontalPodAutoscaler {each['metadata']['name']}",
            TELL,
            "it names the workload in scaleTargetRef",
            "it keeps the number of pods and leaves their version alone",
        )
        for each in autoscalers
        if (each["spec"]["scaleTargetRef"].get("kind"), each["spec"]["scaleTargetRef"].get("name")) == wanted
    ]


def _by_manager(metadata: Object, found: Sequence[Reconciler]) -> list[Reconciler]:
    """Those of whom only a name in managedFields is left: nobody knows whether they still act."""
    known = {_MANAGERS[each] for each in _managers(metadata) if each in _MANAGERS}
    return [
        Reconciler(
            each,
            TELL,
            "it has written fields of the workload",
            "it may put its version back; set the good one there too",
        )
        for each in sorted(known)
        if not any(other.name.startswith(each) for other in found)
    ]


def _managers(metadata: Object) -> set[str]:
    return {str(each.get("manager")) for each in metadata.get("managedFields") or ()}
