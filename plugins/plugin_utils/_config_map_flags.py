# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flags in a ConfigMap: one JSON object in a key, or each flag a key of its own. What else it holds is not touched."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._feature_flag import same
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import ConfigMapPlace

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import KubernetesClient

_MOST_CONFLICTS = 8
# Of a workload's template: what it was restarted for. Versions leave it out, a restart is no new one.
RESTARTED = "codeblue.recovery/restarted-at"
Flags = dict[str, t.Any]


@dataclass(frozen=True)
class SeenFlags:
    """Flags as they were read.

    :param manifest: the ConfigMap.
    """

    manifest: Mapping[str, t.Any] = field(repr=False)
    flags: Flags


def read_flags(client: KubernetesClient, place: ConfigMapPlace) -> SeenFlags:
    """All flags of a place.

    :raises CodeblueError: there is no such ConfigMap, or it holds no flags.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import CONFIG_MAPS
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import NotFound

    try:
        manifest = client.get(CONFIG_MAPS, place.name, place.namespace)
    except NotFound:
        raise NotFound(f"there is no {place}", "look at the places of the feature in the inventory") from None
    return SeenFlags({**manifest, "kind": "ConfigMap"}, flags_in(manifest, place))


def write_flags(client: KubernetesClient, place: ConfigMapPlace, wanted: Flags, expected: Flags) -> float | None:
    """Set flags, None takes one away.

    :param expected: what they must be right now.
    :returns: the Unix time at which that was accepted; None when they were so already.
    :raises Refused: somebody else has changed one, or the ConfigMap is immutable.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import CONFIG_MAPS
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict

    sent = False
    for _conflict in range(_MOST_CONFLICTS):
        seen = read_flags(client, place)
        if is_so(seen.flags, wanted):
            # With an answer that was lost on the way, it was this very call that did it.
            return time.time() if sent else None
        for name, value in expected.items():
            if not same(seen.flags.get(name), value):
                raise Refused(
                    f"{place}: somebody has changed {name} meanwhile, nothing was overwritten", "find out who"
                )
        if seen.manifest.get("immutable"):
            raise Refused(f"{place} is immutable", "roll out one of another name by hand")
        version = {"resourceVersion": seen.manifest["metadata"]["resourceVersion"]}
        try:
            change = {"metadata": version, "data": data_of(seen.flags, place, wanted)}
            client.merge(CONFIG_MAPS, place.name, place.namespace, change)
            return time.time()
        except Conflict:
            sent = True
    raise CodeblueError(f"{place} is changed over and over by others", "find out who writes it")


def is_so(flags: Flags, wanted: Flags) -> bool:
    """Whether flags are as they are wanted."""
    return all(same(flags.get(name), value) for name, value in wanted.items())


def flags_in(manifest: Mapping[str, t.Any], place: ConfigMapPlace) -> Flags:
    """The flags that a ConfigMap holds. Pure.

    :raises CodeblueError: the key holds no JSON object.
    """
    data = manifest.get("data") or {}
    if place.key is None:
        return {name: _value(text) for name, text in data.items()}
    try:
        flags = json.loads(data.get(place.key) or "{}")
    except ValueError:
        flags = None
    if not isinstance(flags, dict):
        raise CodeblueError(
            f"{place}: key {place.key} holds no JSON object", "mend it by hand: it is never overwritten unread"
        )
    return flags


def data_of(flags: Flags, place: ConfigMapPlace, wanted: Flags) -> dict[str, str | None]:
    """What a merge into `data` has to say. Pure."""
    if place.key is None:
        return {name: _text(value) for name, value in wanted.items()}
    kept = {name: value for name, value in {**flags, **wanted}.items() if value is not None}
    return {place.key: json.dumps(kept, indent=2, sort_keys=True) + "\n"}


def restart_consumer(client: KubernetesClient, place: ConfigMapPlace, mark: str) -> float | None:
    """Have the pods that read the flags made anew, as `kubectl rollout restart` does.

    :param mark: of this change; where the workload bears it already, nothing is done.
    :returns: the Unix time at which that was accepted; None when it was done before.
    :raises CodeblueError: it was not done.
    """
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict

    for _conflict in range(_MOST_CONFLICTS):
        manifest = consumer_of(client, place)
        annotations = (manifest["spec"]["template"].get("metadata") or {}).get("annotations") or {}
        if annotations.get(RESTARTED) == mark:
            return None
        resource, name = _consumer(place)
        template = {"metadata": {"annotations": {RESTARTED: mark}}}
        version = {"resourceVersion": manifest["metadata"]["resourceVersion"]}
        try:
            client.merge(resource, name, place.namespace, {"metadata": version, "spec": {"template": template}})
            return time.time()
        except Conflict:
            continue
    raise CodeblueError(f"{place.restarts} is changed over and over by others", "find out who keeps it")


def consumer_of(client: KubernetesClient, place: ConfigMapPlace) -> dict[str, t.Any]:
    """The workload that is restarted, with its kind."""
    resource, name = _consumer(place)
    kind = {"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet"}[resource.plural]
    return {**client.get(resource, name, place.namespace), "kind": kind}


def _consumer(place: ConfigMapPlace) -> tuple[t.Any, str]:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import WORKLOAD_RESOURCES
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import WORKLOADS

    kind, _slash, name = str(place.restarts).partition("/")
    return WORKLOAD_RESOURCES[WORKLOADS[kind]], name


def _value(text: str) -> t.Any:
    """A flag of its own is a text: true, false and numbers are read as such."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _text(value: t.Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
