# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which objects of a namespace are made again from a snapshot, and how each is given back to the API server.

What is missing is made. What is there is changed only when it is asked for by name, and what a controller keeps never.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import (
    Conflict,
    KubernetesError,
    NotFound,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import wanted_references
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_objects import (
    ObjectName,
    digest_of,
    kept,
    kept_by_controller,
    kind_of,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._snapshot_objects import KeptObjects, resource_of

MAKE, REPLACE, ADD_KEYS = "make", "replace", "add_keys"
WITH_KEYS = ("Secret", "ConfigMap")
_FIELDS = ("data", "binaryData")
# Controllers write the status of an object all the time.
_MOST_CONFLICTS = 8

Object = Mapping[str, t.Any]


@dataclass(frozen=True, order=True)
class Restored:
    """One object that is given back, and how.

    :param keys: of a Secret or ConfigMap, where only they are missing.
    """

    name: ObjectName
    treatment: str
    keys: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """The part of a step's name that tells it from the others."""
        return f"{self.treatment}_{self.name.kind}_{self.name.name}"

    @property
    def said(self) -> str:
        """For people; names only."""
        if self.keys:
            return f"{', '.join(self.keys)} of {self.name}"
        return str(self.name) if self.treatment == MAKE else f"{self.name} as it was"

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "kind": self.name.kind,
            "name": self.name.name,
            "treatment": self.treatment,
            "keys": list(self.keys),
        }

    @classmethod
    def of(cls, values: Mapping[str, t.Any]) -> Restored:
        """What `as_dict` made."""
        name = ObjectName.of(str(values["kind"]), str(values["name"]))
        return cls(name, str(values["treatment"]), tuple(str(key) for key in values["keys"]))


class NamespaceRestore:
    """Restores into the namespace of a service."""

    def __init__(self, client: KubernetesClient, place: KubernetesPlatform) -> None:
        self._client = client
        self._place = place

    # -- what ----------------------------------------------------------------------------------------------

    def live(self, name: ObjectName) -> dict[str, t.Any] | None:
        """The object as it is now; None when there is none."""
        try:
            return self._client.get(resource_of(kind_of(name.kind)), name.name, self._place.namespace)
        except NotFound:
            return None

    def lacking(self, workload_of: Callable[[ObjectName], Object]) -> list[Restored]:
        """What the service's workload cannot run without and is not there, the workload itself among it.

        :param workload_of: gives the kept manifest of the workload, asked only where there is none now.
        """
        workload = self._place.workload
        own = ObjectName.of(workload.kind, workload.name)
        live = self.live(own)
        found = [] if live is not None else [Restored(own, MAKE)]
        template = live if live is not None else workload_of(own)
        wanted: dict[ObjectName, list[str]] = {}
        for each in wanted_references(template):
            keys = wanted.setdefault(ObjectName.of(each.kind, each.name), [])
            keys += [each.key] if each.key is not None else []
        account = template["spec"]["template"]["spec"].get("serviceAccountName")
        if account:
            wanted.setdefault(ObjectName.of("ServiceAccount", account), [])
        if self._place.service is not None:
            wanted.setdefault(ObjectName.of("Service", self._place.service), [])
        for name, keys in wanted.items():
            there = self.live(name)
            if there is None:
                found.append(Restored(name, MAKE))
            elif missing := tuple(sorted(set(keys) - _keys_of(there))):
                found.append(Restored(name, ADD_KEYS, missing))
        return sorted(found)

    def named(self, objects: Sequence[str], replace: Sequence[str]) -> list[Restored]:
        """What was asked for by name: `objects` where they are missing, `replace` also where they are there.

        :raises BadInput: a name is wrong.
        """
        found = []
        for text in objects:
            name = ObjectName.parse(text)
            if self.live(name) is None:
                found.append(Restored(name, MAKE))
        for text in replace:
            name = ObjectName.parse(text)
            found.append(Restored(name, MAKE if self.live(name) is None else REPLACE))
        return sorted(dict.fromkeys(found))

    def refuse_controlled(self, each: Restored, snapshot: KeptObjects) -> None:
        """:raises Refused: a controller makes this object, then or now."""
        live = self.live(each.name) if each.treatment != MAKE else None
        owner = snapshot.controller(each.name) or (kept_by_controller(live) if live is not None else "")
        if owner:
            raise Refused(
                f"{each.name} is made by {owner}: it is not made by hand, nothing was changed",
                f"find out why {owner} does not make it",
            )

    def before_and_after(self, each: Restored, found: Object) -> tuple[Object, Object]:
        """The object as it is and as it will be, both as a snapshot would keep them."""
        live = self.live(each.name)
        before = kept(live, kind_of(each.name.kind)) if live is not None else {}
        if each.treatment != ADD_KEYS:
            return before, found
        after = {**before}
        for field_name, values in _values_of(each, found).items():
            after[field_name] = {**(before.get(field_name) or {}), **values}
        return before, after

    # -- doing ---------------------------------------------------------------------------------------------

    def give_back(self, each: Restored, found: Object) -> bool:
        """Make, change or complete one object; False when it is so already.

        :param found: as the snapshot keeps it.
        :raises Refused: another object of this name is there meanwhile.
        :raises KubernetesError: it was not written.
        """
        kind = kind_of(each.name.kind)
        resource, namespace = resource_of(kind), self._place.namespace
        if each.treatment == MAKE:
            body = {**found, "metadata": {**found["metadata"], "namespace": namespace}}
            tried = self._client.writes
            try:
                self._client.create(resource, namespace, body)
                return True
            except Conflict:
                live = self.live(each.name)
                if live is None or any(_differs(live.get(key), found[key]) for key in _own_fields(found)):
                    raise Refused(
                        f"{each.name}: somebody has made another one meanwhile, nothing was overwritten",
                        f"to have the one of the snapshot: replace {each.name.kind}/{each.name.name} by name",
                    ) from None
                # With an answer that was lost on the way, it was this very call that made it.
                return self._client.writes - tried > 1
        sent = False
        for _conflict in range(_MOST_CONFLICTS):
            live = self.live(each.name)
            if live is None:
                raise KubernetesError(f"{each.name} is gone meanwhile", "run again, it is made then")
            version = live["metadata"]["resourceVersion"]
            try:
                if each.treatment == ADD_KEYS:
                    missing = set(each.keys) - _keys_of(live)
                    if not missing:
                        return sent
                    values = _values_of(Restored(each.name, ADD_KEYS, tuple(missing)), found)
                    change = {"metadata": {"resourceVersion": version}, **values}
                    self._client.merge(resource, each.name.name, namespace, change)
                    return True
                if digest_of(kept(live, kind)) == digest_of(found):
                    return sent
                self._client.patch(resource, each.name.name, namespace, _operations(live, found))
                return True
            except Conflict:
                sent = True
        raise KubernetesError(f"{each.name}: is changed over and over by others", "find out who keeps it")


def values_missing(each: Restored, found: Object) -> list[str]:
    """Keys that the kept object does not have either."""
    return sorted(set(each.keys) - _keys_of(found))


def choose_snapshot_for(
    wanted: Sequence[Restored], candidates: Iterable[KeptObjects], where: str
) -> tuple[KeptObjects, list[Restored]]:
    """The newest snapshot that holds all that is wanted, the keys among it.

    :param candidates: the newest first.
    :raises BadInput: none does; says what the newest lacks.
    """
    lacking = ""
    for snapshot in candidates:
        missing = [each for each in wanted if not snapshot.has(each.name)]
        missing += [each for each in wanted if each not in missing and values_missing(each, snapshot.read(each.name))]
        if not missing:
            return snapshot, list(wanted)
        lacking = lacking or f"{missing[0].said} is not in {snapshot.snapshot_id}, the newest"
    raise BadInput(f"{where}: no snapshot holds all that is missing: {lacking or 'there is none'}", "make it by hand")


def accepted_now(changed: bool) -> dict[str, float]:
    """For the result of a step: when the API server accepted its change."""
    return {"accepted_at": time.time()} if changed else {}


def _keys_of(found: Object) -> set[str]:
    return {key for each in _FIELDS for key in (found.get(each) or {})}


def _values_of(each: Restored, found: Object) -> dict[str, dict[str, t.Any]]:
    picked = {name: {k: v for k, v in (found.get(name) or {}).items() if k in each.keys} for name in _FIELDS}
    return {name: values for name, values in picked.items() if values}


def _own_fields(found: Object) -> list[str]:
    return [key for key in found if key not in ("apiVersion", "kind", "metadata")]


def _differs(live: t.Any, wanted: t.Any) -> bool:
    """Whether something that is wanted is not so; what the server added does not count."""
    if isinstance(wanted, Mapping):
        return not isinstance(live, Mapping) or any(_differs(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            not isinstance(live, list)
            or len(live) != len(wanted)
            or any(_differs(one, other) for one, other in zip(live, wanted, strict=True))
        )
    return bool(live != wanted)


def _operations(live: Object, found: Object) -> list[dict[str, t.Any]]:
    """The patch that gives an object the content of the kept one, for the version that was read."""
    notes = {**(live["metadata"].get("annotations") or {})}
    # What controllers noted about the object stays with it.
    stays = {key: value for key, value in notes.items() if key not in _noted(live)}
    annotations = {**stays, **(found["metadata"].get("annotations") or {})}
    operations: list[dict[str, t.Any]] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/labels", "value": found["metadata"].get("labels") or {}},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ]
    fields = _own_fields(found)
    for key in fields:
        value = found[key]
        if key == "spec" and isinstance(value, Mapping):
            value = {**{name: live["spec"][name] for name in _ASSIGNED if name in (live.get("spec") or {})}, **value}
        operations.append({"op": "add", "path": f"/{key}", "value": value})
    # Not `remove`: repeated after an answer that was lost it finds nothing there, which is no conflict but an error.
    operations += [
        {"op": "add", "path": f"/{key}", "value": None}
        for key in live
        if key not in ("apiVersion", "kind", "metadata", "status", "secrets", *fields)
    ]
    return operations


# What the server has assigned to an object that is there, and lets nobody change.
_ASSIGNED = ("clusterIP", "clusterIPs", "healthCheckNodePort", "volumeName", "selector")


def _noted(live: Object) -> set[str]:
    """The annotations that are its author's."""
    return set(kept(live, kind_of(str(live["kind"]))).get("metadata", {}).get("annotations") or {})
