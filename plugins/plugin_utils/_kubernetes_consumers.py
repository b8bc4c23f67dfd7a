# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who in a namespace uses a Secret, and what each of them needs to use its new values. Pure.

Only workloads have to be rolled: a container's variables are those of its start, and few programs read a file twice.
Whoever reads the Secret anew by itself, at the next pull, job or handshake, is told.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: Kinds that are listed to find them.
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
KINDS = (*WORKLOADS, "CronJob", "Job", "ServiceAccount", "Ingress")

Object = Mapping[str, t.Any]


@dataclass(frozen=True, order=True)
class Consumer:
    """An object that uses a Secret.

    :param by: how, such as `env` or `imagePullSecrets`; all ways in which it does.
    """

    kind: str
    name: str
    by: tuple[str, ...]

    @property
    def rolled(self) -> bool:
        """Its pods have to be made anew. A pull of an image happens when they are made anyway."""
        return self.kind in WORKLOADS and set(self.by) != {"imagePullSecrets"}

    @property
    def said(self) -> str:
        """For people."""
        return f"{self.kind} {self.name} ({', '.join(self.by)})"

    @property
    def advice(self) -> str:
        """What becomes of it, where it is not rolled."""
        return {
            "CronJob": "its next job has the new values",
            "Job": "a job that runs goes on with the old values: see whether it has to be made again",
            "ServiceAccount": "new pods pull with the new values",
            "Ingress": "its controller loads the new certificate by itself",
            "Pod": "no controller makes it anew: make it again by hand",
        }.get(self.kind, "new pods pull with the new values")


def consumers_of(names: Iterable[str], objects: Mapping[str, Sequence[Object]]) -> list[Consumer]:
    """Who uses one of these Secrets.

    :param objects: kind to the objects of the namespace; `Pod` are those that no controller keeps.
    """
    wanted = set(names)
    found = []
    for kind, every in objects.items():
        for each in every:
            by = sorted({how for how, name in _uses(kind, each) if name in wanted})
            if by:
                found.append(Consumer(kind, str(each["metadata"]["name"]), tuple(by)))
    return sorted(found)


def _uses(kind: str, found: Object) -> Iterator[tuple[str, str]]:
    """Each way in which an object names a Secret."""
    if kind == "ServiceAccount":
        for field in ("imagePullSecrets", "secrets"):
            yield from ((field, each["name"]) for each in found.get(field) or ())
        return
    spec = found.get("spec") or {}
    if kind == "Ingress":
        yield from (("tls", each["secretName"]) for each in spec.get("tls") or () if each.get("secretName"))
        return
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    yield from _of_pod(spec if kind == "Pod" else spec["template"]["spec"])


def _of_pod(pod: Object) -> Iterator[tuple[str, str]]:
    yield from (("imagePullSecrets", each["name"]) for each in pod.get("imagePullSecrets") or ())
    for container in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())):
        for source in container.get("envFrom") or ():
            if "secretRef" in source:
                yield "envFrom", source["secretRef"]["name"]
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference:
                yield "env", reference["name"]
    for volume in pod.get("volumes") or ():
        if "secret" in volume:
            yield "volume", volume["secret"]["secretName"]
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "secret" in source:
                yield "projected", source["secret"]["name"]
        reference = (volume.get("csi") or {}).get("nodePublishSecretRef")
        if reference:
            yield "csi", reference["name"]
