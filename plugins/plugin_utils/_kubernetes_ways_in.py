# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""By which objects the pods of a workload are reached from outside of their cluster, and which of these nobody meant.
Pure.

Looked at are Services and Ingresses of the namespace. Routes of a Gateway and of service meshes are not.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_routes import fits

Object = Mapping[str, t.Any]

_PUBLIC_TYPES = ("NodePort", "LoadBalancer")


@dataclass(frozen=True)
class WayIn:
    """One object that leads to the pods from outside.

    :param how: by what of it.
    """

    kind: str
    name: str
    how: str

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def text(self) -> str:
        return f"{self.key} leads to its pods from outside ({self.how}), and is none of ways_in"


def leading_services(services: Sequence[Object], labels: Mapping[str, str]) -> list[Object]:
    """The Services whose selector fits the pods."""
    found = [each for each in services if fits(each["spec"].get("selector") or {}, labels)]
    return sorted(found, key=lambda each: str(each["metadata"]["name"]))


def ways_in(services: Sequence[Object], ingresses: Sequence[Object], labels: Mapping[str, str]) -> list[WayIn]:
    """All ways to pods with these labels."""
    leading = leading_services(services, labels)
    found = [WayIn("Service", str(each["metadata"]["name"]), how) for each in leading if (how := _public(each["spec"]))]
    names = {str(each["metadata"]["name"]) for each in leading}
    for ingress in sorted(ingresses, key=lambda each: str(each["metadata"]["name"])):
        places = [place for place, service in _backends(ingress) if service in names]
        if places:
            found.append(WayIn("Ingress", str(ingress["metadata"]["name"]), ", ".join(places[:5])))
    return found


def unasked(found: Sequence[WayIn], declared: Sequence[str] | None) -> list[WayIn]:
    """Those that the inventory does not name; nothing where it says nothing about them."""
    return [] if declared is None else [each for each in found if each.key not in declared]


def is_public(service: Object) -> bool:
    """Whether a Service is reached from outside."""
    return bool(_public(service["spec"]))


def without_backends(ingress: Object, services: Sequence[str]) -> dict[str, t.Any] | None:
    """The spec of an Ingress that leads to these Services no more; None when nothing would be left of it."""
    spec = dict(ingress["spec"])
    if _service_of(spec.get("defaultBackend")) in services:
        spec.pop("defaultBackend")
    rules = []
    for rule in spec.get("rules") or ():
        paths = [
            each for each in (rule.get("http") or {}).get("paths") or () if _service_of(each["backend"]) not in services
        ]
        if paths:
            rules.append({**rule, "http": {**rule["http"], "paths": paths}})
        elif "http" not in rule:
            rules.append(rule)
    spec["rules"] = rules
    return spec if rules or spec.get("defaultBackend") else None


def _public(spec: Object) -> str:
    if spec.get("type") in _PUBLIC_TYPES:
        return f"type {spec['type']}"
    return "externalIPs" if spec.get("externalIPs") else ""


def _backends(ingress: Object) -> list[tuple[str, str]]:
    """Where it listens and to which Service that leads."""
    spec = ingress.get("spec") or {}
    found = [("whatever has no rule", _service_of(spec.get("defaultBackend")))]
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            found.append((f"{rule.get('host') or 'any host'}{path.get('path') or '/'}", _service_of(path["backend"])))
    return [(place, name) for place, name in found if name]


def _service_of(backend: Object | None) -> str:
    return str(((backend or {}).get("service") or {}).get("name") or "")
