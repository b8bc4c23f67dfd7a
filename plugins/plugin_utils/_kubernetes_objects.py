# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Objects of a namespace as a snapshot keeps them and as they are made again: kinds, their order, what is kept of each.

Pure: asks nothing. What the API server and its controllers manage is left out, so that an object can be given back to
any server, and so that the same object makes the same bytes whenever it is read.
"""

from __future__ import annotations

import copy
import hashlib
import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

Object = Mapping[str, t.Any]

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    # Owners are known by uid, and theirs is another one after they were made again.
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
# What controllers write into annotations about the object that they saw.
_SERVER_ANNOTATIONS = (
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "control-plane.alpha.kubernetes.io/leader",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_HEADLESS = "None"
# Made and renewed by a controller for one account; with another uid of that account it opens nothing.
_OF_AN_ACCOUNT = "kubernetes.io/service-account-token"
_DIGITS = 12


@dataclass(frozen=True)
class ObjectKind:
    """A kind that a snapshot holds.

    :param group: empty for the core.
    :param by_name_only: making it again does something beyond having it: a claim gets an empty volume, a job runs.
    """

    kind: str
    group: str
    version: str
    plural: str
    by_name_only: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


# In the order in which they are made again: what others refer to comes first.
KINDS = (
    ObjectKind("ServiceAccount", "", "v1", "serviceaccounts"),
    ObjectKind("Role", "rbac.authorization.k8s.io", "v1", "roles"),
    ObjectKind("RoleBinding", "rbac.authorization.k8s.io", "v1", "rolebindings"),
    ObjectKind("Secret", "", "v1", "secrets"),
    ObjectKind("ConfigMap", "", "v1", "configmaps"),
    ObjectKind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims", by_name_only=True),
    ObjectKind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
    ObjectKind("Service", "", "v1", "services"),
    ObjectKind("Deployment", "apps", "v1", "deployments"),
    ObjectKind("StatefulSet", "apps", "v1", "statefulsets"),
    ObjectKind("DaemonSet", "apps", "v1", "daemonsets"),
    ObjectKind("Job", "batch", "v1", "jobs", by_name_only=True),
    ObjectKind("CronJob", "batch", "v1", "cronjobs"),
    ObjectKind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
    ObjectKind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers"),
    ObjectKind("Ingress", "networking.k8s.io", "v1", "ingresses"),
)
_BY_NAME = {each.kind: each for each in KINDS}


@dataclass(frozen=True, order=True)
class ObjectName:
    """One object of the namespace.

    :param order: of its kind when objects are made again.
    """

    order: int
    kind: str
    name: str

    @classmethod
    def of(cls, kind: str, name: str) -> ObjectName:
        """:raises BadInput: snapshots do not hold this kind."""
        return cls(KINDS.index(kind_of(kind)), kind, name)

    @classmethod
    def parse(cls, text: str) -> ObjectName:
        """From `Kind/name`, as people write it.

        :raises BadInput: it is something else.
        """
        kind, slash, name = text.partition("/")
        if not slash or not name or "/" in name:
            raise BadInput(f"{text!r} names no object", "write Kind/name, such as Secret/database")
        return cls.of(kind, name)

    @property
    def path(self) -> str:
        """In the level of a snapshot. Names of objects may have dots and colons, and no slash."""
        return f"{self.kind}/{self.name}.json"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def kind_of(kind: str) -> ObjectKind:
    """:raises BadInput: snapshots do not hold this kind."""
    if kind not in _BY_NAME:
        raise BadInput(f"kind {kind!r} is none that snapshots hold", f"one of {', '.join(_BY_NAME)}")
    return _BY_NAME[kind]


def kept(manifest: Object, kind: ObjectKind) -> dict[str, t.Any]:
    """What a snapshot keeps of an object: what its author wrote, with the defaults that the server filled in."""
    found = {key: copy.deepcopy(value) for key, value in manifest.items() if key != "status"}
    found["apiVersion"], found["kind"] = kind.api_version, kind.kind
    found["metadata"] = _metadata(found["metadata"])
    if kind.kind == "Service":
        _keep_service(found["spec"])
    elif kind.kind == "PersistentVolumeClaim":
        found["spec"].pop("volumeName", None)
    elif kind.kind == "Job" and not found["spec"].get("manualSelector"):
        _keep_job(found)
    elif kind.kind == "ServiceAccount":
        # Tokens of old servers, one for this uid of the account.
        found.pop("secrets", None)
    template = (found.get("spec") or {}).get("template")
    if isinstance(template, dict) and (template.get("metadata") or {}).get("creationTimestamp", 0) is None:
        del template["metadata"]["creationTimestamp"]
    return found


def as_bytes(found: Object) -> bytes:
    """The same bytes for the same object."""
    return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(found: Object) -> str:
    """Tells whether two kept objects are the same. Of secrets it stays in this process and in encrypted files."""
    return hashlib.sha256(as_bytes(found)).hexdigest()


def kept_by_controller(manifest: Object) -> str:
    """Who makes this object and would write over it; empty when nobody does."""
    for owner in manifest["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner['kind']} {owner['name']}"
    if manifest.get("type") == _OF_AN_ACCOUNT:
        return "the controller of service accounts"
    return ""


def _metadata(metadata: Object) -> dict[str, t.Any]:
    found = {key: value for key, value in metadata.items() if key not in _SERVER_METADATA}
    notes = {key: value for key, value in (found.pop("annotations", None) or {}).items() if not _is_servers(key)}
    # A finalizer is a promise of a controller to clean up; it is made anew by whoever keeps it.
    found.pop("finalizers", None)
    return {**found, "annotations": notes} if notes else found


def _is_servers(annotation: str) -> bool:
    return annotation in _SERVER_ANNOTATIONS


def _keep_service(spec: dict[str, t.Any]) -> None:
    # A headless Service is one because of this field.
    if spec.get("clusterIP") != _HEADLESS:
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("healthCheckNodePort", None)


def _keep_job(job: dict[str, t.Any]) -> None:
    job["spec"].pop("selector", None)
    for metadata in (job["metadata"], job["spec"]["template"].setdefault("metadata", {})):
        labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in _JOB_LABELS}
        metadata.pop("labels", None)
        if labels:
            metadata["labels"] = labels
