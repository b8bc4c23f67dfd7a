# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many pods a workload had when it worked. Pure.

A number is taken from where somebody wrote it down, never guessed: one pod where three were needed is another outage.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Under this kind the store keeps the numbers of pods that runs have seen working.
REPLICAS_KIND = "kubernetes_replicas"
#: On a workload: how many pods it is to have when somebody scaled it away.
ANNOTATION = "codeblue.recovery/replicas"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MOST_REPLICAS = 10_000

Object = Mapping[str, t.Any]


@dataclass(frozen=True)
class Autoscaler:
    """A HorizontalPodAutoscaler that names the workload.

    :param kept_by: who made it and scales by itself as well, such as `ScaledObject ai`; empty for nobody.
    """

    name: str
    least: int
    most: int
    kept_by: str = ""


@dataclass(frozen=True)
class Replicas:
    """A number of pods, and how it is known."""

    count: int
    why: str


@dataclass(frozen=True)
class ReplicaSources:
    """What the cluster says about the number of pods of a workload.

    :param present: as its spec has it now.
    :param annotated: by `ANNOTATION`; None without.
    :param applied: by the manifest that kubectl applied last; None when that says nothing.
    :param scaler: None when no autoscaler names it.
    """

    present: int
    annotated: int | None = None
    applied: int | None = None
    scaler: Autoscaler | None = None

    @property
    def owner(self) -> str:
        """Who sets the number by itself right now; empty for nobody. An autoscaler rests while there are no pods."""
        if self.scaler is None:
            return ""
        return self.scaler.kept_by or (f"HorizontalPodAutoscaler {self.scaler.name}" if self.present else "")

    def known(self, proven: Sequence[str], stated: int | None) -> Replicas | None:
        """The last number that is known to have worked; None when nobody has written one down.

        :param proven: by earlier runs, the latest first.
        :param stated: by the inventory.
        """
        by_run = next((int(each) for each in proven if each.isdigit() and int(each)), None)
        sources = (
            (by_run, "an earlier run saw it work with so many"),
            (self.annotated, f"its annotation {ANNOTATION}"),
            (stated, "codeblue_kubernetes.replicas"),
            (self.applied, "the manifest that was applied last"),
            (self.scaler.least if self.scaler is not None else None, "the least of its autoscaler"),
        )
        for count, why in sources:
            if count:
                fitting, more = self._fit(count)
                return Replicas(fitting, why + more)
        return None

    def _fit(self, count: int) -> tuple[int, str]:
        """Into the bounds of the autoscaler, which would move it there."""
        if self.scaler is None:
            return count, ""
        fitting = max(self.scaler.least, min(count, self.scaler.most))
        return fitting, "" if fitting == count else f", within the bounds of {self.scaler.name}"


def replica_sources(workload: Object, autoscalers: Iterable[Object]) -> ReplicaSources:
    """Read what the cluster says.

    :param workload: a Deployment or StatefulSet with its `kind`.
    :param autoscalers: the HorizontalPodAutoscalers of its namespace.
    """
    annotations = workload["metadata"].get("annotations") or {}
    return ReplicaSources(
        present=int(workload["spec"].get("replicas", 1)),
        annotated=_number(annotations.get(ANNOTATION)),
        applied=_applied(annotations.get(_APPLIED)),
        scaler=_scaler(workload, autoscalers),
    )


def _scaler(workload: Object, autoscalers: Iterable[Object]) -> Autoscaler | None:
    wanted = (workload["kind"], workload["metadata"]["name"])
    for each in autoscalers:
        target = each["spec"]["scaleTargetRef"]
        if (target.get("kind"), target.get("name")) == wanted:
            owners = [o for o in each["metadata"].get("ownerReferences") or () if o.get("controller")]
            kept_by = f"{owners[0]['kind']} {owners[0]['name']}" if owners else ""
            least, most = int(each["spec"].get("minReplicas") or 1), int(each["spec"]["maxReplicas"])
            return Autoscaler(str(each["metadata"]["name"]), least, most, kept_by)
    return None


def _applied(text: str | None) -> int | None:
    try:
        spec = (json.loads(text or "{}") or {}).get("spec") or {}
    except (ValueError, AttributeError):
        return None
    return _number(spec.get("replicas")) if isinstance(spec, Mapping) else None


def _number(value: t.Any) -> int | None:
    """A number of pods that can be meant; None for anything else, zero among it."""
    text = str(value if value is not None else "")
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MOST_REPLICAS else None
