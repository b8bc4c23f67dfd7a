# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The revisions of a workload, and which of them was good last.

Never simply the one before: after a rollback that is the very version that was left. Reads objects of the API as they
are and asks nothing.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_templates import (
    cleaned,
    digest_of,
    version_of,
)

_REVISION = "deployment.kubernetes.io/revision"
_HASH_LABEL = {"Deployment": "pod-template-hash"}
_REVISION_LABEL = "controller-revision-hash"

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Revision:
    """One version of a workload's pods.

    :param version: its name in the record, the same wherever the same template comes back.
    :param number: the higher the later it was rolled out.
    :param hash: by which its pods are labelled.
    :param ready: how many pods of it serve now.
    """

    version: str
    number: int
    hash: str
    template: Object = field(repr=False)
    ready: int = 0


@dataclass(frozen=True)
class Rollout:
    """A workload with all its revisions.

    :param current: what its template asks for.
    :param earlier: all others, the latest first; of the same version only the latest.
    """

    current: Revision
    earlier: tuple[Revision, ...]

    def revision(self, version: str) -> Revision | None:
        """The revision of a version; None when it is not kept any more."""
        return next((each for each in (self.current, *self.earlier) if each.version == version), None)


@dataclass(frozen=True)
class Choice:
    """From which version to which, and why to that one."""

    bad: Revision
    good: Revision
    reason: str


def owned_by(objects: Iterable[Object], uid: str) -> list[Object]:
    """Those whose controller is the object with this uid. Labels alone may catch somebody else's."""
    return [
        each
        for each in objects
        if any(
            owner.get("uid") == uid and owner.get("controller")
            for owner in each["metadata"].get("ownerReferences") or ()
        )
    ]


def read_rollout(workload: Object, history: Iterable[Object], pods: Iterable[Object]) -> Rollout:
    """The revisions of a workload.

    :param workload: a Deployment, StatefulSet or DaemonSet with its `kind`.
    :param history: the ReplicaSets or ControllerRevisions of its namespace; others' are left out.
    :param pods: of its namespace; others' are left out.
    """
    kind, uid = str(workload["kind"]), str(workload["metadata"]["uid"])
    kept = owned_by(history, uid)
    owners = {str(each["metadata"]["uid"]) for each in kept} if kind == "Deployment" else {uid}
    label = _HASH_LABEL.get(kind, _REVISION_LABEL)
    ready = Counter(
        str((pod["metadata"].get("labels") or {}).get(label, ""))
        for pod in pods
        if is_ready(pod) and any(owned_by([pod], owner) for owner in owners)
    )
    read = _of_replica_set if kind == "Deployment" else _of_controller_revision
    revisions = [found for each in kept if (found := read(each, workload)) is not None]
    by_version: dict[str, Revision] = {}
    for each in sorted(revisions, key=lambda revision: revision.number):
        serving = ready[each.hash] + (by_version[each.version].ready if each.version in by_version else 0)
        by_version[each.version] = replace(each, ready=serving)
    template = cleaned(workload["spec"]["template"])
    version = version_of(template)
    # The controller may not have written down yet what was asked for just now.
    current = by_version.pop(version, None) or Revision(version, 1 + _highest(revisions), "", template)
    earlier = sorted(by_version.values(), key=lambda revision: revision.number, reverse=True)
    return Rollout(replace(current, template=template), tuple(earlier))


def choose(rollout: Rollout, known_good: Sequence[str], marked: Collection[str], where: str) -> Choice:
    """The last good version to go back to from the current one.

    :param known_good: versions that proved themselves, the latest first.
    :param marked: versions that are marked bad.
    :param where: the workload, for the error.
    :raises CodeblueError: there is none.
    """
    possible = [each for each in rollout.earlier if each.version not in marked]
    serving = [each for each in possible if each.ready]
    if serving:
        good = max(serving, key=lambda revision: (revision.ready, revision.number))
        return Choice(rollout.current, good, f"{good.ready} ready pods of it serve now")
    for version in known_good:
        recorded = next((each for each in possible if each.version == version), None)
        if recorded is not None:
            return Choice(rollout.current, recorded, "an earlier run proved it good")
    if possible:
        return Choice(rollout.current, possible[0], "it is the newest earlier one that is not marked bad")
    left_out = f"; marked bad: {', '.join(sorted(set(marked)))}" if marked else ""
    raise CodeblueError(
        f"{where}: no revision to go back to from {rollout.current.version} is kept and not marked bad{left_out}",
        "deploy a good version by hand; codeblue bad-version list shows what is marked",
    )


def is_ready(pod: Object) -> bool:
    """Whether a pod serves: ready, and not on its way out."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def hash_of(pod: Object, kind: str) -> str:
    """Which revision a pod was made from."""
    return str((pod["metadata"].get("labels") or {}).get(_HASH_LABEL.get(kind, _REVISION_LABEL), ""))


def same_template(one: Object, other: Object) -> bool:
    """Whether they make the same pods."""
    return digest_of(one) == digest_of(other)


def _of_replica_set(each: Object, _workload: Object) -> Revision | None:
    template = cleaned(each["spec"]["template"])
    number = str((each["metadata"].get("annotations") or {}).get(_REVISION, "0"))
    marker = str((each["metadata"].get("labels") or {}).get(_HASH_LABEL["Deployment"], ""))
    return Revision(version_of(template), int(number) if number.isdigit() else 0, marker, template)


def _of_controller_revision(each: Object, workload: Object) -> Revision | None:
    template = ((each.get("data") or {}).get("spec") or {}).get("template")
    if not isinstance(template, Mapping):
        return None
    labels = each["metadata"].get("labels") or {}
    # The pods of a StatefulSet carry the revision's name, those of a DaemonSet the hash at its end.
    marker = each["metadata"]["name"] if workload["kind"] == "StatefulSet" else labels.get(_REVISION_LABEL, "")
    body = cleaned(template)
    return Revision(version_of(body), int(each.get("revision") or 0), str(marker), body)


def _highest(revisions: Sequence[Revision]) -> int:
    return max((each.number for each in revisions), default=0)
