# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How many more pods of a workload the quotas of its namespace leave room for. Pure."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

Object = Mapping[str, t.Any]

_SUFFIXES = {
    **{
        name: Fraction(1000) ** power
        for power, name in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
    **{f"{name}i": Fraction(1024) ** power for power, name in enumerate(("K", "M", "G", "T", "P", "E"), 1)},
}


@dataclass(frozen=True)
class Room:
    """How many more pods fit, and what says so."""

    pods: int
    why: str


def room_for(template: Object, quotas: Iterable[Object]) -> Room | None:
    """The least that a quota leaves; None when none bounds these pods.

    Quotas for some pods only, by scopes, are left out: what they refuse is seen when the pods are made.

    :param template: of the workload's pods.
    :param quotas: the ResourceQuotas of the namespace.
    """
    rooms = []
    for quota in quotas:
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        for resource, hard in (status.get("hard") or {}).items():
            each = _needed(template, resource)
            if each:
                left = quantity(hard) - quantity((status.get("used") or {}).get(resource, "0"))
                said = f"quota {quota['metadata']['name']}, {resource}"
                rooms.append(Room(max(0, math.floor(left / each)), said))
    return min(rooms, key=lambda room: room.pods, default=None)


def quantity(text: t.Any) -> Fraction:
    """A quantity as Kubernetes writes it, such as `500m`, `2Gi` or `1e3`.

    :raises ValueError: it is none.
    """
    said = str(text)
    digits = said.rstrip("niumkKMGTPE")
    suffix = said[len(digits) :]
    if suffix not in _SUFFIXES:
        raise ValueError(f"{said!r} is no quantity")
    return Fraction(digits) * _SUFFIXES[suffix]


def _needed(template: Object, resource: str) -> Fraction:
    """What one pod takes of a resource that a quota counts."""
    if resource in ("pods", "count/pods"):
        return Fraction(1)
    part, _dot, name = resource.rpartition(".")
    if name not in ("cpu", "memory"):
        return Fraction(0)
    total = Fraction(0)
    for container in (template.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        # A request that is left out is the limit.
        total += quantity(limits.get(name, "0") if part == "limits" else requests.get(name, limits.get(name, "0")))
    return total
